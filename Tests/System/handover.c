// Four threads that allocate, hand over to the next, check and free what they were given; prints the sum of what they saw.
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { threads = 4, objects = 200, rounds = 3 };
static unsigned char *hands[threads][objects];
static pthread_barrier_t barrier;

static size_t sizeOf(int thread, int object) {
  return object == 0 ? 33 << 20 : object == 1 ? 100000 : (size_t)(object * 37 + thread * 11) % 2000 + 1;
}

static void *work(void *argument) {
  int own = (int)(uintptr_t)argument, given = (own + 1) % threads;
  uintptr_t sum = 0;
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < objects; i++) {
      size_t size = sizeOf(own, i);
      unsigned char *object = i % 3 ? malloc(size) : calloc(size, 1);
      for (size_t n = 0; i % 3 == 0 && n < size; n += 64) CHECK(object[n] == 0);
      memset(object, own + 1, size);
      hands[own][i] = i % 5 ? object : realloc(object, size + 100);
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < objects; i++) {
      unsigned char *object = hands[given][i];
      CHECK(object[0] == given + 1 && object[sizeOf(given, i) - 1] == given + 1);
      sum += object[0];
      free(object);
    }
    pthread_barrier_wait(&barrier);
  }
  return (void *)sum;
}

int main(void) {
  pthread_barrier_init(&barrier, NULL, threads);
  pthread_t thread[threads];
  uintptr_t sum = 0;
  for (uintptr_t i = 0; i < threads; i++) CHECK(pthread_create(&thread[i], NULL, work, (void *)i) == 0);
  for (int i = 0; i < threads; i++) {
    void *result = NULL;
    pthread_join(thread[i], &result);
    sum += (uintptr_t)result;
  }
  printf("%zu\n", (size_t)sum);
  return failures != 0;
}
