// One malloc and one free of the same size, over and over: what Benchmarks/instructions counts.
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  long pairs = count > 1 ? atol(arguments[1]) : 0;
  size_t size = count > 2 ? (size_t)atol(arguments[2]) : 64;
  for (long i = 0; i < pairs; i++) {
    char *volatile object = malloc(size);
    if (!object) return 1;
    free(object);
  }
  return 0;
}
