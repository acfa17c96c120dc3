// What `mempool bench --family context` measures, for counting instructions: trees of 2000 objects of 16 to 79 bytes, built and freed by one call.
//
//   trees tree|pool|libc COUNT
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

enum { OBJECTS = 2000 };

int main(int count, char **arguments) {
  if (count != 3) return 64;
  static void *objects[OBJECTS];
  static unsigned sizes[OBJECTS], parents[OBJECTS];
  for (unsigned i = 0; i < OBJECTS; i++) {
    sizes[i] = 16 + (i * 2654435761u >> 8 & 63);
    parents[i] = i ? (i * 40503u >> 4 & 0xffff) % i : 0;
  }
  int is_pool = !strcmp(arguments[1], "pool"), is_libc = !strcmp(arguments[1], "libc");
  for (int round = atoi(arguments[2]); round > 0; round--) {
    void *top = is_pool ? talloc_pool(NULL, OBJECTS * (96 + 80)) : talloc_new(NULL);
    for (unsigned i = 0; i < OBJECTS; i++) {
      objects[i] = is_libc ? malloc(sizes[i]) : talloc_named_const(i ? objects[parents[i]] : top, sizes[i], "object");
      if (!objects[i]) return 1;
    }
    for (unsigned i = 0; is_libc && i < OBJECTS; i++) free(objects[i]);
    if (talloc_free(top)) return 1;
  }
  return 0;
}
