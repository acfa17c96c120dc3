// What calls that give back, resize or measure an object can be given instead of one. The includer also has allocateAligned()
// and resize(). Of two objects that are made the first stays live, so that what they lie in stays what it is.
#ifndef OBJECTS_H
#define OBJECTS_H

#include "ways.h"

static void *allocateAligned(size_t alignment, size_t size);
static void *resize(void *p, size_t size);

static void *second(size_t size) {
  hide(allocate(size));
  return hide(allocate(size));
}
static void *secondAligned(size_t alignment, size_t size) {
  hide(allocateAligned(alignment, size));
  return hide(allocateAligned(alignment, size));
}
static void *offset(void *p, size_t bytes) { return (char *)p + bytes; }

static void *tiny(void) { return second(5); }
static void *small(void) { return second(200); }
static void *largestSmall(void) { return second(3840); }
static void *alignedSmall(void) { return secondAligned(64, 100); }
static void *alignedRun(void) { return secondAligned(4096, 100); }
// In slabs where the pool is plain and can grow, a run elsewhere.
static void *medium(void) { return second(5000); }
// The includer may name a smaller one, where no run that small is in slabs.
#ifndef RUN_BYTES
#define RUN_BYTES 36000
#endif
static void *run(void) { return second(RUN_BYTES); }
static void *pages(void) { return second(100000); }
static void *span(void) { return second(40 << 20); }

// It moves: the old place is no object any more.
static void outgrow(void *p) { hide(resize(p, 100000)); }
static void outgrowRuns(void *p) { hide(resize(p, 40 << 20)); }
static void shrink(void *p) { hide(resize(p, 100)); }

// Given back by another thread, and collected by its owner when that needed room: it lies in a free set. Every other one stays.
enum { batch = 300 };
static void *objects[batch];
static void *releaseBatch(void *unused) {
  for (int i = 0; i < batch; i += 2) release(objects[i]);
  return unused;
}
static void *collected(void) {
  pthread_t thread;
  for (int i = 0; i < batch; i++) objects[i] = hide(allocate(200));
  if (pthread_create(&thread, NULL, releaseBatch, NULL)) stop("pthread_create");
  pthread_join(thread, NULL);
  // Until one of them is handed out again; its neighbours have been collected with it.
  for (int i = 0; i < 10 * batch; i++) {
    void *again = hide(allocate(200));
    for (int j = 0; j < batch; j += 2) {
      if (objects[j] != again) continue;
      j = j + 2 < batch ? j + 2 : j - 2;
      if (((uintptr_t)objects[j] ^ (uintptr_t)again) >> 14 == 0) return objects[j];
    }
  }
  fputs("nothing was collected\n", stderr);
  _exit(3);
}

static void *inTiny(void) { return offset(tiny(), 1); }
static void *inSmall(void) { return offset(small(), 16); }
static void *inSmallMisaligned(void) { return offset(small(), 8); }
static void *inSmallOdd(void) { return offset(small(), 1); }
static void *inMedium(void) { return offset(medium(), 512); }
static void *inMediumMisaligned(void) { return offset(medium(), 8); }
static void *inMediumOdd(void) { return offset(medium(), 1); }
static void *inRun(void) { return offset(run(), 512); }
static void *inRunMisaligned(void) { return offset(run(), 8); }
static void *inRunOdd(void) { return offset(run(), 1); }
static void *inPages(void) { return offset(pages(), 16384); }
static void *inSpan(void) { return offset(span(), 1 << 20); }
static void *inSpanOdd(void) { return offset(span(), 1); }

// Items of 2048 bytes, of which a slab cuts four at first.
static void *uncut(void) { return (void *)(((uintptr_t)hide(allocate(2000)) & ~(uintptr_t)16383) + 6 * 2048); }
// Five items of 3072 bytes leave a rest of their page.
static void *behindTheLast(void) { return (void *)(((uintptr_t)hide(allocate(3000)) & ~(uintptr_t)16383) + 5 * 3072); }
static void *unclaimed(void) { return offset(run(), 64 << 20); }

static void *onStack(void) {
  char bytes[64];
  return hide(bytes + 16);
}
static void *variable(void) {
  static char bytes[64];
  return hide(bytes);
}
static void *constant(void) { return hide("text"); }
static void *function(void) { return hide((void *)(uintptr_t)onStack); }
static void *threadLocal(void) {
  static __thread char bytes[64];
  return hide(bytes);
}
static void *mapping(void) {
  void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) stop("mmap");
  return p;
}
static void *unmapped(void) {
  void *p = mapping();
  munmap(p, 1 << 20);
  return p;
}
static void *number(void) { return hide((void *)8); }
static void *top(void) { return hide((void *)(UINTPTR_MAX - 7)); }

#define FREED_SMALL "double free", "use after free"
#define FREED_RUN "double free, or never allocated", "use after free, or never allocated"
#define INTERIOR "not the start of an object", NULL
#define FOREIGN foreign, NULL

// Of any pool, however it keeps small objects, if it has so much memory.
#define OBJECTS_OF_ANY_POOL                                         \
  {"tiny, freed", tiny, release, FREED_SMALL},                      \
  {"small, freed", small, release, FREED_SMALL},                    \
  {"run, freed", run, release, FREED_RUN},                          \
  {"pages, freed", pages, release, FREED_RUN},                      \
  {"aligned run, freed", alignedRun, release, FREED_RUN},           \
  {"small, outgrown", small, outgrow, FREED_SMALL},                 \
  {"run, shrunk", pages, shrink, FREED_RUN},                        \
  {"in a tiny one", inTiny, NULL, INTERIOR},                        \
  {"in a small one", inSmall, NULL, INTERIOR},                      \
  {"in a small one, misaligned", inSmallMisaligned, NULL, INTERIOR},\
  {"in a small one, odd", inSmallOdd, NULL, INTERIOR},              \
  {"in a run", inRun, NULL, INTERIOR},                              \
  {"in a run, misaligned", inRunMisaligned, NULL, INTERIOR},        \
  {"in a run, odd", inRunOdd, NULL, INTERIOR},                      \
  {"in pages", inPages, NULL, INTERIOR}

#define OBJECTS_OF_SLABS                                            \
  {"largest small, freed", largestSmall, release, FREED_SMALL},     \
  {"aligned small, freed", alignedSmall, release, FREED_SMALL},     \
  {"small, collected", collected, NULL, FREED_SMALL},               \
  {"small, never cut", uncut, NULL, "never allocated", NULL},       \
  {"behind the last small one", behindTheLast, NULL, "never allocated", NULL}

// Of a pool that keeps medium objects in slabs.
#define OBJECTS_OF_MEDIUM                                           \
  {"medium, freed", medium, release, FREED_SMALL},                  \
  {"medium, outgrown", medium, outgrow, FREED_SMALL},               \
  {"in a medium one", inMedium, NULL, INTERIOR},                    \
  {"in a medium one, misaligned", inMediumMisaligned, NULL, INTERIOR},\
  {"in a medium one, odd", inMediumOdd, NULL, INTERIOR}

#define OBJECTS_OF_ELASTIC                                          \
  {"span, freed", span, release, FREED_SMALL},                      \
  {"run, outgrown", run, outgrowRuns, FREED_RUN},                   \
  {"in a span", inSpan, NULL, INTERIOR},                            \
  {"in a span, odd", inSpanOdd, NULL, INTERIOR},                    \
  {"never claimed", unclaimed, NULL, FREED_RUN}

#define OBJECTS_OF_OTHERS                                           \
  {"on the stack", onStack, NULL, FOREIGN},                         \
  {"a variable", variable, NULL, FOREIGN},                          \
  {"a constant", constant, NULL, FOREIGN},                          \
  {"a function", function, NULL, FOREIGN},                          \
  {"thread-local", threadLocal, NULL, FOREIGN},                     \
  {"a mapping", mapping, NULL, FOREIGN},                            \
  {"unmapped", unmapped, NULL, FOREIGN},                            \
  {"a number", number, NULL, FOREIGN},                              \
  {"the top", top, NULL, FOREIGN}

#endif
