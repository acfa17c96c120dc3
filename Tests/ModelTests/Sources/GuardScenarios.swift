import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// The process's guard region, of few slots.
private enum Bench {
  static var region: GuardRegionPointer { .process }
  static var slots: GuardSlotsPointer { region.slots }
  /// Addresses of objects that are live from the start.
  nonisolated(unsafe) static var objects: [UInt] = []

  static func make(slots count: UInt, live: Int = 0) {
    Items.clear()
    guard region.start(slotCount: count) else { fatalError("no memory") }
    region.interval.storeRelaxed(1)
    objects = (0..<live).map { _ in UInt(bitPattern: region.allocate(16)) }
    for object in objects { Items.take(object) }
    Items.keep()
    nameRegion()
    Names.add(UInt(bitPattern: slots.pointee.states), 8 * count) { "slot \($0 / 8)" }
    let fields = ["version", "address", "byteCount", "live", "allocation.thread", "allocation.count"]
    for slot in 0..<count {
      Names.add(UInt(bitPattern: region.object(slot)), UInt(MemoryLayout<GuardedObject>.stride)) {
        let index = Int($0 / 8)
        return "object \(slot)" + (index < 6 ? "." + fields[index] : "+\($0)")
      }
      Names.add(region.page(slot), region.pointee.pageByteCount) { "page \(slot)+\($0)" }
    }
  }

  /// None yet.
  static func clear() {
    Items.clear()
    nameRegion()
  }

  private static func nameRegion() {
    let names = ["interval", "start", "byteCount", "allocated", "missed", "draws", "reporter"]
    let words = ["numbers", "freed", "full", "next", "cursor"]
    Names.add(UInt(bitPattern: region), UInt(MP_GUARD_BYTES)) {
      let index = Int($0 / 8)
      return index < 7 ? "region." + names[index] : index < 12 ? "slots." + words[index - 7] : "region+\($0)"
    }
  }

  // MARK: Slots, without what is in them

  // A word of the slot's page that its holder writes to.
  private static func word(_ slot: UInt) -> UInt { region.page(slot) }

  static func claim() -> UInt? {
    guard let claim = slots.claim() else {
      mp_model_note("finds no slot", 0)
      return nil
    }
    Items.take(word(claim.slot))
    slots.publish(claim)
    return claim.slot
  }

  static func release(_ slot: UInt?) {
    guard let slot else { return }
    guard let object = slots.object(in: slot), slots.take(slot, object) else { mp_model_fail("somebody took it") }
    Items.give(word(slot))
    slots.release(slot)
  }

  static func slotTurn() { release(claim()) }

  static func cancelledTurn() {
    guard let claim = slots.claim() else { return mp_model_note("finds no slot", 0) }
    Items.take(word(claim.slot))
    Items.give(word(claim.slot))
    slots.cancel(claim)
  }

  // MARK: Objects

  static func turn(_ byteCount: UInt = 16, isSure: Bool = false) {
    guard let object = allocate(byteCount) else {
      if isSure { mp_model_fail("finds no slot, where there is always one") }
      return
    }
    free(object)
  }

  static func allocate(_ byteCount: UInt) -> UInt? {
    guard let pointer = region.allocate(byteCount) else {
      mp_model_note("finds no slot", 0)
      return nil
    }
    Items.take(UInt(bitPattern: pointer))
    return UInt(bitPattern: pointer)
  }

  static func free(_ address: UInt) {
    Items.give(address)
    let call = CallName("free")
    region.deallocate(region.locate(address, call), address, call)
  }

  /// Tries to free what others free, too; whether it was this one.
  static func tryToFree(_ address: UInt) {
    guard let object = region.object(at: address), region.take(object, address) else {
      return mp_model_note("is too late", 0)
    }
    if object.address != address { mp_model_fail("frees another object") }
    Items.give(address)
    object.end(Backtrace.here())
    region.slots.release(region.slot(object))
  }

  /// A copy of what is known of the first slot is of one object, whole.
  static func look() {
    let page = region.page(0), end = page + region.pointee.pageByteCount
    guard let copy = region.object(0).history else { return mp_model_note("is told nothing", 0) }
    mp_model_note("is told of %", copy.address)
    // The first object has 16 bytes at the end, the second one 32 at the start.
    let isFirst = copy.address == end - 16 && copy.byteCount == 16,
      isSecond = copy.address == page && copy.byteCount == 32
    if !isFirst && !isSecond { mp_model_fail("is told of an object that there was never") }
    if isSecond && !copy.isLive { mp_model_fail("is told that a live object was freed") }
  }

  /// Starts the region, as the first call of a process does, while others may look.
  static func turnOn() {
    guard region.start(slotCount: 2) else { mp_model_fail("no memory") }
    region.turnOn(1)
  }

  /// Counts what is live, as statistics do.
  static func count() {
    guard region.isOn else { return mp_model_note("is off", 0) }
    if region.slots.liveCount != 0 || region.recordByteCount == 0 { mp_model_fail("counts what there is not") }
  }

  static func check(live: UInt = 0) -> String? {
    if !region.checkInvariants() { return "slots and records disagree, or a claim finds no slot that is free" }
    if slots.liveCount != live { return "\(slots.liveCount) live objects, not \(live)" }
    // None is lost: all others can be claimed.
    let free = region.slotCount - live
    for number in 0..<free where slots.claim() == nil { return "\(number) slots can be claimed, not \(free)" }
    return slots.claim() == nil ? nil : "a slot that is live can be claimed"
  }
}

/// Sampled objects: slots that are claimed and given back without a lock, their records, and those who read them meanwhile.
let guardScenarios: [Scenario] = [
  Scenario(
    name: "guard-slots", summary: "2 threads claim and give back slots, of which there are 2",
    bodies: [
      {
        Bench.slotTurn()
        Bench.slotTurn()
      }, { Bench.slotTurn() },
    ],
    setUp: { Bench.make(slots: 2) }, check: { Bench.check() }, bound: 4, fullBound: 6),
  Scenario(
    name: "guard-slots-3", summary: "3 threads and 1 slot; one of them claims it in vain",
    bodies: [{ Bench.slotTurn() }, { Bench.cancelledTurn() }, { Bench.slotTurn() }],
    setUp: { Bench.make(slots: 1) }, check: { Bench.check() }, bound: 3, fullBound: 5),
  Scenario(
    name: "guard-full", summary: "all slots hold objects: one is freed while 2 threads look for one",
    bodies: [{ Bench.tryToFree(Bench.objects[0]) }, { Bench.slotTurn() }, { Bench.slotTurn() }],
    setUp: { Bench.make(slots: 2, live: 2) }, check: { Bench.check(live: 1) }, bound: 4, fullBound: 6),
  Scenario(
    name: "guard-double-free", summary: "2 threads free one object, another comes to its slot meanwhile",
    bodies: [
      {
        Bench.tryToFree(Bench.objects[0])
        _ = Bench.allocate(32)
      }, { Bench.tryToFree(Bench.objects[0]) },
    ],
    setUp: { Bench.make(slots: 1, live: 1) },
    check: {
      if Items.isHeld(Bench.objects[0]) { return "nobody freed it" }
      return Bench.check(live: Bench.slots.liveCount)
    }, bound: 8, fullBound: 30),
  Scenario(
    name: "guard-objects", summary: "2 threads allocate and free sampled objects, with 2 slots",
    bodies: [{ Bench.turn() }, { Bench.turn() }],
    setUp: { Bench.make(slots: 2) }, check: { Bench.check() }, bound: 3, fullBound: 4),
  Scenario(
    name: "guard-page", summary: "the same with 1 slot: an object comes to the page that another has left",
    bodies: [{ Bench.turn() }, { Bench.turn(32) }],
    setUp: { Bench.make(slots: 1) }, check: { Bench.check() }, bound: 3, fullBound: 4),
  Scenario(
    name: "guard-history",
    summary: "an object is freed and another comes to its slot while a report reads what is known of it",
    bodies: [
      {
        Bench.free(Bench.objects[0])
        _ = Bench.allocate(32)
      }, { Bench.look() },
    ],
    setUp: { Bench.make(slots: 1, live: 1) }, check: { Bench.check(live: 1) }, bound: 4, fullBound: 6),
  Scenario(
    name: "guard-start", summary: "the region is started and turned on while another thread counts its objects",
    bodies: [{ Bench.turnOn() }, { Bench.count() }],
    setUp: { Bench.clear() }, check: { Bench.check() }, bound: 8, fullBound: 30),
  Scenario(
    name: "guard-stopped", summary: "a thread is stopped in the middle of its sampled object: the other goes on",
    bodies: [
      { Bench.turn() },
      {
        Bench.turn(32, isSure: true)
        Bench.turn(48, isSure: true)
      },
    ],
    setUp: { Bench.make(slots: 2) }, check: { mp_machine_stopped() < 0 ? Bench.check() : nil }, bound: 2, fullBound: 4,
    stoppable: 0),
]
