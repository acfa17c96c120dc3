// Misuse of slab caches and of bitmaps.
#define _GNU_SOURCE
#include "ways.h"

#include <mempool.h>

typedef struct {
  char bytes[40];
} Item;
static mp_cache_t cache, other;
static mp_pool_t *pool;

static void *allocate(size_t size) { return mp_cache_alloc(&cache); }
static void release(void *p) { mp_cache_free(&cache, p); }
static void releaseArray(void *p) { mp_cache_free_array(&cache, p, 7); }
static void releaseOneOfArray(void *p) { mp_cache_free(&cache, (Item *)p + 3); }

static void freeArray(void *p) { mp_cache_free_array(&cache, p, 7); }
static void freeArrayOf1(void *p) { mp_cache_free_array(&cache, p, 1); }
static void freeTooMany(void *p) { mp_cache_free_array(&cache, p, 1000000); }
static void freeNone(void *p) { mp_cache_free_array(&cache, p, 0); }

// The first stays, so that their page does.
static void *item(void) {
  hide(mp_cache_alloc(&cache));
  return mp_cache_alloc(&cache);
}
static void *array(void) {
  hide(mp_cache_alloc(&cache));
  return mp_cache_alloc_array(&cache, 7);
}
static void *longArray(void) { return mp_cache_alloc_array(&cache, 200); }
static void releaseLongArray(void *p) { mp_cache_free_array(&cache, p, 200); }
static void *inItem(void) { return (char *)item() + 8; }
static void *inItemOdd(void) { return (char *)item() + 1; }
// 409 items of 40 bytes leave a rest of their page.
static void *behindTheLast(void) { return (void *)(((uintptr_t)item() & ~(uintptr_t)16383) + 409 * 40); }
static void *ofOther(void) {
  mp_cache_init(&other, Item);
  return mp_cache_alloc(&other);
}
static void *ofDestroyed(void) {
  void *p = ofOther();
  mp_cache_free(&other, p);
  mp_cache_destroy(&other);
  return p;
}
static void *small(void) { return hide(mp_malloc(40)); }
static void *medium(void) { return hide(mp_malloc(5000)); }
static void *run(void) { return hide(mp_malloc(36000)); }
static void *span(void) { return hide(mp_malloc(40 << 20)); }
static void *fragment(void) { return mp_frag_alloc(100, FRAG_SLAB); }
static void *ofPool(void) { return mp_pool_malloc(pool, 40); }
static void *freedSmall(void) {
  void *p = small();
  mp_free(p);
  return p;
}
static void *onStack(void) {
  char bytes[64];
  return hide(bytes + 16);
}
static void *constant(void) { return hide("text"); }
static void *ofLibc(void) { return hide(malloc(40)); }
static void *number(void) { return hide((void *)8); }
static void *top(void) { return hide((void *)(UINTPTR_MAX - 7)); }

static const Call calls[] = {
    {"mp_cache_free", release, 0},
    {"mp_cache_free_array", freeArray, 0},
    {"mp_cache_free_array", freeArrayOf1, 0},
};
#define FREED "double free", NULL
#define NO_ITEM "not an item of a slab cache", NULL
#define INTERIOR "not the start of an item", NULL
#define FOREIGN foreign, NULL
static const Object objects[] = {
    {"item, given back", item, release, FREED},
    {"array, given back", array, releaseArray, FREED},
    {"array of many cells, given back", longArray, releaseLongArray, FREED},
    {"in an item", inItem, NULL, INTERIOR},
    {"in an item, odd", inItemOdd, NULL, INTERIOR},
    {"behind the last item", behindTheLast, NULL, INTERIOR},
    {"of another cache", ofOther, NULL, "an item of another cache", NULL},
    {"of a destroyed cache", ofDestroyed, NULL, NO_ITEM},
    {"small", small, NULL, NO_ITEM},
    {"small, freed", freedSmall, NULL, NO_ITEM},
    {"medium", medium, NULL, NO_ITEM},
    {"run", run, NULL, NO_ITEM},
    {"span", span, NULL, NO_ITEM},
    {"fragment", fragment, NULL, NO_ITEM},
    {"of another pool", ofPool, NULL, NO_ITEM},
    {"on the stack", onStack, NULL, FOREIGN},
    {"a constant", constant, NULL, FOREIGN},
    {"libc's", ofLibc, NULL, FOREIGN},
    {"a number", number, NULL, FOREIGN},
    {"the top", top, NULL, FOREIGN},
};

static const Call tooMany[] = {{"mp_cache_free_array", freeTooMany, 0}, {"mp_cache_free_array", freeNone, 0}};
static const Object live[] = {{"array", array, NULL, "not so many items", NULL}};

// Which item of an array is not out is what the report names.
static void partly(int isRemote) {
  char *p = array();
  releaseOneOfArray(p);
  EXPECT("mp_cache_free_array(%p): double free", (void *)(p + 3 * sizeof(Item)));
  if (!isRemote) freeArray(p);
  pthread_t thread;
  if (pthread_create(&thread, NULL, (void *(*)(void *))(uintptr_t)freeArray, p)) stop("pthread_create");
  pthread_join(thread, NULL);
}
static void array_partly(void) { partly(0); }
static void array_partly_remote(void) { partly(1); }

// --- Caches themselves

static void cache_with_item(void) {
  hide(mp_cache_alloc(&cache));
  EXPECT("mp_cache_destroy(%p): 1 item is still out", (void *)&cache);
  mp_cache_destroy(&cache);
}

static void cache_with_items(void) {
  hide(mp_cache_alloc(&cache));
  IN_THREAD(haveHeap);
  IN_THREAD(haveHeap);
  EXPECT("mp_cache_destroy(%p): 3 items are still out", (void *)&cache);
  mp_cache_destroy(&cache);
}

static void useDestroyed(const char *name, void (*use)(void)) {
  mp_cache_destroy(&cache);
  EXPECT("%s(%p): no cache: not made yet, or destroyed", name, (void *)&cache);
  IN_THREAD(use);
}
static void allocArray(void) { hide(mp_cache_alloc_array(&cache, 2)); }
static void freeItself(void) { mp_cache_free(&cache, &cache); }
static void freeArrayItself(void) { mp_cache_free_array(&cache, &cache, 2); }
static void destroyCache(void) { mp_cache_destroy(&cache); }
static void destroyed_alloc(void) { useDestroyed("mp_cache_alloc", haveHeap); }
static void destroyed_array(void) { useDestroyed("mp_cache_alloc_array", allocArray); }
static void destroyed_free(void) { useDestroyed("mp_cache_free", freeItself); }
static void destroyed_free_array(void) { useDestroyed("mp_cache_free_array", freeArrayItself); }
static void destroyed_destroy(void) { useDestroyed("mp_cache_destroy", destroyCache); }

static void cache_of_nothing(void) {
  EXPECT("mp_cache_init_impl(0): no item can have this size");
  mp_cache_init_impl(&other, "none", 0);
}
static void cache_of_giants(void) {
  EXPECT("mp_cache_init_impl(18446744073709551615): no item can have this size");
  mp_cache_init_impl(&other, "giants", huge);
}

// --- Caches when no memory is left

static void exhaust(void) {
  mp_cache_init(&cache, Item);
  for (size_t size = 100000; size > 0; size /= 2)
    while (hide(mp_try_malloc(size))) continue;
}
static void takeArrays(void) {
  for (;;) hide(mp_cache_alloc_array(&cache, 7));
}
static void takeItems(void) {
  for (;;) hide(mp_cache_alloc(&cache));
}
static void makeCaches(void) {
  for (;;) mp_cache_init_impl(&other, "another", 40);
}
#define EXHAUSTED(name, take, line, ...) \
  static void name(void) { exhaust(), EXPECT(line, ##__VA_ARGS__), take(); }
EXHAUSTED(exhausted_alloc, takeItems, "mp_cache_alloc(%p): out of memory", (void *)&cache)
EXHAUSTED(exhausted_array, takeArrays, "mp_cache_alloc_array(%p): out of memory", (void *)&cache)
EXHAUSTED(exhausted_init, makeCaches, "mp_cache_init_impl(40): out of memory")

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


int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  // Each attempt starts a pool of its own, which reads it.
  setenv("MEMPOOL_FIXED", "4M", 1), setenv("MPMAXRETRIES", "0", 1);
  ATTEMPT(exhausted_alloc), ATTEMPT(exhausted_array), ATTEMPT(exhausted_init);
  unsetenv("MEMPOOL_FIXED"), unsetenv("MPMAXRETRIES");
  // The others have them from here, as they are.
  mp_cache_init(&cache, Item);
  if (!(pool = mp_pool_new(NULL))) stop("mp_pool_new");
  attemptAll("", calls, COUNT(calls), objects, COUNT(objects));
  attemptAll("", tooMany, COUNT(tooMany), live, COUNT(live));
  ATTEMPT(array_partly), ATTEMPT(array_partly_remote);
  ATTEMPT(cache_with_item), ATTEMPT(cache_with_items), ATTEMPT(destroyed_alloc), ATTEMPT(destroyed_array);
  ATTEMPT(destroyed_free), ATTEMPT(destroyed_free_array), ATTEMPT(destroyed_destroy), ATTEMPT(cache_of_nothing);
  ATTEMPT(cache_of_giants);
  ATTEMPT(bitmap_twice), ATTEMPT(bitmap_cells_twice), ATTEMPT(bitmap_count), ATTEMPT(bitmap_index);
  ATTEMPT(bitmap_cells_count), ATTEMPT(bitmap_cells_negative), ATTEMPT(bitmap_cells_index);
  return endAttempts();
}
