// In fixed mode nothing is asked of the system between the lines "start" and "end", although each thread has its first object
// only then: the runner looks at the calls in between. Usage: late
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { threadCount = 8, slotCount = 256 };
static pthread_barrier_t barrier;
static char *volatile slots[slotCount];

static void say(const char *word) { CHECK(write(2, word, strlen(word)) == (ssize_t)strlen(word)); }

// Every way to get memory, all sizes, most of it freed by another thread than had it.
static void *work(void *number) {
  uint32_t seed = (uint32_t)(uintptr_t)number * 7919;
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 30000; i++) {
    seed = seed * 1664525 + 1013904223;
    size_t size = seed >> 8 & 0x3ff;
    if (seed % 29 == 0) size *= 64;
    if (seed % 997 == 0) size *= 2048;
    char *p = NULL;
    switch (seed >> 28) {
    case 0: p = calloc(1, size + 1); break;
    case 1: p = aligned_alloc(64, (size | 63) + 1); break;
    case 2: if (posix_memalign((void **)&p, 4096, size + 1)) p = NULL; break;
    default: p = malloc(size + 1); break;
    }
    if (p) p[0] = p[size] = 'x';
    char *old = __atomic_exchange_n(&slots[seed >> 16 & (slotCount - 1)], p, __ATOMIC_ACQ_REL);
    if (old && seed % 5 == 0) {
      char *moved = realloc(old, size / 2 + 1);
      if (moved) old = moved;
    }
    free(old);
  }
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

int main(void) {
  pthread_barrier_init(&barrier, NULL, threadCount + 1);
  for (uintptr_t i = 1; i <= threadCount; i++) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, work, (void *)i) == 0);
  }
  free(malloc(1));
  pthread_barrier_wait(&barrier);
  say("start\n");
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  say("end\n");
  _exit(failures != 0);  // threads that end give their stacks back
}
