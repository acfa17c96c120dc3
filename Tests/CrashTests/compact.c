// Misuse of compact pools: handles instead of pointers. What mp_compact_free returns for a wrong one is in Tests/C.
#define _GNU_SOURCE
#include "case.h"

#include <mempool.h>

static const char *const kinds[] = {"", "movable ", "in a file "};
static const unsigned flagsOf[] = {0, MP_COMPACT_MOVABLE, MP_COMPACT_FILE};
enum { plain, movable, file };

static int kind;
static mp_compact_t *pool;

static mp_handle_t allocate(size_t size) {
  mp_handle_t handle;
  if (mp_compact_alloc(pool, size, 0, &handle)) _exit(3);
  return handle;
}
static mp_handle_t at(mp_handle_t handle, int by) {
  handle.offset += (uint32_t)by;
  return handle;
}
static void *inThread(void *free) {
  ((void (*)(void))(uintptr_t)free)();
  return NULL;
}
static void byThread(void (*use)(void)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, inThread, (void *)(uintptr_t)use)) stop("pthread_create");
  pthread_join(thread, NULL);
}

// --- What a call gets

static mp_handle_t wrong;
static void callMap(void) { hide(mp_compact_map(pool, wrong)); }
static void callSize(void) { mp_compact_size(pool, wrong); }
static void callUnmap(void) { mp_compact_unmap(pool, wrong); }
static void callFree(void) { mp_compact_free(pool, wrong); }
typedef struct {
  const char *name;
  void (*call)(void);
} Call;
static const Call calls[] = {{"mp_compact_map", callMap}, {"mp_compact_size", callSize}, {"mp_compact_unmap", callUnmap}};
static const Call *current;
static int isRemote;

static void commitBy(void (*call)(void)) {
  if (isRemote) byThread(call);
  call();
}
static void commit(const char *what) {
  EXPECT("%s(%u, %u): %s", current->name, wrong.page, wrong.offset, what);
  commitBy(current->call);
}

static void setUp(void) {
  if (!(pool = mp_compact_new(flagsOf[kind]))) stop("mp_compact_new");
}

// What lies in the same pages is mapped: that something is there to be unmapped is not what is wrong.
static void mapped(mp_handle_t neighbour) {
  if (current->call == callUnmap) hide(mp_compact_map(pool, neighbour));
}

// The freed one is the middle one of five, joined with none, one or both of its neighbours.
static void freedWith(int before, int behind) {
  setUp();
  mp_handle_t all[5];
  for (int i = 0; i < 5; i++) all[i] = allocate(100);
  mapped(all[0]);
  if (before) mp_compact_free(pool, all[1]);
  mp_compact_free(pool, all[2]);
  if (behind) mp_compact_free(pool, all[3]);
  wrong = all[2];
  if (kind == movable) commit("use after free, or never allocated");
  commit(current->call == callSize || !before ? "use after free" : "not the start of an object");
}
static void freedAlone(void) { freedWith(0, 0); }
static void freedBehindFree(void) { freedWith(1, 0); }
static void freedBeforeFree(void) { freedWith(0, 1); }
static void freedBetweenFree(void) { freedWith(1, 1); }

static void freedLast(void) {
  setUp();
  wrong = allocate(100);
  mp_compact_free(pool, wrong);
  commit("use after free, or never allocated");
}
static void freedRun(void) {
  setUp();
  wrong = allocate(500000);
  mp_compact_free(pool, wrong);
  commit("use after free, or never allocated");
}
static void neverAllocated(void) {
  setUp();
  wrong.page = 12345, wrong.offset = 8;
  commit("use after free, or never allocated");
}
static void noHandle(void) {
  setUp();
  wrong.page = UINT32_MAX, wrong.offset = UINT32_MAX;
  if (kind == movable) commit("use after free, or never allocated");
  commit("no object can have this handle");
}
static void interior(void) {
  setUp();
  mp_handle_t first = allocate(100), object = allocate(100);
  (void)first;
  void *bytes = mp_compact_map(pool, object);
  memset(bytes, 0, 100);
  mp_compact_unmap(pool, object);
  mapped(object);
  wrong = at(object, 8);
  if (kind == movable) commit("use after free, or never allocated");
  commit("not the start of an object");
}
static void odd(void) {
  setUp();
  mp_handle_t object = allocate(100);
  mapped(object);
  wrong = at(object, 1);
  if (kind == movable) commit("use after free, or never allocated");
  commit("not the start of an object");
}
static void overwritten(void) {
  setUp();
  mp_handle_t first = allocate(100), second = allocate(100);
  (void)second;
  char *bytes = mp_compact_map(pool, first);
  memset(bytes, 0xff, 120);
  mp_compact_unmap(pool, first);
  EXPECT("mp_compact_free(%u, %u): block header overwritten", first.page, first.offset);
  wrong = first;
  commitBy(callFree);
}

// --- Others

static void unmapTwice(void) {
  setUp();
  wrong = allocate(100);
  hide(mp_compact_map(pool, wrong));
  mp_compact_unmap(pool, wrong);
  EXPECT("mp_compact_unmap(%u, %u): not mapped", wrong.page, wrong.offset);
  commitBy(callUnmap);
}
static void unmapUnmapped(void) {
  setUp();
  wrong = allocate(100);
  EXPECT("mp_compact_unmap(%u, %u): not mapped", wrong.page, wrong.offset);
  commitBy(callUnmap);
}
// More than the window keeps mapped, and the system maps no more: what has to look at a page that is not cannot go on.
static void refusedMapping(void) {
  pool = mp_compact_new_in(NULL, &(mp_compact_options_t){.flags = MP_COMPACT_FILE, .window = 1, .shards = 1});
  mp_handle_t first = allocate(4000);
  for (int i = 0; i < 1000; i++) allocate(4000);
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_AS, &none)) stop("setrlimit");
  wrong = first;
  EXPECT("compact pool(65536): cannot map its own pages");
  callFree();
}
static void freedWhileMapped(size_t size) {
  setUp();
  wrong = allocate(size);
  hide(mp_compact_map(pool, wrong));
  EXPECT("mp_compact_free(%u, %u): object freed while it is mapped", wrong.page, wrong.offset);
  commitBy(callFree);
}
static void freedWhileMappedRun(void) { freedWhileMapped(500000); }
static void freedWhileMappedAlone(void) { freedWhileMapped(100); }
static void freeBlockOverwritten(void) {
  setUp();
  mp_handle_t all[4];
  for (int i = 0; i < 4; i++) all[i] = allocate(100);
  char *bytes = mp_compact_map(pool, all[1]);
  mp_compact_unmap(pool, all[1]);
  mp_compact_free(pool, all[1]);
  memset(bytes, 0x11, 8);
  // Its links lead nowhere when it is taken out to be joined.
  EXPECT("compact pool(%u, %u): free block overwritten", all[1].page, all[1].offset);
  wrong = all[2];
  commitBy(callFree);
}
static void destroyLive(void) {
  mp_compact_t *strict = mp_compact_new(MP_COMPACT_REFUSE_LIVE);
  mp_handle_t handle;
  for (int i = 0; i < 3; i++)
    if (mp_compact_alloc(strict, 100, 0, &handle)) _exit(3);
  EXPECT("mp_compact_destroy(%p): 3 objects are still live", (void *)strict);
  mp_compact_destroy(strict);
}
static void destroyTwice(void) {
  mp_compact_t *gone = mp_compact_new(0);
  mp_compact_destroy(gone);
  EXPECT("mp_compact_destroy(%p): no compact pool: destroyed, or never made", (void *)gone);
  mp_compact_destroy(gone);
}
// An object's bytes run over into the header behind it, of which those that are to be moved are found by.
static void packOverwritten(void) {
  pool = mp_compact_new(MP_COMPACT_MOVABLE);
  mp_handle_t all[20];
  for (int i = 0; i < 20; i++) all[i] = allocate(4000);
  char *bytes = mp_compact_map(pool, all[10]);
  memset(bytes, 0xff, 4020);
  mp_compact_unmap(pool, all[10]);
  for (int i = 0; i < 10; i++) mp_compact_free(pool, all[i]);
  EXPECT("compact pool(16, 0): block header overwritten");
  mp_compact_pack(pool);
}
// Of another's pool, by its file: it neither frees nor allocates.
static void attached(void) {
  setUp();
  mp_handle_t object = allocate(100);
  wrong = at(object, 8);
  pool = mp_compact_attach(mp_compact_descriptor(pool));
  if (!pool) stop("mp_compact_attach");
  commit("not the start of an object");
}
static void attachedFreed(void) {
  setUp();
  mp_handle_t all[3];
  for (int i = 0; i < 3; i++) all[i] = allocate(100);
  mp_compact_free(pool, all[1]);
  pool = mp_compact_attach(mp_compact_descriptor(pool));
  if (!pool) stop("mp_compact_attach");
  wrong = all[1];
  commit("use after free");
}

// --- No pool

static mp_compact_stats_t stats;
static void callAlloc(void) { mp_compact_alloc(pool, 8, 0, &wrong); }
static void callTotal(void) { mp_compact_total_bytes(pool); }
static void callTrim(void) { mp_compact_trim(pool); }
static void callPack(void) { mp_compact_pack(pool); }
static void callDescriptor(void) { mp_compact_descriptor(pool); }
static void callStats(void) { mp_compact_stats(pool, &stats); }
static const Call poolCalls[] = {
    {"mp_compact_alloc", callAlloc}, {"mp_compact_free", callFree}, {"mp_compact_size", callSize}, {"mp_compact_map", callMap},
    {"mp_compact_unmap", callUnmap}, {"mp_compact_total_bytes", callTotal}, {"mp_compact_trim", callTrim},
    {"mp_compact_pack", callPack}, {"mp_compact_descriptor", callDescriptor}, {"mp_compact_stats", callStats}};
static void ofNull(void) {
  pool = hide(NULL);
  EXPECT("%s(0x0): no compact pool", current->name);
  current->call();
}

typedef struct {
  const char *name;
  void (*misuse)(void);
} Object;
static const Object objects[] = {
    {"freed", freedAlone},           {"freed behind a free one", freedBehindFree}, {"freed before a free one", freedBeforeFree},
    {"freed between free ones", freedBetweenFree}, {"freed, the last", freedLast}, {"freed, of several pages", freedRun},
    {"never allocated", neverAllocated}, {"no handle", noHandle}, {"in an object", interior}, {"between units", odd},
};

int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  for (kind = plain; kind <= file; kind++) {
    for (isRemote = 0; isRemote < 2; isRemote++)
      for (size_t i = 0; i < COUNT(calls); i++)
        for (size_t j = 0; j < COUNT(objects); j++) {
          current = &calls[i];
          attempt(objects[j].misuse, "%s%s: %s%s", kinds[kind], calls[i].name, objects[j].name, isRemote ? ", by another thread" : "");
        }
    for (isRemote = 0; isRemote < 2; isRemote++) {
      const char *who = isRemote ? ", by another thread" : "";
      attempt(unmapTwice, "%sunmapped twice%s", kinds[kind], who);
      attempt(unmapUnmapped, "%sunmapped, never mapped%s", kinds[kind], who);
      attempt(freedWhileMappedRun, "%sfreed while mapped%s", kinds[kind], who);
      attempt(freedWhileMappedAlone, "%sfreed while mapped, alone in its 64 KiB%s", kinds[kind], who);
      if (kind == movable) continue;
      attempt(overwritten, "%soverwritten%s", kinds[kind], who);
      attempt(freeBlockOverwritten, "%sa free block overwritten%s", kinds[kind], who);
    }
  }
  kind = file, isRemote = 0;
  for (size_t i = 0; i < COUNT(calls); i++) {
    current = &calls[i];
    if (current->call == callUnmap) continue;
    attempt(attached, "attached: %s: in an object", current->name);
    attempt(attachedFreed, "attached: %s: freed", current->name);
  }
  for (size_t i = 0; i < COUNT(poolCalls); i++) {
    current = &poolCalls[i];
    attempt(ofNull, "%s: NULL", current->name);
  }
  ATTEMPT(refusedMapping), ATTEMPT(destroyLive), ATTEMPT(destroyTwice), ATTEMPT(packOverwritten);
  return endAttempts();
}
