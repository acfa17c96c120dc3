// Misuse of what mempool.h has for the shared pool.
#define _GNU_SOURCE
#include "objects.h"

#include <mempool.h>

static void *allocate(size_t size) { return mp_malloc(size); }
static void release(void *p) { mp_free(p); }
static void *allocateAligned(size_t alignment, size_t size) { return mp_memalign(alignment, size); }
static void *resize(void *p, size_t size) { return mp_realloc(p, size); }

static void realloc300(void *p) { hide(mp_realloc(p, 300)); }
static void realloc0(void *p) { hide(mp_realloc(p, 0)); }
static void getSize(void *p) { mp_get_size(p); }
static void poolFree(void *p) { mp_pool_free(NULL, p); }

static const Call calls[] = {
    {"mp_free", mp_free, 0},
    {"mp_realloc", realloc300, 1},
    {"mp_realloc", realloc0, 1, 1},
    {"mp_get_size", getSize, 1},
    {"mp_frag_free", mp_frag_free, 0},
    {"mp_heap_free", mp_heap_free, 0},
    {"mp_pool_free", poolFree, 0, 1},
};

static void *fragment(void) {
  hide(mp_frag_alloc(1000, FRAG_COMMON));
  return hide(mp_frag_alloc(1000, FRAG_COMMON));
}
static void *ofHeap(void) {
  hide(mp_heap_alloc(1000));
  return hide(mp_heap_alloc(1000));
}
static void *ofLibc(void) { return hide(malloc(200)); }
static mp_cache_t cache;
static void *item(void) {
  mp_cache_init(&cache, double);
  return mp_cache_alloc(&cache);
}

static const Object objectsOfAll[] = {
    OBJECTS_OF_ANY_POOL,
    OBJECTS_OF_SLABS,
    OBJECTS_OF_MEDIUM,
    OBJECTS_OF_ELASTIC,
    OBJECTS_OF_OTHERS,
    {"libc's", ofLibc, NULL, FOREIGN},
    {"fragment, freed", fragment, mp_frag_free, FREED_RUN},
    {"small of the heap, freed", ofHeap, mp_heap_free, FREED_SMALL},
    {"an item of a cache", item, NULL, "an item of a slab cache: only the cache takes it back", NULL},
};

// --- Objects that are live, and not what the call takes back

#define NO_RUN "not a run of fragments", NULL
#define NOT_OF_HEAP "not an object of the heap", NULL
static const Call fragFree[] = {{"mp_frag_free", mp_frag_free, 0}}, heapFree[] = {{"mp_heap_free", mp_heap_free, 0}};
static const Object noRuns[] = {
    {"small, live", small, NULL, NO_RUN},
    {"small of the heap, live", ofHeap, NULL, NO_RUN},
    {"medium, live", medium, NULL, NO_RUN},
    {"span, live", span, NULL, NO_RUN},
};
static const Object notOfHeap[] = {
    {"fragment, live", fragment, NULL, NOT_OF_HEAP},
    {"medium, live", medium, NULL, NOT_OF_HEAP},
    {"run, live", run, NULL, NOT_OF_HEAP},
    {"span, live", span, NULL, NOT_OF_HEAP},
};

// The same of what a full pool took from the system's allocator.
static void fill(void) {
  mp_stats_t stats;
  do {
    for (int i = 0; i < 100; i++) hide(mp_malloc(3800));
    mp_stats_read(&stats);
  } while (!stats.fallback_live_count);
  do {
    for (int i = 0; i < 100; i++) hide(mp_frag_alloc(256, FRAG_COMMON));
    mp_stats_read(&stats);
  } while (stats.fallback_live_count < 1000);
}
static void *fromSystem(void *(*make)(void)) {
  mp_stats_t before, after;
  fill();
  mp_stats_read(&before);
  void *p = make();
  mp_stats_read(&after);
  if (after.fallback_live_count == before.fallback_live_count) _exit(3);
  return p;
}
static void *systemFragment(void) { return fromSystem(fragment); }
static void *systemSmall(void) { return fromSystem(largestSmall); }
static void *systemRun(void) { return fromSystem(run); }
static const Object systemNoRuns[] = {
    {"small, live, from the system", systemSmall, NULL, NO_RUN},
    {"fragment, freed, from the system", systemFragment, mp_frag_free, "double free", NULL},
};
static const Object systemNotOfHeap[] = {
    {"fragment, live, from the system", systemFragment, NULL, NOT_OF_HEAP},
    {"run, live, from the system", systemRun, NULL, NOT_OF_HEAP},
    {"small, freed, from the system", systemSmall, mp_heap_free, "double free", NULL},
};

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

static void takeFragments(void) {
  for (;;) hide(mp_frag_alloc(5000, FRAG_COMMON));
}
static void takeSmall(void) {
  for (;;) hide(mp_heap_alloc(1000));
}
static void takeAny(void) {
  for (;;) hide(mp_malloc(1000));
}
FATAL(exhausted_frag, "mp_frag_alloc(5000): out of memory", takeFragments())
FATAL(exhausted_heap, "mp_heap_alloc(1000): out of memory", takeSmall())
FATAL(exhausted_malloc, "mp_malloc(1000): out of memory", takeAny())

// --- The end

static void *makesSmall(void *unused) {
  (void)unused;
  return small();
}
static void *smallOfAnother(void) {
  pthread_t thread;
  void *p;
  if (pthread_create(&thread, NULL, makesSmall, NULL)) stop("pthread_create");
  pthread_join(thread, &p);
  return p;
}

static void *one(size_t size) { return hide(mp_malloc(size)); }
#define FINI(name, pointer)                      \
  static void name(void) {                       \
    mempool_init();                              \
    void *p = pointer;                           \
    EXPECT("mempool_fini(%p): still live", p);   \
    mempool_fini();                              \
  }
FINI(fini_small, one(200))
FINI(fini_medium, one(5000))
FINI(fini_run, one(RUN_BYTES))
FINI(fini_span, one(40 << 20))
FINI(fini_fragment, mp_frag_alloc(100, FRAG_COMMON))

static void fini_other_thread(void) {
  mempool_init();
  uintptr_t p = (uintptr_t)smallOfAnother();
  mp_free((void *)p);
  // The one before it in its slab.
  EXPECT("mempool_fini(%p): still live", (void *)(p & ~(uintptr_t)16383));
  mempool_fini();
}

static void fini_cache(void) {
  mp_free(one(200));
  // A cache that was not destroyed: the page that it holds.
  mempool_init();
  uintptr_t p = (uintptr_t)item();
  EXPECT("mempool_fini(%p): still live", (void *)(p & ~(uintptr_t)16383));
  mempool_fini();
}

#define ATTEMPT_ALL(calls, objects) attemptAll("", calls, COUNT(calls), objects, COUNT(objects))

int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  ATTEMPT_ALL(calls, objectsOfAll);
  ATTEMPT_ALL(fragFree, noRuns);
  ATTEMPT_ALL(heapFree, notOfHeap);
  // Each attempt starts a pool of its own, which reads them.
  setenv("MEMPOOL_FIXED", "4M", 1), setenv("MEMPOOL_EXHAUSTION", "system", 1), setenv("MPMAXRETRIES", "0", 1);
  adoptionShows = 0;
  ATTEMPT_ALL(fragFree, systemNoRuns);
  ATTEMPT_ALL(heapFree, systemNotOfHeap);
  setenv("MEMPOOL_EXHAUSTION", "abort", 1);
  ATTEMPT(exhausted_frag), ATTEMPT(exhausted_heap), ATTEMPT(exhausted_malloc);
  unsetenv("MEMPOOL_FIXED"), unsetenv("MEMPOOL_EXHAUSTION"), unsetenv("MPMAXRETRIES");
  ATTEMPT(malloc_overflow), ATTEMPT(malloc_half), ATTEMPT(calloc_overflow), ATTEMPT(calloc_half);
  ATTEMPT(realloc_overflow), ATTEMPT(memalign_overflow), ATTEMPT(memalign_24), ATTEMPT(memalign_0), ATTEMPT(memalign_absurd);
  ATTEMPT(fini_small), ATTEMPT(fini_medium), ATTEMPT(fini_run), ATTEMPT(fini_span), ATTEMPT(fini_fragment), ATTEMPT(fini_other_thread);
  ATTEMPT(fini_cache);
  return endAttempts();
}
