# Threads, JSON and sorting, every object of the interpreter taken from malloc.
packages='python3'
# The interpreter, whatever stands in front of it on the path.
executables='python3[.0-9]*'
limit=120

prepare() {
  python3 -c 'import os, sys; print(os.path.realpath(sys.executable))' >interpreter
}

run() {
  PYTHONMALLOC=malloc "$(<interpreter)" -S "$FIXTURES/objects.py"
}
