// matrix-pools [PART OF A NAME]: pools of one's own, of each level and on each kind of memory; with MEMPOOL_HARDEN=LEVEL the
// shared pool, by its own names, and nothing else.
#define _GNU_SOURCE
#include "matrix.h"

#include <mempool.h>

// NULL: the shared pool.
static mp_pool_t *pool;

static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void release(void *p) { mp_pool_free(pool, p); }
static void *allocateAligned(size_t alignment, size_t size) { return mp_pool_memalign(pool, alignment, size); }
static void *resize(void *p, size_t size) { return mp_pool_realloc(pool, p, size); }
static void purge(void) { mp_pool_purge(pool); }

static void measured(size_t seen) {
  if (seen != subjectBytes) fprintf(stderr, "%zu bytes, not %zu\n", seen, subjectBytes);
}

static void realloc300(void *p) { hide(mp_pool_realloc(pool, p, 300)); }
static void getSize(void *p) { measured(mp_pool_get_size(pool, p)); }
static const Call calls[] = {
    {"mp_pool_free", release, 0}, {"mp_pool_realloc", realloc300, 1}, {"mp_pool_get_size", getSize, 1, 0, 1}};

static void *takeRealloc(size_t size) { return mp_pool_realloc(pool, NULL, size); }
static void *takeCalloc(size_t size) { return mp_pool_calloc(pool, size, 1); }
static void *takeAligned(size_t size) { return mp_pool_memalign(pool, 16, size); }
static const Source sources[] = {{"mp_pool_malloc", allocate},
                                 {"mp_pool_realloc", takeRealloc},
                                 {"mp_pool_calloc", takeCalloc},
                                 {"mp_pool_memalign", takeAligned}};

static void sharedRealloc(void *p) { hide(mp_realloc(p, 300)); }
static void sharedGetSize(void *p) { measured(mp_get_size(p)); }
static const Call sharedCalls[] = {
    {"mp_free", mp_free, 0}, {"mp_realloc", sharedRealloc, 1}, {"mp_get_size", sharedGetSize, 1, 0, 1}};

// Of their own kind.
static const Call fragFree[] = {{"mp_frag_free", mp_frag_free, 0}}, heapFree[] = {{"mp_heap_free", mp_heap_free, 0}};
static const Object runs[] = {
    {"run, freed", run, release, FREED_RUN},
    {"aligned run, freed", alignedRun, release, FREED_RUN},
    {"in a run", inRun, NULL, INTERIOR},
};
static const Object items[] = {
    {"tiny, freed", tiny, release, FREED_SMALL},
    {"small, freed", small, release, FREED_SMALL},
    {"small, outgrown", small, outgrow, FREED_SMALL},
    {"in a small one", inSmall, NULL, INTERIOR},
};

static void *takeSharedRealloc(size_t size) { return mp_realloc(NULL, size); }
static void *takeSharedCalloc(size_t size) { return mp_calloc(size, 1); }
static void *takeSharedAligned(size_t size) { return mp_memalign(16, size); }
static const Source sharedSources[] = {{"mp_malloc", mp_malloc},
                                       {"mp_try_malloc", mp_try_malloc},
                                       {"mp_realloc", takeSharedRealloc},
                                       {"mp_calloc", takeSharedCalloc},
                                       {"mp_memalign", takeSharedAligned}};

static void observePool(
    const char *where, const Call *with, size_t callCount, const Source *from, size_t sourceCount, int isElastic) {
  observeAll(where, with, callCount, wrongAny, COUNT(wrongAny));
  observeAll(where, with, callCount, wrongSlabs, COUNT(wrongSlabs));
  observeAll(where, with, callCount, damaged, COUNT(damaged));
  observeReuses(where, from, sourceCount);
  observeZeroes(where);
  observeLeaving(where, with, callCount);
  if (!isElastic) return;
  observeAll(where, with, callCount, wrongElastic, COUNT(wrongElastic));
  observeAll(where, with, callCount, damagedElastic, COUNT(damagedElastic));
  observeAccesses(where);
  observeSpans(where, with);
  if (level == 3) observeAll(where, with, callCount, wrongGuards, COUNT(wrongGuards));
}

static char place[32 << 20];
static const struct {
  const char *name;
  int level, isElastic;
  mp_pool_options_t options;
} kinds[] = {
    {"level 1: ", 1, 1, {.flags = MP_POOL_ZEROING}},
    {"level 2: ", 2, 1, {.flags = MP_POOL_CANARIES}},
    {"level 3: ", 3, 1, {.flags = MP_POOL_GUARDS}},
    {"level 2, fixed: ", 2, 0, {.backing = MP_BACKING_FIXED, .size = sizeof place, .flags = MP_POOL_CANARIES}},
    // As far as it goes there.
    {"level 3, in a buffer: ", 2, 0, {.backing = MP_BACKING_BUFFER, .start = place, .size = sizeof place, .flags = MP_POOL_GUARDS}},
};

int main(int count, char **arguments) {
  const char *hardened = getenv("MEMPOOL_HARDEN");
  purgeName = "purge";
  if (mempool_init()) return 2;
  beginAttempts(count, arguments);
  if (hardened) {
    level = atoi(hardened);
    observePool("", sharedCalls, COUNT(sharedCalls), sharedSources, COUNT(sharedSources), 1);
    observeAll("", heapFree, 1, items, COUNT(items));
    observeAll("", heapFree, 1, damaged, damagedSmall);
    observeAll("", fragFree, 1, runs, COUNT(runs));
    observeAll("", fragFree, 1, damaged + damagedSmall, damagedRuns);
    return endAttempts();
  }
  for (size_t i = 0; i < COUNT(kinds); i++) {
    if (!(pool = mp_pool_new(&kinds[i].options))) stop("mp_pool_new");
    level = kinds[i].level;
    observePool(kinds[i].name, calls, COUNT(calls), sources, COUNT(sources), kinds[i].isElastic);
    mp_pool_destroy(pool);
  }
  return endAttempts();
}
