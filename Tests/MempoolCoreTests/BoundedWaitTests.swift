import CMempoolShims
import Testing

@testable import MempoolCore

/// Sleeps are counted, and most are replaced by a hook that acts as another thread would.
@Suite struct BoundedWaitTests {
  private func fullBitmap(_ strategy: AtomicBitmap.Strategy = .compareAndSwap, items: Int = 200) -> TestBitmap {
    let test = TestBitmap(items: items, strategy: strategy)
    while test.bitmap.tryClaim() != nil {}
    return test
  }

  /// What a hook does: acts in its `at`th sleep.
  private struct Plan {
    var bitmap: AtomicBitmap
    var wait: BoundedWaitPointer
    var at: Int
    var sleeps = 0
    var action: (AtomicBitmap, BoundedWaitPointer) -> Void
  }

  private func withPlan<Result>(
    _ test: TestBitmap, at sleep: Int, _ action: @escaping (AtomicBitmap, BoundedWaitPointer) -> Void,
    _ body: () -> Result
  ) -> Result {
    let plan = UnsafeMutablePointer<Plan>.allocate(capacity: 1)
    plan.initialize(to: Plan(bitmap: test.bitmap, wait: test.wait, at: sleep, action: action))
    defer {
      test.wait.setHook(nil, argument: nil)
      plan.deinitialize(count: 1)
      plan.deallocate()
    }
    test.wait.setHook(
      { argument in
        let plan = argument!.assumingMemoryBound(to: Plan.self)
        plan.pointee.sleeps += 1
        if plan.pointee.sleeps == plan.pointee.at { plan.pointee.action(plan.pointee.bitmap, plan.pointee.wait) }
      }, argument: plan)
    return body()
  }

  @Test func aZeroedRecordHoldsTheDefaults() {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<BoundedWait>.size, alignment: 8)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<BoundedWait>.size)
    let wait = memory.assumingMemoryBound(to: BoundedWait.self)
    #expect(wait.maxRetries == 3)
    #expect(wait.waitNanoseconds == 1000)
    #expect((wait.sleeps, wait.failures, wait.passes, wait.lostSwaps) == (0, 0, 0, 0))
    for value in [0, 1, 7, UInt.max - 1] {
      wait.maxRetries = value
      wait.waitNanoseconds = value
      #expect(wait.maxRetries == value && wait.waitNanoseconds == value)
    }
    wait.maxRetries = .max
    #expect(wait.maxRetries == UInt.max - 1)
  }

  /// The shared words lie where the accessors say.
  @Test func layout() {
    #expect(MemoryLayout<BoundedWait>.size == 8 * 8)
    #expect(MemoryLayout<BoundedWait>.size <= MP_WAIT_WORDS * MemoryLayout<mp_word>.size)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.maxRetries) == 0 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.waitNanoseconds) == 1 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.sleeps) == 2 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.failures) == 3 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.passes) == 4 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.lostSwaps) == 5 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.hook) == 6 * 8)
    #expect(MemoryLayout<BoundedWait>.offset(of: \.hookArgument) == 7 * 8)
  }

  /// On a full bitmap exactly `maxRetries` sleeps, none when 0, per bitmap.
  @Test(arguments: AtomicBitmapTests.strategies) func sleepsOnAFullBitmap(_ strategy: AtomicBitmap.Strategy) {
    let test = fullBitmap(strategy)
    let other = fullBitmap(strategy)
    other.wait.maxRetries = 2
    var sleeps: UInt = 0
    var failures: UInt = 0
    for retries in [nil, 0, 1, 7, 0] as [UInt?] {
      if let retries { test.wait.maxRetries = retries }
      #expect(test.bitmap.claim() == nil)
      #expect(test.bitmap.claim(run: 64) == nil)
      #expect(test.bitmap.claimCells(3, trimmedTo: 192) == nil)
      #expect(test.bitmap.claimCells(2) == nil)
      sleeps += 4 * (retries ?? 3)
      failures += 4
      #expect(test.wait.sleeps == sleeps)
      #expect(test.wait.failures == failures)
      #expect(test.bitmap.tryClaim() == nil)  // never waits
      #expect(test.wait.failures == failures)
    }
    #expect(other.wait.sleeps == 0)
    #expect(other.bitmap.claim() == nil)
    #expect(other.wait.sleeps == 2)
  }

  /// What the bitmap could never have is not waited for; nor is what it has.
  @Test func noSleepWithoutHope() {
    let test = TestBitmap(items: 100)
    for count in [0, -1, 65, Int.max] { #expect(test.bitmap.claim(run: count) == nil) }
    for count in [0, -1, 2, Int.max] { #expect(test.bitmap.claimCells(count) == nil) }
    #expect(test.bitmap.claimCells(2, trimmedTo: 101) == nil)
    #expect(TestBitmap(items: 20).bitmap.claim(run: 21) == nil)
    #expect(test.bitmap.claim(run: 64)?.index == 0)
    #expect(test.wait.sleeps == 0)
    #expect(test.wait.failures == 0)
  }

  /// A bit freed during sleep k is found on pass k + 1.
  @Test(arguments: AtomicBitmapTests.strategies) func aBitFreedDuringASleep(_ strategy: AtomicBitmap.Strategy) {
    for retries in 1...5 {
      for sleep in 1...5 {
        let test = fullBitmap(strategy)
        test.wait.maxRetries = UInt(retries)
        let before = test.wait.passes
        let claim = withPlan(test, at: sleep, { bitmap, _ in bitmap.release(at: 130) }) { test.bitmap.claim(from: 1) }
        #expect(claim?.index == (sleep <= retries ? 130 : nil))
        #expect(test.wait.sleeps == UInt(min(sleep, retries)))
        #expect(test.wait.failures == (sleep <= retries ? 0 : 1))
        #expect(test.wait.passes - before == UInt(sleep <= retries ? sleep : retries + 1))
      }
    }
  }

  /// A claim of cells waits for another one's rollback as it does for room.
  @Test func cellsGivenBackDuringASleep() {
    let test = TestBitmap(items: 4 * 64)
    test.fill(3, 1)
    // Another claim has got this far, and is about to find out about the last cell.
    for cell in 0..<3 { #expect(test.bitmap.tryClaim(cell: cell)) }
    let index = withPlan(test, at: 2, { bitmap, _ in for cell in 0..<3 { bitmap.release(run: 64, at: cell * 64) } }) {
      test.bitmap.claimCells(3)
    }
    #expect(index == 0)
    #expect(test.wait.sleeps == 2)
    #expect(test.wait.failures == 0)
  }

  @Test func settingsChangeDuringAWait() {
    let test = fullBitmap()
    withPlan(test, at: 2, { _, wait in wait.maxRetries = 5 }) { #expect(test.bitmap.claim() == nil) }
    #expect(test.wait.sleeps == 5)
    withPlan(test, at: 2, { _, wait in wait.maxRetries = 0 }) { #expect(test.bitmap.claim() == nil) }
    #expect(test.wait.sleeps == 7)
  }

  /// Without the hook it is time that passes, at least what was asked for.
  @Test func sleepsTakeTime() {
    let test = fullBitmap()
    test.wait.maxRetries = 4
    test.wait.waitNanoseconds = 2_000_000
    let start = mp_clock_nanoseconds()
    #expect(test.bitmap.claim() == nil)
    #expect(mp_clock_nanoseconds() - start >= 8_000_000)
  }

  /// One record may serve many bitmaps.
  @Test func oneRecordForTwoBitmaps() {
    let one = fullBitmap()
    let storage = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
    defer { storage.deallocate() }
    storage.initialize(to: Cell.busy)
    let two = AtomicBitmap(bareCells: AtomicPointer(storage), itemCount: 64, wait: one.wait)
    #expect(one.bitmap.claim() == nil)
    #expect(two.claim() == nil)
    #expect(one.wait.sleeps == 6)
    #expect(one.wait.failures == 2)
  }
}
