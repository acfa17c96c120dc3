import MempoolCore

/// Limits that the system sets, hit in the middle of a refill: an address space that ends, and a control group with little memory.
///
/// Each in a process of its own, which two errands are: ``AddressSpaceErrand`` and ``MemoryErrand``. What this machine does not allow is told and
/// counted, with the reason.
final class Limits: Scenario {
  static let name = "limits"
  static let summary = "address space ends in mid-refill, and a control group has little memory: no trap, no kill"
  static let ownPools = true
  static let everyThreadWorks = false
  static let mustCount: [Counter] = []

  private static let environments: [[String]] = [
    [], ["MEMPOOL_HARDEN=3"], ["MEMPOOL_SMALL=dense"], ["MEMPOOL_PURGE_THREAD=0"],
  ]

  init(_ setting: Setting) {}

  func work(_ worker: Worker) {
    guard worker.index == 0 else { return }
    repeat {
      let environment = Self.environments.randomElement(using: &worker.random)!
      limitAddressSpace(environment, worker)
      if !worker.run.hasFailed { limitMemory(environment, worker) }
    } while worker.step() && !worker.run.hasFailed
  }

  private func limitAddressSpace(_ environment: [String], _ worker: Worker) {
    if Sanitizer.current != .none {
      return worker.run.skip(
        "a limit on address space: a sanitizer's own memory would be the first to end; see 'refused'")
    }
    perform(AddressSpaceErrand.self, ["\(worker.random.next())"], environment, worker)
  }

  private func limitMemory(_ environment: [String], _ worker: Worker) {
    let limit = MemoryErrand.limit
    let group: MemoryGroup
    do throws(MemoryGroup.Unavailable) {
      group = try MemoryGroup(limit: limit)
    } catch {
      return worker.run.skip("a control group with little memory: \(error.reason)")
    }
    perform(
      MemoryErrand.self, ["\(worker.random.next())", group.path, "\(group.isSecondVersion)"], environment, worker,
      note: { group.kills == 0 ? "" : " (killed by the kernel at the group's limit of \(limit) bytes)" })
    if !group.remove() { worker.run.fail("the control group \(group.path) cannot be removed", in: worker) }
  }

  private func perform(
    _ errand: any Errand.Type, _ arguments: [String], _ environment: [String], _ worker: Worker,
    note: () -> String = { "" }
  ) {
    let result = OwnProcess.run(errand, arguments, environment: environment, seconds: 40 * Sanitizer.current.patience)
    worker.counters[.processes] += 1
    for line in result.output.split(separator: "\n") where line.hasPrefix(OwnProcess.notRun) {
      worker.run.skip(String(line.dropFirst(OwnProcess.notRun.count)))
    }
    guard !result.isClean else { return }
    let variables = environment.joined(separator: " ")
    worker.run.fail(
      "a process (\(variables) \(OwnProcess.errandOption) \(errand.name)): \(result.description)\(note())", in: worker)
  }
}
