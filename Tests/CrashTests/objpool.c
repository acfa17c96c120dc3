// Misuse of object pools: of prepared objects, and of those that came from elsewhere.
#define _GNU_SOURCE
#include "ways.h"

#include <mempool.h>

static mp_objpool_t *pool, *small_pool, *system_pool, *other;
static mp_cache_t cache;
static mp_pool_t *memory;

static void *allocate(size_t size) { return mp_objpool_get(pool); }
static void release(void *p) { mp_objpool_put(p); }
static void releaseToPool(void *p) { mp_objpool_put(p); }
static void freeIt(void *p) { mp_free(p); }
static void resize(void *p) { hide(mp_realloc(p, 100)); }
static void measure(void *p) { hide((void *)mp_get_size(p)); }
static void cacheFree(void *p) { mp_cache_free(&cache, p); }
static void poolFree(void *p) { mp_pool_free(memory, p); }

// The first stays, so that what it lies in does.
static void *prepared(void) {
  hide(mp_objpool_get(pool));
  return mp_objpool_get(pool);
}
// The only one that is prepared is out.
static void *fromSegment(void) {
  hide(mp_objpool_get(small_pool));
  return mp_objpool_get(small_pool);
}
static void *fromSystem(void) {
  hide(mp_objpool_get(system_pool));
  return mp_objpool_get(system_pool);
}
static void *inPrepared(void) { return (char *)prepared() + 16; }
static void *inPreparedOdd(void) { return (char *)prepared() + 1; }
static void *beforeFromSegment(void) { return (char *)fromSegment() - 16; }
static void *inFromSegment(void) { return (char *)fromSegment() + 16; }
static void *inFromSegmentOdd(void) { return (char *)fromSegment() + 3; }
static void *inFromSystem(void) { return (char *)fromSystem() + 16; }
// 341 objects of 48 bytes leave a rest of their page; of the 400 that are prepared the last page has 59.
static void *behindTheLast(void) { return (void *)(((uintptr_t)prepared() & ~(uintptr_t)16383) + 341 * 48); }
static void *ofDestroyed(void) {
  other = mp_objpool_new(48, 10, "other");
  void *p = mp_objpool_get(other);
  mp_objpool_put(p);
  if (mp_objpool_destroy(other)) stop("mp_objpool_destroy");
  return p;
}
static void *small(void) { return hide(mp_malloc(40)); }
static void *run(void) { return hide(mp_malloc(5000)); }
static void *span(void) { return hide(mp_malloc(40 << 20)); }
static void *item(void) {
  hide(mp_cache_alloc(&cache));
  return mp_cache_alloc(&cache);
}
static void *ofPool(void) { return mp_pool_malloc(memory, 40); }
static void *onStack(void) {
  char bytes[64];
  return hide(bytes + 16);
}
static void *constant(void) { return hide("text"); }
static void *ofLibc(void) { return hide(malloc(40)); }
static void *number(void) { return hide((void *)8); }
static void *top(void) { return hide((void *)(UINTPTR_MAX - 7)); }

#define FREED "double free", NULL
#define INTERIOR "not the start of an object", NULL
#define NONE "not an object of a pool", NULL
#define FOREIGN foreign, NULL
static const Call puts_[] = {{"mp_objpool_put", releaseToPool, 0, 0}};
static const Object objects_[] = {
    {"prepared, given back", prepared, release, FREED},
    {"in a prepared one", inPrepared, NULL, INTERIOR},
    {"in a prepared one, odd", inPreparedOdd, NULL, INTERIOR},
    {"behind the last prepared one", behindTheLast, NULL, INTERIOR},
    {"from the segment, given back", fromSegment, release, FREED},
    {"in one from the segment", inFromSegment, NULL, NONE},
    {"in one from the segment, odd", inFromSegmentOdd, NULL, NONE},
    {"before one from the segment", beforeFromSegment, NULL, NONE},
    {"from the system, given back", fromSystem, release, FREED},
    {"in one from the system", inFromSystem, NULL, FOREIGN},
    {"of a destroyed pool", ofDestroyed, NULL, NONE},
    {"small", small, NULL, NONE},
    {"run", run, NULL, NONE},
    {"span", span, NULL, NONE},
    {"item of a cache", item, NULL, NONE},
    {"of another pool", ofPool, NULL, NONE},
    {"on the stack", onStack, NULL, FOREIGN},
    {"a constant", constant, NULL, FOREIGN},
    {"libc's", ofLibc, NULL, FOREIGN},
    {"a number", number, NULL, FOREIGN},
    {"the top", top, NULL, FOREIGN},
};

// What is an object of a pool, given to others.
static const Call shared[] = {{"mp_free", freeIt, 0, 0}, {"mp_realloc", resize, 1, 0}, {"mp_get_size", measure, 1, 0}};
static const Call caches[] = {{"mp_cache_free", cacheFree, 0, 0}};
static const Call pools[] = {{"mp_pool_free", poolFree, 0, 0}};
static const Object toShared[] = {
    {"prepared", prepared, NULL, "an object of an object pool: only the pool takes it back", NULL},
    {"from the segment", fromSegment, NULL, INTERIOR},
    {"from the system", fromSystem, NULL, FOREIGN},
};
static const Object toCaches[] = {
    {"prepared", prepared, NULL, "not an item of a slab cache", NULL},
    {"from the segment", fromSegment, NULL, "not an item of a slab cache", NULL},
    {"from the system", fromSystem, NULL, FOREIGN},
};
static const Object toPools[] = {
    {"prepared", prepared, NULL, "memory of another pool", NULL},
    {"from the segment", fromSegment, NULL, "memory of another pool", NULL},
    {"from the system", fromSystem, NULL, FOREIGN},
};

// --- Handles that are none

typedef struct {
  const char *name;
  void (*call)(mp_objpool_t *);
} HandleCall;
static mp_objpool_stats_t stats;
static void destroys(mp_objpool_t *p) { mp_objpool_destroy(p); }
static void readsStats(mp_objpool_t *p) { mp_objpool_stats(p, &stats); }
static const HandleCall handleCalls[] = {
    {"mp_objpool_destroy", destroys}, {"mp_objpool_abandon", mp_objpool_abandon},
    {"mp_objpool_stats", readsStats}, {"mp_objpool_sweep", mp_objpool_sweep},
};
static mp_objpool_t *destroyedPool(void) {
  other = mp_objpool_new(48, 10, "other");
  mp_objpool_put(mp_objpool_get(other));
  if (mp_objpool_destroy(other)) stop("mp_objpool_destroy");
  return other;
}
static mp_objpool_t *abandonedPool(void) {
  other = mp_objpool_new(48, 10, "other");
  hide(mp_objpool_get(other));
  mp_objpool_abandon(other);
  return other;
}
static mp_objpool_t *garbage(void) { return memset(malloc(4096), 0x33, 4096); }
static mp_objpool_t *aNumber(void) { return hide((void *)8); }
static const struct {
  const char *name;
  mp_objpool_t *(*make)(void);
} handles[] = {{"destroyed", destroyedPool}, {"abandoned", abandonedPool}, {"garbage", garbage}, {"a number", aNumber}};
static const HandleCall *handleCall;
static mp_objpool_t *(*makeHandle)(void);
static void useHandle(void) {
  mp_objpool_t *p = makeHandle();
  EXPECT("%s(0x%lx): no object pool: destroyed or abandoned, or never made", handleCall->name, (unsigned long)p);
  handleCall->call(p);
}
static void fini_with_pool(void) {
  if (mp_objpool_destroy(pool) || mp_objpool_destroy(small_pool) || mp_objpool_destroy(system_pool)) stop("destroy");
  mp_cache_destroy(&cache);
  other = mp_objpool_new(48, 10, "other");
  void *p = mp_objpool_get(other);
  mp_objpool_put(p);
  EXPECT("mempool_fini(%p): still live", (void *)((uintptr_t)p & ~(uintptr_t)16383));
  mempool_fini();
}

int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  // Each attempt has them from here, as they are.
  pool = mp_objpool_new(48, 400, "pool");
  small_pool = mp_objpool_new(48, 1, "small");
  system_pool = mp_objpool_new_with(48, 1, "system", MP_OBJPOOL_SYSTEM);
  mp_cache_init_impl(&cache, "cache", 48);
  if (!pool || !small_pool || !system_pool || !(memory = mp_pool_new(NULL))) stop("a pool");
  // Objects are no heap's: a thread that exits leaves none to adopt.
  adoptionShows = 0;
  attemptAll("", puts_, COUNT(puts_), objects_, COUNT(objects_));
  attemptAll("", shared, COUNT(shared), toShared, COUNT(toShared));
  attemptAll("", caches, COUNT(caches), toCaches, COUNT(toCaches));
  attemptAll("", pools, COUNT(pools), toPools, COUNT(toPools));
  for (size_t c = 0; c < COUNT(handleCalls); c++)
    for (size_t h = 0; h < COUNT(handles); h++) {
      handleCall = &handleCalls[c];
      makeHandle = handles[h].make;
      attempt(useHandle, "%s: %s", handleCall->name, handles[h].name);
      body = useHandle;
      attempt(bodyInThread, "%s: %s, by another thread", handleCall->name, handles[h].name);
    }
  ATTEMPT(fini_with_pool);
  return endAttempts();
}
