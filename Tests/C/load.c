// load LIBRARY NAME…: opens a library while the process runs, which fails when its thread-local block is too large, and calls
// the malloc-like and free-like functions named in pairs, in this thread and in new ones.
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

static void *(*take)(size_t);
static void (*give)(void *);

static void *churn(void *unused) {
  (void)unused;
  void *objects[100];
  for (int round = 0; round < 20; round++) {
    for (size_t i = 0; i < 100; i++) {
      objects[i] = take(i * i);
      CHECK(objects[i] != NULL);
      memset(objects[i], 1, i * i);
    }
    for (size_t i = 0; i < 100; i++) give(objects[i]);
  }
  return NULL;
}

int main(int count, char **arguments) {
  void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  for (int i = 2; i + 1 < count; i += 2) {
    *(void **)&take = dlsym(library, arguments[i]);
    *(void **)&give = dlsym(library, arguments[i + 1]);
    CHECK(take && give);
    if (!take || !give) continue;
    churn(NULL);
    for (int round = 0; round < 10; round++) {
      pthread_t threads[4];
      for (int j = 0; j < 4; j++) CHECK(pthread_create(&threads[j], NULL, churn, NULL) == 0);
      for (int j = 0; j < 4; j++) pthread_join(threads[j], NULL);
    }
  }
  return failures != 0;
}
