// What Tests/ObjectPool/run counts: acquiring and releasing an object, and the same of the engine's own small objects, each loop
// collected by callgrind under a name of its own.
//
//   pair SIZE
#include <mempool.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>

enum { batch_size = 1000, warm_rounds = 4, rounds = 10 };

static mp_objpool_t *pool;
static size_t size;
static char nowhere[16];
static void *objects[batch_size];

__attribute__((noinline)) static void *take_nothing(void *unused) {
  (void)unused;
  return nowhere;
}
__attribute__((noinline)) static void give_nothing(void *object) { (void)object; }

// Volatile, so that the compiler knows none of them and calls all.
static void *(*volatile take)(void *);
static void (*volatile give)(void *);
static void *argument;

__attribute__((noinline)) static void pairs(void) {
  void *(*const taking)(void *) = take;
  void (*const giving)(void *) = give;
  void *const with = argument;
  for (int i = 0; i < batch_size; i++) {
    void *object = taking(with);
    if (!object) abort();
    giving(object);
  }
}

__attribute__((noinline)) static void batches(void) {
  void *(*const taking)(void *) = take;
  void (*const giving)(void *) = give;
  void *const with = argument;
  for (int i = 0; i < batch_size; i++)
    if (!(objects[i] = taking(with))) abort();
  for (int i = 0; i < batch_size; i++) giving(objects[i]);
}

static void count(const char *name, void (*loop)(void)) {
  for (int round = 0; round < warm_rounds + rounds; round++) {
    if (round >= warm_rounds) CALLGRIND_TOGGLE_COLLECT;
    loop();
    if (round >= warm_rounds) CALLGRIND_TOGGLE_COLLECT;
  }
  CALLGRIND_DUMP_STATS_AT(name);
}

int main(int arguments, char **values) {
  size = arguments > 1 ? (size_t)atol(values[1]) : 64;
  if (!(pool = mp_objpool_new(size, 2 * batch_size, "counted"))) return 1;
  take = take_nothing, give = give_nothing, argument = nowhere;
  count("pair-nothing", pairs), count("batch-nothing", batches);
  take = (void *(*)(void *))(uintptr_t)mp_malloc, give = mp_free, argument = (void *)size;
  count("pair-malloc", pairs), count("batch-malloc", batches);
  take = (void *(*)(void *))(uintptr_t)mp_objpool_get, give = mp_objpool_put, argument = pool;
  count("pair-objpool", pairs), count("batch-objpool", batches);
  return mp_objpool_destroy(pool);
}
