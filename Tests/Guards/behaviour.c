// What sampled objects must do like all others. Needs MEMPOOL_GUARD_SAMPLE=1, so that each small object is one, as long as there is room.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

extern void free_sized(void *, size_t) __attribute__((weak));

enum { most = 3840 };
static size_t page;
static int starts(const unsigned char *p) { return ((uintptr_t)p & (page - 1)) == 0; }
static int ends(const unsigned char *p, size_t size) { return (((uintptr_t)p + size + 15) & (page - 1)) < 16; }

static void every_size(void) {
  for (size_t size = 0; size <= most; size++) {
    unsigned char *p = malloc(size), *q = calloc(size ? size : 1, 1);
    CHECK(p && q && p != q);
    CHECK(malloc_usable_size(p) == size);  // neither more nor less: else it were no guarded one
    CHECK((uintptr_t)p % (size < 16 ? 8 : 16) == 0 && (uintptr_t)q % (size < 16 ? 8 : 16) == 0);
    CHECK(starts(p) || ends(p, size ? size : 1));
    for (size_t i = 0; i < size; i++) CHECK(q[i] == 0);
    memset(p, 0xff, size);
    memset(q, 0xff, size);
    free(p);
    free_sized ? free_sized(q, size ? size : 1) : free(q);
  }
}

static void resized(void) {
  for (size_t size = 1; size <= 2 * most; size = size * 3 / 2 + 1) {
    unsigned char *p = malloc(size);
    memset(p, 0x5a, size);
    for (size_t next = 1; next <= 3 * most; next = next * 2 + 3) {
      unsigned char *q = realloc(p, next);
      CHECK(q && malloc_usable_size(q) >= next);
      for (size_t i = 0; i < size && i < next; i++) CHECK(q[i] == 0x5a);
      memset(q, 0x5a, next);
      p = q, size = next;
    }
    free(p);
  }
  CHECK(realloc(malloc(10), 0) == NULL);
}

static void aligned(void) {
  for (size_t alignment = 8; alignment <= 8192; alignment *= 2) {
    unsigned char *p = aligned_alloc(alignment, 100);
    CHECK(p && (uintptr_t)p % alignment == 0);
    memset(p, 1, 100);
    free(p);
  }
}

static void keeps_errno(void) {
  errno = 77;
  for (int i = 0; i < 1000; i++) free(malloc(50));
  CHECK(errno == 77);
}

// More than there are pages for: the rest are objects as ever.
static void *kept[5000];
static void no_room(void) {
  for (int i = 0; i < 5000; i++) {
    kept[i] = malloc((size_t)i % most);
    memset(kept[i], i, (size_t)i % most);
  }
  for (int i = 0; i < 5000; i++) {
    for (size_t at = 0; at < (size_t)i % most; at++) CHECK(((unsigned char *)kept[i])[at] == (unsigned char)i);
    free(kept[i]);
  }
}

// The page of what is freed is the last to be used again.
static void last_freed_is_last_used(void) {
  unsigned char *first = malloc(64);
  uintptr_t at = (uintptr_t)first & ~(page - 1);
  free(first);
  int count = 0;
  for (; count < 100000; count++) {
    unsigned char *p = malloc(64);
    int same = ((uintptr_t)p & ~(page - 1)) == at;
    free(p);
    if (same) break;
  }
  CHECK(count >= 100 && count < 200);
}

static pthread_key_t key;
static void late(void *p) {
  free(p);
  free(malloc(30));
}
static void *allocates(void *nothing) {
  (void)nothing;
  pthread_setspecific(key, malloc(20));
  unsigned char **objects = malloc(100 * sizeof *objects);
  for (int i = 0; i < 100; i++) memset(objects[i] = malloc(40), i, 40);
  return objects;
}
static void *frees(void *list) {
  unsigned char **objects = list;
  for (int i = 0; i < 100; i++) {
    CHECK(objects[i][39] == i);
    free(objects[i]);
  }
  free(objects);
  return NULL;
}
static void by_other_threads(void) {
  pthread_key_create(&key, late);
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    void *list;
    pthread_create(&thread, NULL, allocates, NULL);
    pthread_join(thread, &list);
    pthread_create(&thread, NULL, frees, list);
    pthread_join(thread, NULL);
  }
}

static volatile int stop;
static void *churns(void *seed) {
  unsigned state = (unsigned)(uintptr_t)seed;
  void *mine[64] = {0};
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    state = state * 1103515245 + 12345;
    unsigned i = state >> 16 & 63;
    free(mine[i]);
    mine[i] = malloc(state >> 8 & 511);
  }
  for (int i = 0; i < 64; i++) free(mine[i]);
  return NULL;
}
static void forks(void) {
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, churns, (void *)(i + 1));
  unsigned char *before = malloc(100);
  memset(before, 0x33, 100);
  for (int i = 0; i < 200; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(30);
      int sound = before[99] == 0x33;
      free(before);
      for (int n = 0; n < 300; n++) {
        unsigned char *p = malloc(60);
        sound = sound && p;
        memset(p, 1, 60);
        free(p);
      }
      _exit(sound ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(before[0] == 0x33);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  free(before);
}

int main(void) {
  page = (size_t)sysconf(_SC_PAGESIZE);
  every_size();
  resized();
  aligned();
  keeps_errno();
  last_freed_is_last_used();
  no_room();
  by_other_threads();
  forks();
  return failures != 0;
}
