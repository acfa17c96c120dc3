// Misuse of every kind, each by name: misuse NAME. The names of the functions here are those that memcheck's reports must have.
//
// Through libc's names with -DDROP_IN, else through mempool.h.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef DROP_IN
#define mp_malloc malloc
#define mp_calloc calloc
#define mp_memalign aligned_alloc
#define mp_realloc realloc
#define mp_free free
#else
#include <mempool.h>
#endif

#define APART __attribute__((noinline))

// Volatile, or the compiler removes what is wrong.
static char *volatile object;
static volatile int sink;

APART static void make(size_t size) {
  object = mp_malloc(size);
  memset(object, 1, size);
}
APART static void drop(void) { mp_free(object); }
APART static void read_at(size_t offset) { sink = object[offset]; }
APART static void write_at(size_t offset) { object[offset] = 7; }
APART static void decide_on(size_t offset) {
  if (object[offset] == 3) puts("three");
}

static void freed_read(size_t size) { make(size), drop(), read_at(size / 2), object = NULL; }
static void freed_write(size_t size) { make(size), drop(), write_at(size / 2), object = NULL; }
static void past(size_t size) { make(size), write_at(size), drop(); }
static void before(size_t size) { make(size), make(size), read_at((size_t)-1), drop(); }
static void uninitialised(size_t size) { object = mp_malloc(size), decide_on(size - 1), drop(); }
static void forgotten(size_t size) { make(size), object = NULL; }
static void twice(size_t size) { make(size), drop(), drop(); }
static void inside(size_t size) { make(size), object += 16, drop(); }
static void grown(size_t size) {
  make(size), object = mp_realloc(object, size + size / 8), decide_on(size - 1), decide_on(size), drop();
}
static void shrunk(size_t size) { make(size), object = mp_realloc(object, size - size / 8), read_at(size - 1), drop(); }
// Some of the first `count` bytes, the last among them.
static void decide_on_first(size_t count) {
  for (size_t at = 0; at < count; at += count / 1000 + 1) decide_on(at);
  decide_on(count - 1);
}
// Without a report: the old bytes and the zeroes.
static void kept(size_t size) {
  make(size);
  static const double shares[] = {1.1, 3, 1.5, 0.9, 0.2};
  size_t filled = size;
  for (int i = 0; i < 5; i++) {
    size_t next = (size_t)((double)size * shares[i]) + 1;
    object = mp_realloc(object, next);
    decide_on_first(next < filled ? next : filled);
    if (next > filled) memset(object + filled, 1, next - filled);
    filled = next;
  }
  drop();
  object = mp_calloc(size, 3);
  decide_on_first(size * 3);
  drop();
  object = mp_memalign(256, size);
  memset(object, 1, size), drop();
}

#ifndef DROP_IN
static mp_pool_t *pool, *other;
static mp_cache_t cache;
typedef struct { char bytes[40]; } item_t;

APART static mp_pool_t *open_pool(mp_small_objects_t small) {
  mp_pool_options_t options = {.backing = MP_BACKING_ELASTIC, .small_objects = small};
  return mp_pool_new(&options);
}
APART static void make_in_pool(size_t size) {
  object = mp_pool_malloc(pool, size);
  memset(object, 1, size);
}
APART static void drop_in_pool(void) { mp_pool_free(pool, object); }
APART static void make_item(void) {
  object = mp_cache_alloc(&cache);
  memset(object, 1, sizeof(item_t));
}
APART static void drop_item(void) { mp_cache_free(&cache, object); }

static void with_pool(mp_small_objects_t small, void (*body)(size_t), size_t size) {
  pool = open_pool(small), body(size), mp_pool_destroy(pool), pool = NULL;
}
static void pool_freed_read(size_t size) { make_in_pool(size), drop_in_pool(), read_at(size / 2); }
static void pool_freed_write(size_t size) { make_in_pool(size), drop_in_pool(), write_at(size / 2); }
static void pool_past(size_t size) { make_in_pool(size), write_at(size); }
static void pool_twice(size_t size) { make_in_pool(size), drop_in_pool(), drop_in_pool(); }
static void pool_uninitialised(size_t size) { object = mp_pool_malloc(pool, size), decide_on(size - 1); }
static void pool_grown(size_t size) {
  make_in_pool(size), object = mp_pool_realloc(pool, object, size + size / 8), decide_on(size - 1), decide_on(size);
}
static void pool_shrunk(size_t size) {
  make_in_pool(size), object = mp_pool_realloc(pool, object, size - size / 8), read_at(size - 1);
}
static void pool_mismatched(size_t size) {
  other = open_pool(MP_SMALL_CLASSES), make_in_pool(size), mp_pool_free(other, object);
}
static void pool_forgotten(size_t size) {
  pool = open_pool(MP_SMALL_CLASSES), make_in_pool(size), object = NULL;
}
static void whole_pool_forgotten(size_t size) { pool_forgotten(size), pool = NULL; }
static void pool_gone(size_t size) { with_pool(MP_SMALL_CLASSES, make_in_pool, size), read_at(0); }
static void pool_in_buffer_gone(size_t size) {
  static char buffer[1 << 20];
  mp_pool_options_t options = {.backing = MP_BACKING_BUFFER, .start = buffer, .size = sizeof buffer};
  pool = mp_pool_new(&options), make_in_pool(size), mp_pool_destroy(pool), pool = NULL;
  decide_on(0);
}
static void cache_freed_read(size_t size) {
  mp_cache_init(&cache, item_t), make_item(), drop_item(), read_at(size % 40), mp_cache_destroy(&cache);
}
static void cache_twice(size_t size) {
  (void)size, mp_cache_init(&cache, item_t), make_item(), drop_item(), drop_item();
}
static void cache_past(size_t size) { mp_cache_init(&cache, item_t), make_item(), write_at(40), drop_item(), (void)size; }
static void cache_forgotten(size_t size) { (void)size, mp_cache_init(&cache, item_t), make_item(), object = NULL; }

static mp_objpool_t *prepared;
APART static void make_prepared(void) {
  object = mp_objpool_get(prepared);
  memset(object, 1, 40);
}
APART static void drop_prepared(void) { mp_objpool_put(object); }
static void open_prepared(void) { prepared = mp_objpool_new(40, 3, "prepared"); }
static void prepared_freed_read(size_t size) { open_prepared(), make_prepared(), drop_prepared(), read_at(size), mp_objpool_destroy(prepared), prepared = NULL; }
static void prepared_twice(size_t size) { (void)size, open_prepared(), make_prepared(), drop_prepared(), drop_prepared(); }
static void prepared_past(size_t size) { open_prepared(), make_prepared(), write_at(40), drop_prepared(), (void)size; }
static void prepared_uninitialised(size_t size) { open_prepared(), object = mp_objpool_get(prepared), decide_on(size), drop_prepared(); }
static void prepared_forgotten(size_t size) { (void)size, open_prepared(), make_prepared(), object = NULL; }
// Without a report: more than are prepared, again and again, zeroed too.
static void prepared_kept(size_t size) {
  open_prepared();
  for (int round = 0; round < 3; round++) {
    char *all[5];
    for (int i = 0; i < 5; i++) object = all[i] = mp_objpool_get0(prepared), decide_on_first(size), memset(object, 1, size);
    mp_objpool_sweep(NULL);
    for (int i = 0; i < 5; i++) object = all[i], drop_prepared();
  }
  object = NULL;
  mp_objpool_destroy(prepared), prepared = NULL;
}

static mp_compact_t *compact;
static mp_handle_t handle;
APART static void make_in_compact(size_t size) {
  mp_compact_alloc(compact, size, 0, &handle);
  object = mp_compact_map(compact, handle);
  mp_compact_unmap(compact, handle);
}
static void with_compact(void (*body)(size_t), size_t size) {
  compact = mp_compact_new(MP_COMPACT_MOVABLE), make_in_compact(size), body(size), mp_compact_destroy(compact), compact = NULL;
}
static void read_freed(size_t size) { memset(object, 1, size), mp_compact_free(compact, handle), read_at(size / 2); }
static void write_behind(size_t size) { write_at(size); }
static void decide_on_last(size_t size) { decide_on(size - 1); }
static void compact_freed_read(size_t size) { with_compact(read_freed, size); }
static void compact_past(size_t size) { with_compact(write_behind, size); }
static void compact_uninitialised(size_t size) { with_compact(decide_on_last, size); }
// Without a report: objects that come, move and go.
static void move_and_keep(size_t size) {
  mp_handle_t all[100];
  for (int i = 0; i < 100; i++) make_in_compact(size), memset(object, i, size), all[i] = handle;
  for (int i = 0; i < 100; i += 2) mp_compact_free(compact, all[i]);
  mp_compact_pack(compact);
  for (int i = 1; i < 100; i += 2) {
    object = mp_compact_map(compact, all[i]);
    decide_on_first(size);
    mp_compact_unmap(compact, all[i]);
    mp_compact_free(compact, all[i]);
  }
}
static void compact_kept(size_t size) { with_compact(move_and_keep, size); }

static void dense_freed_read(size_t size) { with_pool(MP_SMALL_DENSE, pool_freed_read, size); }
static void dense_freed_write(size_t size) { with_pool(MP_SMALL_DENSE, pool_freed_write, size); }
static void dense_past(size_t size) { with_pool(MP_SMALL_DENSE, pool_past, size); }
static void dense_grown(size_t size) { with_pool(MP_SMALL_DENSE, pool_grown, size); }
static void own_freed_read(size_t size) { with_pool(MP_SMALL_CLASSES, pool_freed_read, size); }
static void own_past(size_t size) { with_pool(MP_SMALL_CLASSES, pool_past, size); }
static void own_twice(size_t size) { with_pool(MP_SMALL_CLASSES, pool_twice, size); }
static void own_uninitialised(size_t size) { with_pool(MP_SMALL_CLASSES, pool_uninitialised, size); }
static void own_grown(size_t size) { with_pool(MP_SMALL_CLASSES, pool_grown, size); }
static void own_shrunk(size_t size) { with_pool(MP_SMALL_CLASSES, pool_shrunk, size); }
static void own_mismatched(size_t size) { with_pool(MP_SMALL_CLASSES, pool_mismatched, size); }
static void fragments_freed_read(size_t size) {
  object = mp_frag_alloc(size, FRAG_COMMON), mp_frag_free(object), read_at(0);
}
#endif

#define CASE(name) {#name, name}
static const struct { const char *name; void (*run)(size_t); } cases[] = {
    CASE(freed_read), CASE(freed_write), CASE(past), CASE(before), CASE(uninitialised), CASE(forgotten), CASE(twice),
    CASE(inside), CASE(grown), CASE(shrunk), CASE(kept),
#ifndef DROP_IN
    CASE(own_freed_read), CASE(own_past), CASE(own_twice), CASE(own_uninitialised), CASE(own_grown), CASE(own_shrunk),
    CASE(own_mismatched), CASE(pool_forgotten), CASE(whole_pool_forgotten), CASE(pool_gone), CASE(pool_in_buffer_gone), CASE(dense_freed_read),
    CASE(dense_freed_write), CASE(dense_past), CASE(dense_grown), CASE(cache_freed_read), CASE(cache_twice),
    CASE(cache_past), CASE(cache_forgotten), CASE(fragments_freed_read), CASE(compact_freed_read), CASE(compact_past), CASE(compact_uninitialised), CASE(compact_kept),
    CASE(prepared_freed_read), CASE(prepared_twice), CASE(prepared_past), CASE(prepared_uninitialised), CASE(prepared_forgotten), CASE(prepared_kept),
#endif
};

APART static void clear_stack(void) {
  volatile char stack[4096];
  memset((char *)stack, 0, sizeof stack);
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (!strcmp(cases[i].name, arguments[1])) {
      cases[i].run(strtoul(arguments[2], NULL, 10));
      clear_stack();
      return 0;
    }
  return 2;
}
