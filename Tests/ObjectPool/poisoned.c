// Under AddressSanitizer: what is free in an object pool is nobody's to touch. The argument says what is done wrong; 0: nothing.
#include <mempool.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments) {
  mp_objpool_t *pool = mp_objpool_new(40, 10, "watched");
  char *objects[15];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 15; i++) memset(objects[i] = mp_objpool_get0(pool), 1, 40);
    for (int i = 0; i < 15; i++) mp_objpool_put(objects[i]);
  }
  volatile char *object = mp_objpool_get(pool);
  *object = 1;
  switch (count > 1 ? atoi(arguments[1]) : 0) {
  case 1: object[40] = 1; break;  // behind it
  case 2: mp_objpool_put((void *)object), *object = 1; break;  // given back
  case 3: objects[9][0] = 1; break;  // never taken again
  case 4: objects[14][0] = 1; break;  // from elsewhere, given back
  }
  if (count == 1 || !atoi(arguments[1])) mp_objpool_put((void *)object);
  return mp_objpool_destroy(pool);
}
