# The C++ compiler on templates and the standard library, and a program with threads, exceptions and containers.
packages='g++ binutils'
executables='g++ cc1plus as ld program'
limit=120

prepare() { cp "$FIXTURES/containers.cpp" program.cpp; }

run() {
  g++ -std=c++17 -O2 -c program.cpp -o program.o
  sha256sum program.o
  g++ program.o -o program -pthread
  ./program
}
