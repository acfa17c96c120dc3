// unload LIBRARY TAKE GIVE: closes the library while a thread still holds objects of it, and while the thread that purges runs;
// both go on in its code, which must stay where it is. Nothing else may happen than that the process goes on.
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static void *(*take)(size_t);
static void (*give)(void *);
static pthread_barrier_t barrier;

// 4 MiB, which is enough for a thread that purges; most of it idle when the library is closed.
static void *use(void *unused) {
  static void *objects[4096];
  for (size_t i = 0; i < 4096; i++) {
    objects[i] = take(1024);
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, 1024);
  }
  for (size_t i = 0; i < 4000; i++) give(objects[i]);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);  // closed by now; what runs when a thread ends does so after this
  return unused;
}

int main(int count, char **arguments) {
  void *library = count > 3 ? dlopen(arguments[1], RTLD_NOW) : NULL;
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  *(void **)&take = dlsym(library, arguments[2]);
  *(void **)&give = dlsym(library, arguments[3]);
  CHECK(take && give);
  if (!take || !give) return 1;
  give(take(100));
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 2);
  CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
  pthread_barrier_wait(&barrier);
  CHECK(dlclose(library) == 0);
  pthread_barrier_wait(&barrier);
  CHECK(pthread_join(thread, NULL) == 0);
  sleep(3);  // longer than idle memory is kept
  return failures != 0;
}
