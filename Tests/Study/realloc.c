// A realloc that calls malloc and free by their names: what these do is noted before it, which has begun earlier.
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *realloc(void *old, size_t size) {
  void *new = malloc(size);
  if (!new || !old) return new;
  size_t before = malloc_usable_size(old);
  memcpy(new, old, before < size ? before : size);
  free(old);
  return new;
}
