// Misuse of pools of one's own, of each kind, and of what is between two of them.
#define _GNU_SOURCE
#include "objects.h"

#include <mempool.h>

// Made before the attempts, each of which has them from here.
static mp_pool_t *mine, *theirs;
static mp_cache_t cache;

static void *allocate(size_t size) { return mp_pool_malloc(mine, size); }
static void release(void *p) { mp_pool_free(mine, p); }
static void *allocateAligned(size_t alignment, size_t size) { return mp_pool_memalign(mine, alignment, size); }
static void *resize(void *p, size_t size) { return mp_pool_realloc(mine, p, size); }

static void realloc300(void *p) { hide(mp_pool_realloc(mine, p, 300)); }
static void getSize(void *p) { mp_pool_get_size(mine, p); }
static void allocatorResize(void *p, size_t size) {
  mp_allocator_t allocator = mp_pool_allocator(mine);
  hide(allocator.resize(allocator.state, p, size));
}
static void allocatorFree(void *p) { allocatorResize(p, 0); }
static void allocatorRealloc(void *p) { allocatorResize(p, 300); }
static const Call calls[] = {
    {"mp_pool_free", release, 0}, {"mp_pool_realloc", realloc300, 1}, {"mp_pool_get_size", getSize, 1},
    {"MemoryPool.allocator", allocatorFree, 0}, {"MemoryPool.allocator", allocatorRealloc, 1}};

// --- What lies elsewhere

#define OTHER_POOL "memory of another pool", NULL
static void *theirSmall(void) { return hide(mp_pool_malloc(theirs, 200)); }
static void *theirMedium(void) { return hide(mp_pool_malloc(theirs, 5000)); }
static void *theirRun(void) { return hide(mp_pool_malloc(theirs, RUN_BYTES)); }
static void *theirSpan(void) { return hide(mp_pool_malloc(theirs, 40 << 20)); }
static void *sharedSmall(void) { return hide(mp_malloc(200)); }
static void *sharedSpan(void) { return hide(mp_malloc(40 << 20)); }
static void releaseShared(void *p) { mp_free(p); }
static void *item(void) { return mp_cache_alloc(&cache); }
static void *ofLibc(void) { return hide(malloc(200)); }
static void *destroyed(size_t size, const mp_pool_options_t *options) {
  mp_pool_t *pool = mp_pool_new(options);
  if (!pool) _exit(3);
  void *p = hide(mp_pool_malloc(pool, size));
  mp_pool_destroy(pool);
  return p;
}
static void *ofDestroyed(void) { return destroyed(200, NULL); }
static void *spanOfDestroyed(void) { return destroyed(40 << 20, NULL); }
static void *ofDestroyedFixed(void) {
  static const mp_pool_options_t fixed = {.backing = MP_BACKING_FIXED, .size = 4 << 20};
  return destroyed(5000, &fixed);
}
static char buffer[4 << 20];
static void *ofDestroyedBuffer(void) {
  static const mp_pool_options_t options = {.backing = MP_BACKING_BUFFER, .start = buffer, .size = sizeof buffer};
  return destroyed(5000, &options);
}
static void *destroyedItself(void) {
  mp_pool_t *pool = mp_pool_new(NULL);
  mp_pool_destroy(pool);
  return pool;
}

static const Object anyObjects[] = {OBJECTS_OF_ANY_POOL};
static const Object slabObjects[] = {OBJECTS_OF_SLABS};
static const Object mediumObjects[] = {OBJECTS_OF_MEDIUM};
static const Object elasticObjects[] = {OBJECTS_OF_ELASTIC};
static const Object otherObjects[] = {
    OBJECTS_OF_OTHERS,
    {"libc's", ofLibc, NULL, FOREIGN},
    {"another pool's small", theirSmall, NULL, OTHER_POOL},
    {"another pool's medium", theirMedium, NULL, OTHER_POOL},
    {"another pool's run", theirRun, NULL, OTHER_POOL},
    {"another pool's span", theirSpan, NULL, OTHER_POOL},
    {"the shared pool's small", sharedSmall, NULL, OTHER_POOL},
    {"the shared pool's small, freed", sharedSmall, releaseShared, OTHER_POOL},
    {"the shared pool's span", sharedSpan, NULL, OTHER_POOL},
    {"an item of a cache of the shared pool", item, NULL, OTHER_POOL},
    {"a destroyed pool's small", ofDestroyed, NULL, FOREIGN},
    {"a destroyed pool's span", spanOfDestroyed, NULL, FOREIGN},
    {"a destroyed fixed pool's run", ofDestroyedFixed, NULL, FOREIGN},
    {"a destroyed pool's run, in a buffer", ofDestroyedBuffer, NULL, FOREIGN},
    {"a destroyed pool", destroyedItself, NULL, FOREIGN},
};

// --- A pool's memory, given to the shared pool

static void shareRealloc(void *p) { hide(mp_realloc(p, 10)); }
static void shareGetSize(void *p) { mp_get_size(p); }
static const Call sharedCalls[] = {
    {"mp_free", releaseShared, 0},       {"mp_realloc", shareRealloc, 1},     {"mp_get_size", shareGetSize, 1},
    {"mp_frag_free", mp_frag_free, 0},   {"mp_heap_free", mp_heap_free, 0},
};
static const Object mineToShared[] = {
    {"small, of a pool", small, NULL, OTHER_POOL},
    {"small, freed, of a pool", small, release, OTHER_POOL},
    {"medium, of a pool", medium, NULL, OTHER_POOL},
    {"run, of a pool", run, NULL, OTHER_POOL},
    {"in a run, of a pool", inRun, NULL, OTHER_POOL},
    {"a destroyed pool's small", ofDestroyed, NULL, FOREIGN},
};

// --- What a full pool took from the system's allocator

static void fill(void) {
  mp_stats_t stats;
  do {
    for (int i = 0; i < 100; i++) hide(mp_pool_malloc(mine, 5000)), hide(mp_pool_malloc(mine, 200));
    mp_pool_stats_read(mine, &stats);
  } while (stats.fallback_live_count < 150);
}
static void *full(void *(*make)(void)) {
  fill();
  return make();
}
static void *systemSmall(void) { return full(small); }
static void *systemRun(void) { return full(run); }
static void *inSystem(void) { return full(inRun); }
static void *inSystemOdd(void) { return full(inRunOdd); }
static void *systemThenLibc(void) { return full(ofLibc); }
static const Object systemObjects[] = {
    {"small, freed", systemSmall, release, "double free", "use after free"},
    {"run, freed", systemRun, release, "double free", "use after free"},
    {"run, outgrown", systemRun, outgrowRuns, "double free", "use after free"},
    {"in a run", inSystem, NULL, INTERIOR},
    {"in a run, odd", inSystemOdd, NULL, INTERIOR},
    {"libc's", systemThenLibc, NULL, FOREIGN},
};
static void theirFree(void *p) { mp_pool_free(theirs, p); }
static void theirGetSize(void *p) { mp_pool_get_size(theirs, p); }
static const Call elsewhere[] = {
    {"mp_pool_free", theirFree, 0}, {"mp_pool_get_size", theirGetSize, 1}, {"mp_free", releaseShared, 0},
    {"mp_realloc", shareRealloc, 1},
};
static const Object systemElsewhere[] = {
    {"run, another's", systemRun, NULL, OTHER_POOL},
    {"in a run, another's", inSystem, NULL, OTHER_POOL},
};

static char place[32 << 20];
enum { hasSlabs = 1, isElastic = 2, isFull = 4 };
static const struct {
  const char *name;
  int traits;
  mp_pool_options_t options;
} kinds[] = {
    {"elastic", hasSlabs | isElastic, {0}},
    {"dense", isElastic, {.small_objects = MP_SMALL_DENSE}},
    {"fixed", hasSlabs, {.backing = MP_BACKING_FIXED, .size = sizeof place}},
    {"buffer", hasSlabs, {.backing = MP_BACKING_BUFFER, .start = place, .size = sizeof place}},
    {"dense and fixed", 0, {.backing = MP_BACKING_FIXED, .size = sizeof place, .small_objects = MP_SMALL_DENSE}},
    {"dense tree", isElastic, {.small_objects = MP_SMALL_DENSE_TREE}},
    {"full", isFull, {.backing = MP_BACKING_FIXED, .size = 4 << 20, .exhaustion = MP_EXHAUSTION_SYSTEM, .max_retries = MP_NONE}},
};

// --- Singles

static void *overwritten(void) {
  char *p = small();
  memset(p - 4, 0xff, 4);
  return p;
}
static const Object denseObjects[] = {{"block header overwritten", overwritten, NULL, "block header overwritten", NULL}};

// The seal in a page's first bytes, which a search for room looks at.
static void dense_page_overwritten(void) {
  char *page = (char *)((uintptr_t)small() & ~(uintptr_t)16383);
  memset(page + 8, 0xff, 8);
  EXPECT("dense heap(%p): page header overwritten", (void *)page);
  for (int i = 0; i < 1000; i++) small();
}

static void destroyed_twice(void) {
  mp_pool_t *pool = mp_pool_new(NULL);
  mp_pool_destroy(pool);
  EXPECT("mp_pool_destroy(%p): no pool: destroyed, or never made", (void *)pool);
  mp_pool_destroy(pool);
}
static void destroyed_garbage(void) {
  void *pool = variable();
  EXPECT("mp_pool_destroy(%p): no pool: destroyed, or never made", pool);
  mp_pool_destroy(pool);
}

static mp_pool_t *strict;
static void makeStrict(void) {
  static const mp_pool_options_t options = {.backing = MP_BACKING_FIXED, .size = 4 << 20, .exhaustion = MP_EXHAUSTION_ABORT};
  strict = mp_pool_new(&options);
}
static void takeMalloc(void) {
  for (;;) hide(mp_pool_malloc(strict, 5000));
}
static void takeCalloc(void) {
  for (;;) hide(mp_pool_calloc(strict, 50, 100));
}
static void takeMemalign(void) {
  for (;;) hide(mp_pool_memalign(strict, 64, 5000));
}
static void takeRealloc(void) {
  for (;;) hide(mp_pool_realloc(strict, mp_pool_malloc(strict, 10), 5000));
}
#define EXHAUSTED(name, take, call) \
  static void name(void) { makeStrict(), EXPECT(call "(5000): out of memory"), take(); }
EXHAUSTED(exhausted_malloc, takeMalloc, "mp_pool_malloc")
EXHAUSTED(exhausted_calloc, takeCalloc, "mp_pool_calloc")
EXHAUSTED(exhausted_memalign, takeMemalign, "mp_pool_memalign")
EXHAUSTED(exhausted_realloc, takeRealloc, "mp_pool_realloc")

#define ATTEMPT_ALL(calls, objects) attemptAll(where, calls, COUNT(calls), objects, COUNT(objects))

int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  mp_cache_init(&cache, double);
  if (!(theirs = mp_pool_new(NULL))) stop("mp_pool_new");
  for (size_t i = 0; i < COUNT(kinds); i++) {
    if (!(mine = mp_pool_new(&kinds[i].options))) stop("mp_pool_new");
    int traits = kinds[i].traits;
    char where[lineBytes];
    snprintf(where, sizeof where, "%s: ", kinds[i].name);
    adoptionShows = !(traits & isFull);
    if (traits & isFull) {
      ATTEMPT_ALL(calls, systemObjects);
      ATTEMPT_ALL(elsewhere, systemElsewhere);
    } else {
      ATTEMPT_ALL(calls, anyObjects);
      if (traits & hasSlabs) ATTEMPT_ALL(calls, slabObjects);
      if ((traits & (hasSlabs | isElastic)) == (hasSlabs | isElastic)) ATTEMPT_ALL(calls, mediumObjects);
      if (traits & isElastic) ATTEMPT_ALL(calls, elasticObjects);
      if (i == 0 || kinds[i].options.backing == MP_BACKING_BUFFER) ATTEMPT_ALL(sharedCalls, mineToShared);
      if (i == 0) ATTEMPT_ALL(calls, otherObjects);
    }
    if (kinds[i].options.small_objects != MP_SMALL_CLASSES) {
      ATTEMPT_ALL(calls, denseObjects);
      ATTEMPT(dense_page_overwritten);
    }
    mp_pool_destroy(mine);
  }
  ATTEMPT(exhausted_malloc), ATTEMPT(exhausted_calloc), ATTEMPT(exhausted_memalign), ATTEMPT(exhausted_realloc);
  ATTEMPT(destroyed_twice), ATTEMPT(destroyed_garbage);
  return endAttempts();
}
