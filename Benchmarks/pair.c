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

// Slabs that are full to the last item, as this project's are shaped: one page of 16 KiB for each of a thread's first four, two for
// the next four, then four. Each object that is freed is then the only free one. Before that a burst of another size has come and gone.
static void *filled[250000];
static unsigned filled_count;

__attribute__((noinline)) static void replace_in_full_slabs(void) {
  void *(*const taking)(size_t) = take;
  void (*const giving)(void *) = give;
  for (unsigned i = 0, place = 0; i < batch_size; i++, place = (place + 7919) % filled_count) {
    giving(filled[place]);
    if (!(filled[place] = taking(size))) abort();
  }
}

static void *fill_slabs(void *count) {
  filled_count = 0;
  for (unsigned slab = 0; slab < *(unsigned *)count; slab++) filled_count += (unsigned)((slab < 4 ? 1 << 14 : slab < 8 ? 2 << 14 : 4 << 14) / size);
  if (filled_count < 8) filled_count = 8;
  for (unsigned i = 0; i < filled_count; i++)
    if (!(filled[i] = take(size))) abort();
  size_t own = size;
  size = 2 * own;
  take_all();
  give_all();
  give(take(size));
  size = own;
  for (int round = 0; round < warm_rounds + rounds; round++) COUNTED(round, replace_in_full_slabs());
  for (unsigned i = 0; i < filled_count; i++) give(filled[i]);
  return NULL;
}

static void in_full_slabs(const char *name, unsigned slabs) {
  pthread_t other;
  if (pthread_create(&other, NULL, fill_slabs, &slabs)) abort();
  pthread_join(other, NULL);
  CALLGRIND_DUMP_STATS_AT(name);
}

// What one thread takes and, in turn, gives back itself or has another one free: what is freed is collected when it is taken again.
typedef struct {
  int isRemote, countsTakes, countsFrees;
} way_t;

static void *give_remotely(void *argument) {
  const way_t *way = argument;
  for (int round = 0; round < warm_rounds + rounds; round++) {
    pthread_barrier_wait(&turn);
    if (way->isRemote) COUNTED(way->countsFrees ? round : -1, give_all());
    pthread_barrier_wait(&turn);
  }
  return NULL;
}

static void in_turn(const char *name, way_t way) {
  pthread_t other;
  pthread_barrier_init(&turn, NULL, 2);
  if (pthread_create(&other, NULL, give_remotely, &way)) abort();
  for (int round = 0; round < warm_rounds + rounds; round++) {
    COUNTED(way.countsTakes ? round : -1, take_all());
    if (!way.isRemote) give_all();
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
  }
  pthread_join(other, NULL);
  CALLGRIND_DUMP_STATS_AT(name);
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

  // The first, so that the process has had threads for all three.
  in_turn("own-malloc", (way_t){.countsTakes = 1});
  in_turn("remote-malloc", (way_t){.isRemote = 1, .countsTakes = 1});
  in_turn("remote-free", (way_t){.isRemote = 1, .countsFrees = 1});

  in_full_slabs("full", 7);
  in_full_slabs("many-full", 64);
  return 0;
}
