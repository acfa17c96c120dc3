// What the workloads have in common: arguments, numbers that are the same in every run, threads that start together, objects
// that are written and checked, and the one line of JSON that each prints.
//
//   NAME [--threads N] [--scale X] [--objects N] [--sizes LEAST-MOST] [--mode WORD]
//
// The amount of work is fixed by these arguments alone, never by the clock: an allocator that is faster ends sooner.
#ifndef WORKLOAD_H
#define WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern struct options {
  int threads;
  double scale;
  long objects;
  size_t least, most;
  const char *mode;
} options;

static inline void fail(const char *what) {
  fprintf(stderr, "workload: %s\n", what);
  exit(1);
}

static inline void read_options(int count, char **arguments) {
  for (int i = 1; i < count; i += 2) {
    const char *name = arguments[i], *value = i + 1 < count ? arguments[i + 1] : "";
    if (!strcmp(name, "--threads")) options.threads = atoi(value);
    else if (!strcmp(name, "--scale")) options.scale = atof(value);
    else if (!strcmp(name, "--objects")) options.objects = atol(value);
    else if (!strcmp(name, "--mode")) options.mode = value;
    else if (!strcmp(name, "--sizes") && sscanf(value, "%zu-%zu", &options.least, &options.most) == 2) continue;
    else fail("arguments: [--threads N] [--scale X] [--objects N] [--sizes LEAST-MOST] [--mode WORD]");
  }
  if (options.threads < 1 || options.threads > 1000 || options.scale <= 0) fail("--threads 1…1000, --scale above 0");
  if (options.least > options.most) fail("--sizes LEAST-MOST");
}

// So many times, less in a quick run, but once at least.
static inline long scaled(long count) {
  double n = (double)count * options.scale;
  return n < 1 ? 1 : (long)n;
}

// splitmix64: a counter that is mixed. Each thread has its own, seeded by its number.
typedef uint64_t random_t;

static inline uint64_t next(random_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

static inline size_t below(random_t *state, size_t bound) { return (size_t)((next(state) >> 32) * bound >> 32); }
static inline size_t between(random_t *state, size_t least, size_t most) { return least + below(state, most - least + 1); }

// From 8 bytes to just under 32 KiB; each doubling half as often as the one before, as in programs: each has the same share of the bytes.
static inline size_t mixed_size(random_t *state) {
  int doublings = __builtin_ctzll(next(state) | 1 << 11);
  return ((size_t)8 << doublings) + below(state, (size_t)8 << doublings);
}

// Each magnitude as often as any other.
static inline size_t even_size(random_t *state, int least_shift, int most_shift) {
  size_t floor = (size_t)1 << between(state, (size_t)least_shift, (size_t)most_shift - 1);
  return floor + below(state, floor + 1);
}

// An object is written when it is taken and looked at when it is given back: at its first byte, its last, and one in each page,
// because a program uses what it asks for. A byte that has changed belongs to somebody else as well.
static inline unsigned char mark(const void *object, size_t size) { return (unsigned char)((uintptr_t)object >> 4 ^ size); }

static inline void write_marks(void *object, size_t size) {
  unsigned char *bytes = object, value = mark(object, size);
  bytes[0] = value;
  for (size_t page = 4096; page < size; page += 4096) bytes[page] = value;
  bytes[size - 1] = value;
}

static inline void check_marks(const void *object, size_t size) {
  const unsigned char *bytes = object, value = mark(object, size);
  if (bytes[0] != value || bytes[size - 1] != value) fail("an object was written by somebody else");
}

static inline void *take(size_t size) {
  void *object = malloc(size);
  if (!object) fail("malloc returned NULL");
  write_marks(object, size);
  return object;
}

static inline void give(void *object, size_t size) {
  check_marks(object, size);
  free(object);
}

typedef struct {
  void *object;
  uint32_t size;
} slot_t;

static inline void fill(slot_t *slot, size_t size) { *slot = (slot_t){take(size), (uint32_t)size}; }

static inline void empty(slot_t *slot) {
  if (slot->object) give(slot->object, slot->size);
  slot->object = NULL;
}

// The tables that hold a workload's objects are the system's: what is measured is the objects.
void *table(size_t bytes);

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double processor_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void rest(double seconds) {
  struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&t, NULL);
}

static inline void start(pthread_t *thread, void *(*body)(void *), void *argument) {
  if (pthread_create(thread, NULL, body, argument)) fail("pthread_create failed");
}

// Threads 0..<threads, each in body; the clock runs from when all are there until all have ended.
static struct {
  void (*body)(int);
  pthread_barrier_t ready;
} together;

static inline void *together_thread(void *number) {
  pthread_barrier_wait(&together.ready);
  together.body((int)(intptr_t)number);
  return NULL;
}

static inline double run_together(void (*body)(int)) {
  pthread_t threads[1000];
  together.body = body;
  pthread_barrier_init(&together.ready, NULL, (unsigned)options.threads + 1);
  for (int i = 0; i < options.threads; i++) start(&threads[i], together_thread, (void *)(intptr_t)i);
  pthread_barrier_wait(&together.ready);
  double started = now();
  for (int i = 0; i < options.threads; i++) pthread_join(threads[i], NULL);
  return now() - started;
}

// Private_Dirty of this process in KiB; what it gave back with MADV_FREE, which is not dirty any more but stays until the system
// wants it (-1: an old kernel does not tell); how many threads it has. Without stdio: they must not allocate.
long private_dirty(void);
long lazily_freed(void);
long threads_now(void);

// One line: what was done, how long it took, and whose malloc it was. more: further members, each with a comma before it, or "".
void report(const char *workload, double seconds, long operations, const char *more);

#endif
