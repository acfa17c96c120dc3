// Misuse of what mempool.h has for memory of the caller's: where a call takes anything for a pool, a region or a book, and where a pool is
// an allocator for others, which has no errors. That other wrong pointers are errors, and what they leave alone, is in Tests/C.
#define _GNU_SOURCE
#include "case.h"

#include <mempool.h>

static char *memory;
static size_t size = 2000;
static mp_bufpool_t *pool;
static mp_region_t *region;
static mp_book_t book;

static void *noPool(void) { return memset(malloc(4096), 0x33, 4096); }
static void *zeroes(void) { return calloc(1, 4096); }
static void *ofAnother(void) { return memcpy(malloc(4096), memory, 1024); }
static void *copyOfBook(void) { return memcpy(malloc(4096), &book, sizeof book); }
static void *otherKind(void) { return pool; }
static void *nothing(void) { return NULL; }

static void make(void) {
  memory = hide(calloc(1, size));
  pool = mp_bufpool_init(memory, size / 2, 16, 0);
  region = mp_region_init(memory + size / 2, size / 2);
  if (!pool || !region || mp_book_init(&book, 16, 10, NULL)) stop("no pool");
}

// --- Each call with something that is no pool

static mp_bufpool_stats_t stats;
static mp_allocator_t allocator;
typedef struct {
  const char *name;
  void (*call)(void *);
} PoolCall;
#define POOL_CALL(name, call) \
  static void name##_(void *p) { call; }
POOL_CALL(alloc, hide(mp_bufpool_alloc(p, 8)))
POOL_CALL(callocs, hide(mp_bufpool_calloc(p, 8, 8)))
POOL_CALL(memaligns, hide(mp_bufpool_memalign(p, 8, 8)))
POOL_CALL(reallocs, hide(mp_bufpool_realloc(p, NULL, 8)))
POOL_CALL(frees, mp_bufpool_free(p, NULL))
POOL_CALL(drains, mp_bufpool_drain(p))
POOL_CALL(getSize, mp_bufpool_get_size(p, NULL))
POOL_CALL(ownsIt, mp_bufpool_owns(p, NULL))
POOL_CALL(readStats, mp_bufpool_stats(p, &stats))
POOL_CALL(prints, mp_bufpool_print(p, 1))
POOL_CALL(checks, mp_bufpool_check(p))
POOL_CALL(setsLock, mp_bufpool_set_lock(p, NULL, NULL, NULL))
POOL_CALL(setsFallback, mp_bufpool_set_fallback(p, NULL))
POOL_CALL(givesAllocator, allocator = mp_bufpool_allocator(p))
static const PoolCall poolCalls[] = {
    {"mp_bufpool_alloc", alloc_},         {"mp_bufpool_calloc", callocs_},
    {"mp_bufpool_memalign", memaligns_},  {"mp_bufpool_realloc", reallocs_},
    {"mp_bufpool_free", frees_},          {"mp_bufpool_drain", drains_},
    {"mp_bufpool_get_size", getSize_},    {"mp_bufpool_owns", ownsIt_},
    {"mp_bufpool_stats", readStats_},     {"mp_bufpool_print", prints_},
    {"mp_bufpool_check", checks_},        {"mp_bufpool_set_lock", setsLock_},
    {"mp_bufpool_set_fallback", setsFallback_}, {"mp_bufpool_allocator", givesAllocator_},
};
POOL_CALL(regionAlloc, hide(mp_region_alloc(p, 8)))
POOL_CALL(regionCalloc, hide(mp_region_calloc(p, 8, 8)))
POOL_CALL(regionMemalign, hide(mp_region_memalign(p, 8, 8)))
POOL_CALL(regionMark, mp_region_mark(p))
POOL_CALL(regionReset, mp_region_reset(p, 0))
POOL_CALL(regionPeak, mp_region_peak(p))
POOL_CALL(regionCapacity, mp_region_capacity(p))
POOL_CALL(regionOwns, mp_region_owns(p, NULL))
POOL_CALL(regionAllocator, allocator = mp_region_allocator(p))
static const PoolCall regionCalls[] = {
    {"mp_region_alloc", regionAlloc_},       {"mp_region_calloc", regionCalloc_},
    {"mp_region_memalign", regionMemalign_}, {"mp_region_mark", regionMark_},
    {"mp_region_reset", regionReset_},       {"mp_region_peak", regionPeak_},
    {"mp_region_capacity", regionCapacity_}, {"mp_region_owns", regionOwns_},
    {"mp_region_allocator", regionAllocator_},
};

POOL_CALL(bookAlloc, hide(mp_book_alloc(p)))
POOL_CALL(bookFree, mp_book_free(p, NULL))
POOL_CALL(bookAddPage, mp_book_add_page(p))
POOL_CALL(bookVacuum, mp_book_vacuum(p))
POOL_CALL(bookVacuumAuto, mp_book_vacuum_auto(p, 1))
POOL_CALL(bookPieces, mp_book_pieces(p))
POOL_CALL(bookPages, mp_book_pages(p))
POOL_CALL(bookOwns, mp_book_owns(p, NULL))
POOL_CALL(bookClose, mp_book_close(p))
static const PoolCall bookCalls[] = {
    {"mp_book_alloc", bookAlloc_},   {"mp_book_free", bookFree_},     {"mp_book_add_page", bookAddPage_},
    {"mp_book_vacuum", bookVacuum_}, {"mp_book_pieces", bookPieces_}, {"mp_book_vacuum_auto", bookVacuumAuto_},
    {"mp_book_pages", bookPages_},   {"mp_book_owns", bookOwns_},     {"mp_book_close", bookClose_},
};

static const struct {
  const char *name;
  void *(*make)(void);
} wrongs[] = {
    {"garbage", noPool}, {"zeroes", zeroes}, {"a copy of one", ofAnother}, {"a copy of a book", copyOfBook}, {"NULL", nothing},
};

static const PoolCall *call;
static void *(*makeWrong)(void);
static const char *what;
static void commit(void) {
  make();
  void *p = hide(makeWrong());
  // printf has a word of its own for NULL.
  EXPECT("%s(0x%lx): %s", call->name, (unsigned long)p, what);
  call->call(p);
}
static void attemptBoth(const char *with) {
  attempt(commit, "%s: %s", call->name, with);
  body = commit;
  attempt(bodyInThread, "%s: %s, by another thread", call->name, with);
}

// --- A pool as an allocator for others

#define AS_ALLOCATOR(name, pointer, size, why)                  \
  static void name(void) {                                      \
    make();                                                     \
    allocator = mp_bufpool_allocator(pool);                     \
    char *object = allocator.resize(allocator.state, NULL, 50); \
    void *p = hide(pointer);                                    \
    EXPECT("BufferPool.allocator(%p): %s", p, why);             \
    allocator.resize(allocator.state, p, size);                 \
  }
static char *freed(char *object) {
  allocator.resize(allocator.state, object, 0);
  return object;
}
AS_ALLOCATOR(freeTwice, freed(object), 0, "double free, or never allocated")
AS_ALLOCATOR(resizeFreed, freed(object), 10, "use after free, or never allocated")
AS_ALLOCATOR(freeMiddle, object + 16, 0, "not the start of an object")
AS_ALLOCATOR(resizeMiddle, object + 1, 100, "not the start of an object")
AS_ALLOCATOR(freeForeign, &stats, 0, "not memory of this pool")
AS_ALLOCATOR(resizeForeign, malloc(10), 100, "not memory of this pool")

static void resizeForeignInRegion(void) {
  make();
  allocator = mp_region_allocator(region);
  void *p = hide(malloc(10));
  EXPECT("Region.allocator(%p): not memory of this region", p);
  allocator.resize(allocator.state, p, 100);
}

// --- The header of an object from the fallback, overwritten

static void overwrittenHeader(void) {
  make();
  pool = mp_bufpool_init(memory, size / 2, 16, MP_BUFPOOL_FALLBACK);
  char *p = mp_bufpool_alloc(pool, 5000);
  // Both links lead back to itself.
  uintptr_t links[2] = {(uintptr_t)p, (uintptr_t)p};
  memcpy(p - 32, links, sizeof links);
  EXPECT("buffer pool(%p): header of an object of the fallback overwritten", (void *)p);
  mp_bufpool_free(pool, p);
}


static void attemptAll(const PoolCall *calls, size_t count, const char *text) {
  what = text;
  for (size_t c = 0; c < count; c++)
    for (size_t w = 0; w < COUNT(wrongs); w++) {
      call = &calls[c];
      makeWrong = wrongs[w].make;
      attemptBoth(wrongs[w].name);
    }
}

int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  attemptAll(poolCalls, COUNT(poolCalls), "not a buffer pool");
  attemptAll(regionCalls, COUNT(regionCalls), "not a region");
  attemptAll(bookCalls, COUNT(bookCalls), "not a book");
  makeWrong = otherKind;
  what = "not a region";
  for (size_t c = 0; c < COUNT(regionCalls); c++) {
    call = &regionCalls[c];
    attemptBoth("a pool");
  }
  ATTEMPT(freeTwice), ATTEMPT(resizeFreed), ATTEMPT(freeMiddle), ATTEMPT(resizeMiddle), ATTEMPT(freeForeign);
  ATTEMPT(resizeForeign), ATTEMPT(resizeForeignInRegion), ATTEMPT(overwrittenHeader);
  return endAttempts();
}
