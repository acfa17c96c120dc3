/// A variable of the environment that this package reads. The table in ``row`` drives the parser, the defaults,
/// `mempool info --environment` and the documentation.
public enum EnvironmentVariable: UInt, Sendable {
  case maxRetries, waitTime, reserve, fixed, lock, prefault, exhaustion, small, harden, purgeDelay, purgeThread,
    guardSample,
    guardSlots
  case showStatistics, statisticsFile, statisticsProcess

  public static var count: UInt { statisticsProcess.rawValue + 1 }

  /// What a value looks like.
  public enum Kind: Sendable {
    /// A whole number, in `unit`.
    case number(minimum: UInt, maximum: UInt)
    /// Bytes: a whole number, with K, M, G or T for powers of 1024.
    case size(minimum: UInt)
    /// One of the words, separated by `|`; its value is its place among them.
    case choice(StaticString)
    /// A path of at most 1023 bytes, in which `%p` stands for the process's id.
    case path
  }

  /// A row of the table.
  public struct Row: Sendable {
    public let name: StaticString
    public let kind: Kind
    /// The unit of a plain number; empty when there is none.
    public let unit: StaticString
    /// The value when the variable is unset, empty or unreadable, written as it could stand in the environment.
    public let standard: StaticString
    /// One sentence for people.
    public let summary: StaticString

    init(_ name: StaticString, _ kind: Kind, unit: StaticString = "", standard: StaticString, _ summary: StaticString) {
      self.name = name
      self.kind = kind
      self.unit = unit
      self.standard = standard
      self.summary = summary
    }
  }

  public var row: Row {
    switch self {
    case .maxRetries:
      Row(
        "MPMAXRETRIES", .number(minimum: 0, maximum: 1_000_000), unit: "passes", standard: "3",
        "Passes that a claim makes over a full bitmap beyond the first, each after a sleep.")
    case .waitTime:
      Row(
        "MPWAITTIME", .number(minimum: 0, maximum: 10_000_000_000), unit: "ns", standard: "1000",
        "How long a claim sleeps, at least, before each further pass.")
    case .reserve:
      Row(
        "MEMPOOL_RESERVE", .size(minimum: 1 << 20), standard: "0",
        "Address space of a reservation, halved until it fits; 0: 1 TiB, at most a quarter of `ulimit -v`.")
    case .fixed:
      Row(
        "MEMPOOL_FIXED", .size(minimum: 1 << 20), standard: "0",
        "Takes this much memory at start, and no more ever after; 0, or when the system refuses: grows as needed.")
    case .lock:
      Row(
        "MEMPOOL_LOCK", .choice("0|1"), standard: "0",
        "With MEMPOOL_FIXED: locks the memory, so that it is never paged out (see `ulimit -l`).")
    case .prefault:
      Row(
        "MEMPOOL_PREFAULT", .choice("0|1"), standard: "1",
        "With MEMPOOL_FIXED: touches every page at start, so that no first use can fail.")
    case .exhaustion:
      Row(
        "MEMPOOL_EXHAUSTION", .choice("fail|abort|system"), standard: "fail",
        "When no memory is left: fail (NULL and ENOMEM), abort with one line, or ask the system's allocator.")
    case .small:
      Row(
        "MEMPOOL_SMALL", .choice("classes|dense|dense-tree"), standard: "classes",
        "Small objects in size classes (fast, records out of reach), or dense (4-byte headers); dense-tree: by best fit."
      )
    case .harden:
      Row(
        "MEMPOOL_HARDEN", .choice("0|1|2|3"), standard: "0",
        "1: zeroes what is freed, finds later writes; 2: also checks what lies behind, delays reuse; 3: also guard pages."
      )
    case .purgeDelay:
      Row(
        "MEMPOOL_PURGE_DELAY", .number(minimum: 0, maximum: 86_400_000), unit: "ms", standard: "1000",
        "How long idle pages are kept before they go back to the system; 0: not at all.")
    case .purgeThread:
      Row(
        "MEMPOOL_PURGE_THREAD", .choice("0|1"), standard: "1",
        "Once a process has threads and 2 MiB, one more thread returns idle pages; without it whoever frees does.")
    case .guardSample:
      Row(
        "MEMPOOL_GUARD_SAMPLE", .number(minimum: 0, maximum: 1_000_000_000), unit: "allocations", standard: "0",
        "One small allocation in so many is put between guard pages: a fault there tells who allocated and who freed it; 0: none."
      )
    case .guardSlots:
      Row(
        "MEMPOOL_GUARD_SLOTS", .number(minimum: 1, maximum: 8192), unit: "objects", standard: "128",
        "With MEMPOOL_GUARD_SAMPLE: how many objects may be between guard pages at once.")
    case .showStatistics:
      Row(
        "MEMPOOL_SHOW_STATS", .choice("0|1|text|json"), standard: "0",
        "Writes the statistics when the process exits, as text (1 or text) or as one line of JSON.")
    case .statisticsFile:
      Row(
        "MEMPOOL_STATS_FILE", .path, standard: "",
        "Appends them to this file instead of writing them to standard error; %p: the process's id.")
    case .statisticsProcess:
      Row(
        "MEMPOOL_STATS_PROCESS", .number(minimum: 0, maximum: 1 << 31), unit: "process id", standard: "0",
        "Only this process writes them, not those that it starts; 0: every process.")
    }
  }
}
