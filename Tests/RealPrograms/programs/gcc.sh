# The C compiler, optimising some hundred functions; the object file must be the same to the last byte, and the program run.
packages='gcc libc6-dev binutils'
executables='gcc cc1 as ld collect2 program'
limit=120

prepare() {
  {
    echo '#include <stdio.h>'
    echo '#include <string.h>'
    for i in {0..299}; do
      cat <<C
static unsigned f$i(unsigned x, const char *text) {
  unsigned table[$((i % 17 + 3))], total = x;
  for (unsigned i = 0; i < sizeof table / sizeof *table; i++) table[i] = (x + i) * ${i}u + 2654435761u;
  switch (x % 5) {
    case 0: total += strlen(text) * table[0]; break;
    case 1: for (const char *c = text; *c; c++) total = total * 31 + *c; break;
    case 2: total ^= table[x % $((i % 17 + 3))] >> 3; break;
    default: total -= table[1] + $i;
  }
  return total;
}
C
    done
    echo 'int main(void) { unsigned total = 1; for (int round = 0; round < 100; round++) {'
    for i in {0..299}; do echo "total = f$i(total, \"mempool $i\");"; done
    echo '} printf("%u\n", total); return 0; }'
  } >program.c
}

run() {
  gcc -O2 -g -c program.c -o program.o
  sha256sum program.o
  gcc program.o -o program
  ./program
}
