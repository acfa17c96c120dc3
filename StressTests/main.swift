import Glibc

let code = Command.run(Array(CommandLine.arguments.dropFirst()))
fflush(nil)
// After a failure threads may still run: nothing is torn down.
if code == .clean { exit(0) }
_exit(code.rawValue)
