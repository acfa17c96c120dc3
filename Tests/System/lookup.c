// Allocates so many objects of a page's size, then asks so many times for the size of one of them, and frees one and takes
// another. Usage: lookup OBJECTS TIMES. What it costs to find an object's page must not depend on how many pages there are.
#include "check.h"

#include <malloc.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  if (count < 3) return 2;
  unsigned objects = (unsigned)atoi(arguments[1]), seed = 1;
  void **all = calloc(objects, sizeof *all);
  for (unsigned i = 0; i < objects; i++) CHECK((all[i] = malloc(i % 2 ? 12000 : 3000)) != NULL);
  for (int times = atoi(arguments[2]); times > 0; times--) {
    seed = seed * 1103515245 + 12345;
    void **one = &all[(unsigned long long)seed * objects >> 32];
    CHECK(malloc_usable_size(*one) >= 3000);
    seed = seed * 1103515245 + 12345;
    one = &all[((unsigned long long)seed * objects >> 32) & ~1u];
    free(*one);
    CHECK((*one = malloc(3000)) != NULL);
  }
  return failures != 0;
}
