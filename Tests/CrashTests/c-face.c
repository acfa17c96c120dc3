// Misuse of mempool.h.
#define _GNU_SOURCE
#include <mempool.h>
#include <stdlib.h>

#define ALLOCATE(n) mp_malloc(n)
#define RELEASE(p) mp_free(p)
#define RELEASE_NAME "mp_free"
#include "frees.h"

FREES(mp_free, "mp_free", mp_free(p))
FREES(mp_realloc, "mp_realloc", hide(mp_realloc(p, 300)))
FREES(mp_get_size, "mp_get_size", mp_get_size(p))
FREES(mp_frag_free, "mp_frag_free", mp_frag_free(p))
FREES(mp_heap_free, "mp_heap_free", mp_heap_free(p))

// --- Sizes and alignments

#define FATAL(name, line, call) \
  static void name(void) {      \
    EXPECT(line);               \
    call;                       \
  }
FATAL(malloc_overflow, "mp_malloc(18446744073709551615): out of memory", hide(mp_malloc(huge)))
FATAL(malloc_half, "mp_malloc(9223372036854775808): out of memory", hide(mp_malloc(huge / 2 + 1)))
FATAL(calloc_overflow, "mp_calloc(18446744073709551615, 2): the size overflows", hide(mp_calloc(huge, 2)))
FATAL(calloc_half, "mp_calloc(9223372036854775808): out of memory", hide(mp_calloc(huge / 2 + 1, 1)))
FATAL(realloc_overflow, "mp_realloc(18446744073709551615): out of memory", hide(mp_realloc(small(), huge)))
FATAL(memalign_overflow, "mp_memalign(18446744073709551615): out of memory", hide(mp_memalign(64, huge)))
FATAL(memalign_24, "mp_memalign(24): not a power of two", hide(mp_memalign(24, 100)))
FATAL(memalign_0, "mp_memalign(0): not a power of two", hide(mp_memalign(0, 100)))
FATAL(memalign_absurd, "mp_memalign(100): out of memory", hide(mp_memalign(huge / 2 + 1, 100)))

// --- The wrong function

static mp_cache_t cache, other;

#define WRONG(name, pointer, what, call) \
  static void name(void) {               \
    mp_cache_init(&cache, double);       \
    mp_cache_init(&other, double);       \
    char *p = pointer;                   \
    EXPECT(what, (void *)p);             \
    call;                                \
  }
WRONG(heap_to_frag, mp_malloc(100), "mp_frag_free(%p): not a run of fragments", mp_frag_free(p))
WRONG(span_to_frag, mp_malloc(40 << 20), "mp_frag_free(%p): not a run of fragments", mp_frag_free(p))
WRONG(frag_to_heap, mp_frag_alloc(1000, FRAG_COMMON), "mp_heap_free(%p): not an object of the heap", mp_heap_free(p))
WRONG(item_to_free, mp_cache_alloc(&cache), "mp_free(%p): an item of a slab cache: mp_cache_free takes it", mp_free(p))
WRONG(item_to_other, mp_cache_alloc(&cache), "mp_cache_free(%p): an item of another cache", mp_cache_free(&other, p))
WRONG(array_to_other, mp_cache_alloc_array(&cache, 5), "mp_cache_free_array(%p): an item of another cache",
      mp_cache_free_array(&other, p, 5))
WRONG(object_to_cache, mp_malloc(100), "mp_cache_free(%p): not an item of a slab cache", mp_cache_free(&cache, p))
WRONG(span_to_cache, mp_malloc(40 << 20), "mp_cache_free(%p): not an item of a slab cache", mp_cache_free(&cache, p))
WRONG(stack_to_cache, onStack(), "mp_cache_free(%p): not memory of this allocator", mp_cache_free(&cache, p))
WRONG(item_interior, (char *)mp_cache_alloc(&cache) + 4, "mp_cache_free(%p): not the start of an item",
      mp_cache_free(&cache, p))
WRONG(item_twice, mp_cache_alloc(&cache), "mp_cache_free(%p): double free",
      (mp_cache_free(&cache, p), mp_cache_free(&cache, p)))
WRONG(array_twice, mp_cache_alloc_array(&cache, 7), "mp_cache_free_array(%p): double free",
      (mp_cache_free_array(&cache, p, 7), mp_cache_free_array(&cache, p, 7)))
WRONG(array_too_long, mp_cache_alloc_array(&cache, 7), "mp_cache_free_array(%p): not so many items",
      mp_cache_free_array(&cache, p, 1000000))

static void *freeItem(void *p) {
  mp_cache_free(&cache, p);
  return NULL;
}
WRONG(item_remote_local, mp_cache_alloc(&cache), "mp_cache_free(%p): double free",
      (runInThread(freeItem, p), mp_cache_free(&cache, p)))
WRONG(item_local_remote, mp_cache_alloc(&cache), "mp_cache_free(%p): double free",
      (mp_cache_free(&cache, p), runInThread(freeItem, p)))
WRONG(item_remote_remote, mp_cache_alloc(&cache), "mp_cache_free(%p): double free",
      (runInThread(freeItem, p), runInThread(freeItem, p)))

// --- Caches

static void cache_with_item(void) {
  mp_cache_init(&cache, double);
  hide(mp_cache_alloc(&cache));
  EXPECT("mp_cache_destroy(%p): 1 item is still out", (void *)&cache);
  mp_cache_destroy(&cache);
}

static void *takeItem(void *unused) {
  (void)unused;
  return mp_cache_alloc(&cache);
}

static void cache_with_items(void) {
  mp_cache_init(&cache, double);
  hide(mp_cache_alloc(&cache));
  for (int i = 0; i < 2; i++) runInThread(takeItem, NULL);
  EXPECT("mp_cache_destroy(%p): 3 items are still out", (void *)&cache);
  mp_cache_destroy(&cache);
}

#define NO_CACHE(name, report, call)                                                            \
  static void name(void) {                                                                      \
    mp_cache_init(&cache, double);                                                              \
    mp_cache_destroy(&cache);                                                                   \
    EXPECT(report "(%p): no cache: not made yet, or destroyed", (void *)&cache);                \
    call;                                                                                       \
  }
NO_CACHE(destroyed_alloc, "mp_cache_alloc", hide(mp_cache_alloc(&cache)))
NO_CACHE(destroyed_array, "mp_cache_alloc_array", hide(mp_cache_alloc_array(&cache, 2)))
NO_CACHE(destroyed_free, "mp_cache_free", mp_cache_free(&cache, hide(&cache)))
NO_CACHE(destroyed_free_array, "mp_cache_free_array", mp_cache_free_array(&cache, hide(&cache), 2))
NO_CACHE(destroyed_destroy, "mp_cache_destroy", mp_cache_destroy(&cache))
FATAL(cache_of_nothing, "mp_cache_init_impl(0): no item can have this size", mp_cache_init_impl(&cache, "none", 0))
FATAL(cache_of_giants, "mp_cache_init_impl(18446744073709551615): no item can have this size",
      mp_cache_init_impl(&cache, "giants", huge))

// --- Pools

static mp_pool_t *pool(int kind) {
  static const mp_pool_options_t options[] = {
      {.backing = MP_BACKING_ELASTIC},
      {.backing = MP_BACKING_FIXED, .size = 16 << 20},
      {.backing = MP_BACKING_FIXED, .size = 16 << 20, .exhaustion = MP_EXHAUSTION_ABORT},
      {.backing = MP_BACKING_ELASTIC, .small_objects = MP_SMALL_DENSE},
      {.backing = MP_BACKING_FIXED, .size = 4 << 20, .exhaustion = MP_EXHAUSTION_SYSTEM, .max_retries = MP_NONE},
  };
  mp_pool_t *result = mp_pool_new(&options[kind]);
  if (!result) abort();
  return result;
}

#define POOL(name, kind, pointer, what, call) \
  static void name(void) {                    \
    mp_pool_t *mine = pool(kind);             \
    mp_pool_t *theirs = pool(0);              \
    (void)mine, (void)theirs;                 \
    char *p = pointer;                        \
    EXPECT(what, (void *)p);                  \
    call;                                     \
  }
POOL(pool_twice, 0, mp_pool_malloc(mine, 100), "mp_pool_free(%p): double free",
     (mp_pool_free(mine, p), mp_pool_free(mine, p)))
POOL(pool_fixed_twice, 1, mp_pool_malloc(mine, 10000), "mp_pool_free(%p): double free, or never allocated",
     (mp_pool_free(mine, p), mp_pool_free(mine, p)))
POOL(pool_to_shared, 0, mp_pool_malloc(mine, 100), "mp_free(%p): memory of another pool", mp_free(p))
POOL(shared_to_pool, 0, mp_malloc(100), "mp_pool_free(%p): memory of another pool", mp_pool_free(mine, p))
POOL(pool_to_pool, 0, mp_pool_malloc(mine, 100), "mp_pool_free(%p): memory of another pool", mp_pool_free(theirs, p))
POOL(pool_to_realloc, 1, mp_pool_malloc(mine, 100), "mp_realloc(%p): memory of another pool", hide(mp_realloc(p, 10)))
POOL(pool_span_to_pool, 0, mp_pool_malloc(mine, 40 << 20), "mp_pool_realloc(%p): memory of another pool",
     hide(mp_pool_realloc(theirs, p, 10)))
POOL(pool_stack, 0, onStack(), "mp_pool_free(%p): not memory of this allocator", mp_pool_free(mine, p))
POOL(pool_size_of_interior, 0, (char *)mp_pool_malloc(mine, 100) + 8, "mp_pool_get_size(%p): not the start of an object",
     mp_pool_get_size(mine, p))

POOL(dense_twice, 3, mp_pool_malloc(mine, 100), "mp_pool_free(%p): double free",
     (mp_pool_free(mine, p), mp_pool_free(mine, p)))
POOL(dense_interior, 3, (char *)mp_pool_malloc(mine, 100) + 32, "mp_pool_free(%p): not the start of an allocated block",
     mp_pool_free(mine, p))
POOL(dense_overwritten, 3, mp_pool_malloc(mine, 100), "mp_pool_free(%p): block header overwritten",
     (memset(p - 4, 0xff, 4), mp_pool_free(mine, p)))

// An object that a full pool took from the system's malloc, which is not to see what is wrong with a pointer; another stays live.
static char *fallback(mp_pool_t *mine) {
  mp_stats_t stats;
  for (int i = 0; i < 5000; i++) {
    char *p = hide(mp_pool_malloc(mine, 5000));
    mp_pool_stats_read(mine, &stats);
    if (stats.fallback_live_count == 100) return p;
  }
  abort();
}
static mp_pool_t *fallbackPool;
static void *freeFallback(void *p) {
  mp_pool_free(fallbackPool, p);
  return NULL;
}
POOL(fallback_twice, 4, fallback(mine), "mp_pool_free(%p): double free", (mp_pool_free(mine, p), mp_pool_free(mine, p)))
POOL(fallback_twice_remote, 4, fallback(fallbackPool = mine), "mp_pool_free(%p): double free",
     (mp_pool_free(mine, p), runInThread(freeFallback, p)))
POOL(fallback_realloc_after_free, 4, fallback(mine), "mp_pool_realloc(%p): double free",
     (mp_pool_free(mine, p), hide(mp_pool_realloc(mine, p, 10))))
POOL(fallback_size_after_realloc, 4, fallback(mine), "mp_pool_get_size(%p): double free",
     (hide(mp_pool_realloc(mine, p, 100000)), mp_pool_get_size(mine, p)))
POOL(fallback_interior, 4, fallback(mine) + 16, "mp_pool_free(%p): not the start of an object", mp_pool_free(mine, p))
POOL(fallback_odd, 4, fallback(mine) + 1, "mp_pool_free(%p): not the start of an object", mp_pool_free(mine, p))
POOL(fallback_foreign, 4, (fallback(mine), hide(malloc(5000))), "mp_pool_free(%p): not memory of this allocator",
     mp_pool_free(mine, p))
POOL(fallback_stack, 4, (fallback(mine), onStack()), "mp_pool_free(%p): not memory of this allocator", mp_pool_free(mine, p))
POOL(fallback_to_other, 4, fallback(mine), "mp_pool_free(%p): not memory of this allocator", mp_pool_free(theirs, p))
POOL(fallback_to_shared, 4, fallback(mine), "mp_free(%p): not memory of this allocator", mp_free(p))

static void pool_exhausted(void) {
  mp_pool_t *mine = pool(2);
  EXPECT("mp_pool_malloc(5000): out of memory");
  for (;;) hide(mp_pool_malloc(mine, 5000));
}

// --- Bitmaps

static void bitmap_twice(void) {
  static atomic_t cells[2];
  int index = mp_bitmap_alloc(cells, 128, 5);
  mp_bitmap_free(cells, 5, index);
  EXPECT("mp_bitmap_free(%p): double free of item %d", (void *)cells, index);
  mp_bitmap_free(cells, 5, index);
}

static void bitmap_cells_twice(void) {
  static atomic_t cells[2];
  mp_bitmap_alloc_cells(cells, 128, 2);
  mp_bitmap_free_cells(cells, 128, 0);
  EXPECT("mp_bitmap_free_cells(%p): double free of item 0", (void *)cells);
  mp_bitmap_free_cells(cells, 128, 0);
}

#define BITMAP(name, report, what, call)          \
  static void name(void) {                        \
    static atomic_t cells[2] = {~0ul, ~0ul};      \
    EXPECT(report "(%p): " what, (void *)cells);  \
    call;                                         \
  }
BITMAP(bitmap_count, "mp_bitmap_free", "no such items", mp_bitmap_free(cells, -5, 0))
BITMAP(bitmap_index, "mp_bitmap_free", "no such items", mp_bitmap_free(cells, 5, -1))
BITMAP(bitmap_cells_count, "mp_bitmap_free_cells", "no such items", mp_bitmap_free_cells(cells, -5, 0))
BITMAP(bitmap_cells_negative, "mp_bitmap_free_cells", "no such items", mp_bitmap_free_cells(cells, 5, -64))
BITMAP(bitmap_cells_index, "mp_bitmap_free_cells", "not the first item of a cell", mp_bitmap_free_cells(cells, 5, 3))

// --- The end

#define FINI(name, pointer)                                    \
  static void name(void) {                                     \
    mempool_init();                                            \
    void *p = pointer;                                         \
    EXPECT("mempool_fini(%p): still live", p);                 \
    mempool_fini();                                            \
  }
FINI(fini_small, small())
FINI(fini_run, run())
FINI(fini_span, span())
FINI(fini_other_thread, runInThread(allocateInThread, NULL))

static void shared_destroyed(void) {
  mp_free(small());
  mp_cache_init(&cache, double);
  void *item = mp_cache_alloc(&cache);
  // A cache that was not destroyed: the page that it holds.
  EXPECT("mempool_fini(%p): still live", (void *)((uintptr_t)item & ~(uintptr_t)16383));
  mempool_fini();
}

#define CASE(name) {#name, name}
static const Case cases[] = {
    FREES_CASES(mp_free), FREES_CASES(mp_realloc), FREES_CASES(mp_get_size), FREES_CASES(mp_frag_free),
    FREES_CASES(mp_heap_free), SEQUENCES_CASES,
    CASE(malloc_overflow), CASE(malloc_half), CASE(calloc_overflow), CASE(calloc_half), CASE(realloc_overflow),
    CASE(memalign_overflow), CASE(memalign_24), CASE(memalign_0), CASE(memalign_absurd),
    CASE(heap_to_frag), CASE(span_to_frag), CASE(frag_to_heap), CASE(item_to_free), CASE(item_to_other),
    CASE(array_to_other), CASE(object_to_cache), CASE(span_to_cache), CASE(stack_to_cache), CASE(item_interior),
    CASE(item_twice), CASE(array_twice), CASE(array_too_long), CASE(item_remote_local), CASE(item_local_remote),
    CASE(item_remote_remote), CASE(cache_with_item), CASE(cache_with_items), CASE(destroyed_alloc),
    CASE(destroyed_array), CASE(destroyed_free), CASE(destroyed_free_array), CASE(destroyed_destroy),
    CASE(cache_of_nothing), CASE(cache_of_giants),
    CASE(pool_twice), CASE(pool_fixed_twice), CASE(pool_to_shared), CASE(shared_to_pool), CASE(pool_to_pool),
    CASE(pool_to_realloc), CASE(pool_span_to_pool), CASE(pool_stack), CASE(pool_size_of_interior), CASE(pool_exhausted), CASE(dense_twice),
    CASE(dense_interior), CASE(dense_overwritten),
    CASE(fallback_twice), CASE(fallback_twice_remote), CASE(fallback_realloc_after_free), CASE(fallback_size_after_realloc),
    CASE(fallback_interior), CASE(fallback_odd), CASE(fallback_foreign), CASE(fallback_stack), CASE(fallback_to_other),
    CASE(fallback_to_shared),
    CASE(bitmap_twice), CASE(bitmap_cells_twice), CASE(bitmap_count), CASE(bitmap_index), CASE(bitmap_cells_count),
    CASE(bitmap_cells_negative), CASE(bitmap_cells_index),
    CASE(fini_small), CASE(fini_run), CASE(fini_span), CASE(fini_other_thread), CASE(shared_destroyed),
};

int main(int count, char **arguments) { return runCases(cases, sizeof cases / sizeof *cases, count, arguments); }
