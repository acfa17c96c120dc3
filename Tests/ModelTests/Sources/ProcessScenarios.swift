import CMempoolShims
import ModelMachine

@testable import MempoolCore

private var pool: MemoryPoolPointer { .shared }

private func make() {
  Items.clear()
  Items.keep()
  Names.add(UInt(bitPattern: mp_process_address()), UInt(MP_PROCESS_BYTES)) { $0 == 0 ? "pool.state" : "process+\($0)" }
}

private func turn() {
  guard let item = pool.allocate(100) else { mp_model_fail("gets nothing, where there is always something") }
  Items.take(UInt(bitPattern: item))
  Items.give(UInt(bitPattern: item))
  pool.deallocate(item)
}

private func check() -> String? {
  pool.checkInvariants() ? nil : String(cString: mp_machine_failure())
}

/// The shared pool, which starts with the first call.
let processScenarios: [Scenario] = [
  Scenario(
    name: "start", summary: "2 threads allocate and free for the first time, one starts the shared pool",
    bodies: [turn, turn], setUp: { make() }, check: check, bound: 1, fullBound: 2)
]
