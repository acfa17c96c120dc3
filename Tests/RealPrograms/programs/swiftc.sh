# The Swift compiler: the object file must be the same to the last byte, and the program must run.
packages='binutils'
executables='swift-frontend program'
limit=240

prepare() { cp "$FIXTURES/inventory.swift" program.swift; }

run() {
  swiftc -O -parse-as-library -module-name program -c program.swift -o program.o
  sha256sum program.o
  swiftc program.o -o program
  ./program
}
