// Threads that begin and end at the allocator: 64 first allocations at one barrier, frees in key destructors until the last
// round, objects freed by threads that never allocated, and many short threads one after another.
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { threadCount = 64 };
static pthread_barrier_t barrier;
static pthread_key_t keys[8];
static int rounds;

// Comes back until the last round of destructors, with an object in hand each time. Ours runs in between.
static void destroy(void *value) {
  unsigned char *object = value;
  CHECK(object[0] == 0x77 && object[99] == 0x77);
  free(object);
  void *again = malloc(100);
  memset(again, 0x77, 100);
  int round = __sync_add_and_fetch(&rounds, 1);
  if (round % 5) pthread_setspecific(keys[round % 8], again);
  else free(again);
}

static void *work(void *argument) {
  pthread_barrier_wait(&barrier);
  uintptr_t seed = (uintptr_t)argument;
  unsigned char *objects[200];
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 200; i++) {
      size_t size = (seed * 31 + (size_t)i * 97) % 3000 + 1;
      objects[i] = malloc(size);
      memset(objects[i], (int)seed, size);
    }
    for (int i = 0; i < 200; i++) {
      size_t size = (seed * 31 + (size_t)i * 97) % 3000 + 1;
      CHECK(objects[i][0] == (unsigned char)seed && objects[i][size - 1] == (unsigned char)seed);
      free(objects[i]);
    }
  }
  for (int i = 0; i < 8; i++) {
    void *kept = malloc(100);
    memset(kept, 0x77, 100);
    pthread_setspecific(keys[i], kept);
  }
  return strdup("left behind by a thread");
}

static void *freeOnly(void *object) {
  free(object);
  return NULL;
}

int main(void) {
  // Half of the keys before the allocator's own, if it makes it late; half after.
  for (int i = 0; i < 8; i++) CHECK(pthread_key_create(&keys[i], destroy) == 0);
  pthread_barrier_init(&barrier, NULL, threadCount);
  for (int round = 0; round < 5; round++) {
    pthread_t threads[threadCount];
    for (uintptr_t i = 0; i < threadCount; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < threadCount; i++) {
      void *result = NULL;
      pthread_join(threads[i], &result);
      CHECK(!strcmp(result, "left behind by a thread"));
      free(result);
    }
  }
  for (size_t i = 0; i < 3000; i++) {
    pthread_t thread;
    void *object = malloc(i % 500 * 20);
    CHECK(pthread_create(&thread, NULL, freeOnly, object) == 0);
    pthread_join(thread, NULL);
  }
  return failures != 0;
}
