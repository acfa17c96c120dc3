// A program whose allocations are known: some threads allocate objects of sizes that nothing else asks for, and the next thread frees them.
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 3, OBJECTS = 5000, SIZE = 777777 };

static void *objects[THREADS][OBJECTS];
static pthread_barrier_t barrier;

static void *work(void *argument) {
  intptr_t number = (intptr_t)argument;
  for (int i = 0; i < OBJECTS; i++) {
    // Small ones, each of a size of its own thread's; now and then by another name.
    size_t size = 40 + 8 * (size_t)number;
    void *object = i % 50 == 0 ? calloc(1, size) : i % 50 == 1 ? aligned_alloc(64, 64) : malloc(size);
    if (i % 50 == 2) object = realloc(object, 5000);
    if (!object) abort();
    objects[number][i] = object;
  }
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < OBJECTS; i++) free(objects[(number + 1) % THREADS][i]);
  return NULL;
}

// Objects that may lie 8 bytes apart.
static int allocate_small(void) {
  for (int i = 0; i < OBJECTS; i++) objects[0][i] = malloc(8);
  for (int i = 0; i < OBJECTS; i++) free(objects[0][i]);
  return 3;
}

int main(int count, char **words) {
  if (count > 1 && !strcmp(words[1], "small")) return allocate_small();
  pthread_barrier_init(&barrier, NULL, THREADS);
  pthread_t threads[THREADS];
  for (intptr_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  // A child of a fork is not recorded.
  if (fork() == 0) {
    free(malloc(SIZE));
    exit(0);
  }
  void *failed = malloc(PTRDIFF_MAX);
  free(failed);
  if (count > 1 && !strcmp(words[1], "leave")) _exit(3);
  return 3;
}
