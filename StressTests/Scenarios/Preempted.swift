import Glibc
import Synchronization

/// Many more threads than processors, and signals that hold one or the other up wherever it is: in the middle of an allocation, of a
/// free, of a claim that it may have to roll back. The others must go on meanwhile.
///
/// Each worker has three threads beside it, interrupts them, and does its own share of the load.
final class Preempted: Scenario {
  static let name = "preempted"
  static let summary = "more threads than processors, held up by signals in mid-operation while the others go on"
  static let mustCount: [Counter] = [.allocations, .threads, .signals, .servedSignals, .remoteFrees]

  private static let helpers = 3
  private let visitors: Visitors
  private let threads: Int
  private nonisolated(unsafe) var boxes: Mailboxes

  init(_ setting: Setting) {
    threads = setting.threads
    visitors = Visitors(threads: setting.threads)
    boxes = Mailboxes(threads: setting.threads, capacity: 64)
    Self.holdUpOnSignal()
  }

  // Threads that were held up, since the last round.
  private static let heldUp = Atomic<Int>(0)

  private static func holdUpOnSignal() {
    heldUp.store(0, ordering: .relaxed)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in
      let saved = errno
      Preempted.heldUp.wrappingAdd(1, ordering: .relaxed)
      var pause = timespec(tv_sec: 0, tv_nsec: 300_000)
      nanosleep(&pause, nil)
      errno = saved
    }
    action.sa_flags = Int32(SA_RESTART)
    sigaction(SIGUSR2, &action, nil)
  }

  func work(_ worker: Worker) {
    var helpers: [(thread: OwnThread, visitor: Worker)] = []
    for _ in 0..<Self.helpers {
      let visitor = visitors.next(for: worker), index = worker.index
      guard let thread = OwnThread({ while visitor.step() { self.act(visitor, index) } }) else {
        worker.run.fail("no thread could be started", in: worker)
        break
      }
      helpers.append((thread, visitor))
    }
    while worker.step() {
      act(worker, worker.index)
      if worker.random.oneIn(64), let helper = helpers.randomElement(using: &worker.random) {
        helper.thread.send(SIGUSR2)
        worker.counters[.signals] += 1
      }
    }
    for (thread, visitor) in helpers {
      thread.join()
      worker.counters[.threads] += 1
      worker.counters.add(visitor.counters)
      while let block = visitor.shadow.takeLast() { worker.shadow.add(block) }
    }
  }

  private func act(_ worker: Worker, _ index: Int) {
    if let block = boxes.receive(index, &worker.random) { worker.shadow.add(block) }
    let isFull = worker.shadow.count > 200 || worker.shadow.byteCount > 4 << 20
    if !isFull && worker.random.oneIn(2) {
      guard let block = worker.allocate(Sizes.any(&worker.random)) else { return }
      if worker.random.oneIn(3) {
        worker.handOff(block) { boxes.send($0, from: worker) }
      } else {
        worker.shadow.add(block)
      }
    } else if let block = worker.shadow.takeAny(&worker.random) {
      worker.free(block)
    }
  }

  func settle(_ run: Run) {
    run.workers[0].counters[.servedSignals] += UInt64(Self.heldUp.exchange(0, ordering: .relaxed))
    bringHome(boxes, run)
  }
}
