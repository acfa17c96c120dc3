// What Benchmarks/instructions counts: malloc and free in a few patterns, each loop collected by callgrind under a name of its own.
//
//   pair SIZE [empty]
//
// "empty" calls functions that do nothing in place of malloc and free: what is left is the cost of the loops, which is subtracted.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

enum { batch_size = 1000, warm_rounds = 4, rounds = 10 };

static char nowhere[16];
__attribute__((noinline)) static void *take_nothing(size_t size) {
  (void)size;
  return nowhere;
}
__attribute__((noinline)) static void give_nothing(void *object) { (void)object; }

// Volatile, so that the compiler knows neither of them and calls both.
static void *(*volatile take)(size_t) = malloc;
static void (*volatile give)(void *) = free;
static void *objects[batch_size];
static size_t size;
static pthread_barrier_t turn;

// Collects what a statement executes, for the thread that executes it, once everything is warm.
#define COUNTED(round, statement) \
  do { \
    if ((round) >= warm_rounds) CALLGRIND_TOGGLE_COLLECT; \
    statement; \
    if ((round) >= warm_rounds) CALLGRIND_TOGGLE_COLLECT; \
  } while (0)

__attribute__((noinline)) static void pairs(void) {
  void *(*const taking)(size_t) = take;
  void (*const giving)(void *) = give;
  for (int i = 0; i < batch_size; i++) {
    void *object = taking(size);
    if (!object) abort();
    giving(object);
  }
}

__attribute__((noinline)) static void take_all(void) {
  void *(*const taking)(size_t) = take;
  for (int i = 0; i < batch_size; i++)
    if (!(objects[i] = taking(size))) abort();
}

__attribute__((noinline)) static void give_all(void) {
  void (*const giving)(void *) = give;
  for (int i = 0; i < batch_size; i++) giving(objects[i]);
}

// 371 has no divisor in common with 1000: each object is replaced once, and not in the order in which they were taken.
__attribute__((noinline)) static void replace_all(void) {
  void *(*const taking)(size_t) = take;
  void (*const giving)(void *) = give;
  for (unsigned i = 0, place = 0; i < batch_size; i++, place = (place + 371) % batch_size) {
    giving(objects[place]);
    if (!(objects[place] = taking(size))) abort();
  }
}

static void *give_remotely(void *counted) {
  for (int round = 0; round < warm_rounds + rounds; round++) {
    pthread_barrier_wait(&turn);
    COUNTED(counted ? round : -1, give_all());
    pthread_barrier_wait(&turn);
  }
  return NULL;
}

// One thread takes all, another frees all, in turn. What is freed is collected when it is taken again: either side is counted.
static void remotely(int counts_frees) {
  pthread_t other;
  pthread_barrier_init(&turn, NULL, 2);
  if (pthread_create(&other, NULL, give_remotely, counts_frees ? &turn : NULL)) abort();
  for (int round = 0; round < warm_rounds + rounds; round++) {
    COUNTED(counts_frees ? -1 : round, take_all());
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
  }
  pthread_join(other, NULL);
}

int main(int count, char **arguments) {
  size = count > 1 ? (size_t)atol(arguments[1]) : 64;
  if (count > 2 && !strcmp(arguments[2], "empty")) take = take_nothing, give = give_nothing;

  for (int round = 0; round < warm_rounds + rounds; round++) COUNTED(round, pairs());
  CALLGRIND_DUMP_STATS_AT("pair");

  for (int round = 0; round < warm_rounds + rounds; round++) {
    COUNTED(round, take_all());
    give_all();
  }
  CALLGRIND_DUMP_STATS_AT("batch-malloc");
  for (int round = 0; round < warm_rounds + rounds; round++) {
    take_all();
    COUNTED(round, give_all());
  }
  CALLGRIND_DUMP_STATS_AT("batch-free");

  take_all();
  for (int round = 0; round < warm_rounds + rounds; round++) COUNTED(round, replace_all());
  CALLGRIND_DUMP_STATS_AT("replace");
  give_all();

  remotely(0);
  CALLGRIND_DUMP_STATS_AT("remote-malloc");
  remotely(1);
  CALLGRIND_DUMP_STATS_AT("remote-free");
  return 0;
}
