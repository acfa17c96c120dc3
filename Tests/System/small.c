// A small program: a few kinds of objects, a megabyte in all, one thread. What it needs of the address space is what an
// allocator needs. Usage: small
#include "check.h"

#include <stdlib.h>
#include <string.h>

int main(void) {
  static char *objects[1000];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 1000; i++) {
      size_t size = (size_t)(i % 10 == 0 ? 4000 + i : 8 + i % 700);
      objects[i] = malloc(size);
      CHECK(objects[i] != NULL);
      if (!objects[i]) return 1;
      memset(objects[i], i, size);
    }
    for (int i = 0; i < 1000; i++) {
      CHECK(objects[i][0] == (char)i);
      free(objects[i]);
    }
  }
  return failures != 0;
}
