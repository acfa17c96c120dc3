// Each misuse that a hardened pool finds, through each call that takes a pointer or hands one out, by each thread that may commit it.
//
// The includer has what objects.h wants, purge(), and tables of calls; `level` says what the pool is hardened with. Calls that are
// told a size say subjectBytes, which is right unless the case is about it.
#ifndef MATRIX_H
#define MATRIX_H

// Hardened pools keep no medium objects in slabs; larger runs have guards at the third level.
#define RUN_BYTES 5000
#include "../CrashTests/objects.h"
#include "observe.h"

static void purge(void);

static int level;
static size_t subjectBytes;

// --- Objects that are written beyond. No byte of what is behind them is zero.

static void *sized(size_t size) {
  subjectBytes = size;
  return second(size);
}
static void *sizedAligned(size_t alignment, size_t size) {
  subjectBytes = size;
  return secondAligned(alignment, size);
}
static void *tinySized(void) { return sized(5); }
static void *smallSized(void) { return sized(200); }
static void *classSized(void) { return sized(64); }
static void *nearNext(void) { return sized(24); }
static void *largestSized(void) { return sized(3839); }
static void *alignedSized(void) { return sizedAligned(64, 128); }
static void *runSized(void) { return sized(5000); }
static void *alignedRunSized(void) { return sizedAligned(4096, 8192); }
static void *pagesSized(void) { return sized(100000); }
static void *spanSized(void) { return sized((40 << 20) + 5); }

// Of another size, in place. What watches over their ends is elsewhere now.
static void *resized(void *p, size_t size) {
  if (resize(p, size) != p) {
    fputs("not in place\n", stderr);
    _exit(3);
  }
  subjectBytes = size;
  return p;
}
static void *smallShrunk(void) { return resized(sized(100), 97); }
static void *smallGrown(void) { return resized(sized(97), 100); }
static void *runShrunk(void) { return resized(sized(16000), 15000); }
static void *runGrown(void) { return resized(sized(15000), 16000); }
static void *pagesShrunk(void) { return resized(sized(100000), 90000); }

static void spoilEnd(void *p) { ((char *)p)[subjectBytes] = 0; }
// 24 bytes of an item of 32.
static void spoilNext(void *p) { ((char *)p)[31] = 0; }
static void spoilFar(void *p) { ((char *)p)[subjectBytes + 250] = 0; }

#define BEHIND "written behind its end", NULL
enum { damagedSmall = 6, damagedRuns = 3 };  // of the ones that come first, and behind these
static const Object damaged[] = {
    {"tiny, written behind", tinySized, spoilEnd, BEHIND},
    {"small, written behind", smallSized, spoilEnd, BEHIND},
    {"as large as its class, written behind", classSized, spoilEnd, BEHIND},
    {"small, written before the next", nearNext, spoilNext, "written before the start of what lies behind it", NULL},
    {"largest small, written behind", largestSized, spoilEnd, BEHIND},
    {"aligned small, written behind", alignedSized, spoilEnd, BEHIND},
    {"run, written behind", runSized, spoilEnd, BEHIND},
    {"run, written further behind", runSized, spoilFar, BEHIND},
    {"aligned run, written behind", alignedRunSized, spoilEnd, BEHIND},
    {"pages, written behind", pagesSized, spoilEnd, BEHIND},
    {"small, shrunk, written behind", smallShrunk, spoilEnd, BEHIND},
    {"small, grown, written behind", smallGrown, spoilEnd, BEHIND},
    {"run, shrunk, written behind", runShrunk, spoilEnd, BEHIND},
    {"run, grown, written behind", runGrown, spoilEnd, BEHIND},
    {"pages, shrunk, written behind", pagesShrunk, spoilEnd, BEHIND},
};
static const Object damagedElastic[] = {{"span, written behind", spanSized, spoilEnd, BEHIND}};

// --- Pointers that are no objects

// Eight items of 2048 bytes, which are handed out one after the other, the first being any of them: the last one.
static void *neverOut(void) {
  char *p = hide(allocate(2000)), *page = (char *)((uintptr_t)p & ~(uintptr_t)16383);
  return page + ((p - page) / 2048 + 7) % 8 * 2048;
}
static const Object wrongAny[] = {OBJECTS_OF_ANY_POOL};
static const Object wrongOthers[] = {OBJECTS_OF_OTHERS};
static const Object wrongSlabs[] = {
    {"largest small, freed", largestSized, release, FREED_SMALL},
    {"aligned small, freed", alignedSmall, release, FREED_SMALL},
    {"small, collected", collected, NULL, FREED_SMALL},
    {"small, never out", neverOut, NULL, "never allocated", NULL},
    {"behind the last small one", behindTheLast, NULL, "never allocated", NULL},
};
static const Object wrongElastic[] = {OBJECTS_OF_ELASTIC};

// Of a slab of one page, and of a large object, which at this level has them.
static void *inGuardOfSlab(void) { return (void *)(((uintptr_t)hide(allocate(2000)) & ~(uintptr_t)16383) + 16384 + 64); }
static void *inGuardBehind(void) { return offset(pages(), 102400 + 64); }
static void *inGuardBefore(void) { return (char *)pages() - 64; }
static const Object wrongGuards[] = {
    {"in the guard of a slab", inGuardOfSlab, NULL, "never allocated", NULL},
    {"in the guard behind pages", inGuardBehind, NULL, FOREIGN},
    {"in the guard before pages", inGuardBefore, NULL, FOREIGN},
};

// --- Live objects that are given back with another size

static const Object live[] = {
    {"tiny, live", tinySized, NULL, "not of this size", NULL},
    {"small, live", smallSized, NULL, "not of this size", NULL},
    {"aligned small, live", alignedSized, NULL, "not of this size", NULL},
    {"run, live", runSized, NULL, "not of this size", NULL},
    {"pages, live", pagesSized, NULL, "not of this size", NULL},
};
static const Object liveElastic[] = {{"span, live", spanSized, NULL, "not of this size", NULL}};

// --- In every way

static int isDamage(const Object *one) {
  return one->release == spoilEnd || one->release == spoilNext || one->release == spoilFar;
}

// The threads that gave back have ended, or it is another process: what they held back is free.
static int isQuarantineGone(void (*way)(void)) {
  return way == ownerAfterAnother || way == twoOthers || way == abandonedBefore || way == forkedChild;
}

// While a run waits, or where it was no run, it is known to have been one.
static int isRemembered(const Object *one, void (*way)(void)) {
  if (!one->release || strcmp(one->free, "double free, or never allocated")) return 0;
  return (level >= 2 && !isQuarantineGone(way)) || (level == 3 && one->make == pages);
}

static int isApplicable(const Object *one, const Call *with, size_t way) {
  if (with->isAlias && !ways[way].isForAliases) return 0;
  return !(ways[way].needsRelease && !one->release) && !(ways[way].needsHeap && one->free == foreign);
}

static void observeAll(const char *where, const Call *with, size_t callCount, const Object *of, size_t objectCount) {
  for (size_t c = 0; c < callCount; c++)
    for (size_t o = 0; o < objectCount; o++)
      for (size_t w = 0; w < COUNT(ways); w++) {
        if (!isApplicable(&of[o], &with[c], w)) continue;
        Object adjusted = of[o];
        if (isRemembered(&of[o], ways[w].go)) adjusted.free = "double free", adjusted.use = "use after free";
        object = &adjusted;
        call = &with[c];
        Outcome outcome = isDamage(object) && (level < 2 || call->isHarmless) ? NOTHING : LINE;
        observe(ways[w].go, outcome, NULL, "%s%s: %s, %s", where, call->name, object->name, ways[w].name);
      }
}
#define OBSERVE_ALL(calls, objects) observeAll(where, calls, COUNT(calls), objects, COUNT(objects))

// --- Accesses

static void *full(void *p, size_t size) { return memset(p, 42, size < 4096 ? size : 4096); }
static void *smallFull(void) { return full(small(), 200); }
static void *pagesFull(void) { return full(pages(), 100000); }
static void *spanFull(void) { return full(span(), 40 << 20); }
static void *behindSlab(void) { return offset((void *)((uintptr_t)hide(allocate(2000)) & ~(uintptr_t)16383), 16384 + 64); }
static void *behindPages(void) { return offset(pages(), 102400); }
static void *beforePages(void) { return (char *)pages() - 1; }

static void readIt(void *p) {
  char seen = *(volatile char *)p;
  if (seen == 42) fputs(readsStale, stderr);
  else if (seen == 0) fputs(readsZeroes, stderr);
}
static void writeIt(void *p) {
  EXPECT("free(%p): written after it was freed", p);
  *(volatile char *)p = 1;
}
static const Call accesses[] = {{"read", readIt, 0}, {"write", writeIt, 0}};

static const struct {
  Object object;
  Outcome read[4], write[4];
} accessed[] = {
    {{"small, freed", smallFull, release, NULL, NULL}, {STALE, ZERO, ZERO, ZERO}, {NOTHING, NOTHING, NOTHING, NOTHING}},
    {{"pages, freed", pagesFull, release, NULL, NULL}, {STALE, ZERO, ZERO, FAULT}, {NOTHING, NOTHING, NOTHING, FAULT}},
    {{"span, freed", spanFull, release, NULL, NULL}, {FAULT, FAULT, FAULT, FAULT}, {FAULT, FAULT, FAULT, FAULT}},
    {{"behind a slab", behindSlab, NULL, NULL, NULL}, {OTHER, OTHER, OTHER, FAULT}, {OTHER, OTHER, OTHER, FAULT}},
    {{"behind pages", behindPages, NULL, NULL, NULL}, {OTHER, OTHER, OTHER, FAULT}, {OTHER, OTHER, OTHER, FAULT}},
    {{"before pages", beforePages, NULL, NULL, NULL}, {OTHER, OTHER, OTHER, FAULT}, {OTHER, OTHER, OTHER, FAULT}},
};

// What OTHER stands for may go either way: there is no guard.
static void observeAccesses(const char *where) {
  for (size_t a = 0; a < COUNT(accessed); a++)
    for (size_t c = 0; c < COUNT(accesses); c++)
      for (size_t w = 0; w < COUNT(ways); w++) {
        object = &accessed[a].object;
        call = &accesses[c];
        Outcome outcome = c ? accessed[a].write[level] : accessed[a].read[level];
        if (outcome == OTHER || !isApplicable(object, call, w)) continue;
        // This thread ends, and what it held back is looked at.
        if (ways[w].go == adopter && call->call == writeIt && object->make == pagesFull && level == 2) outcome = LINE;
        observe(ways[w].go, outcome, NULL, "%s%s: %s, %s", where, call->name, object->name, ways[w].name);
      }
}

// --- Written after it was freed: found by who hands it out

typedef struct {
  const char *name;
  void *(*take)(size_t size);
} Source;
static const Source *source;
static int isSpoiled;

static void prepare(void) {
  make();
  full(subject, 200);
}
static void spoil(void) {
  if (isSpoiled) ((char *)subject)[190] = 1;
}
// Whoever owns the heap that it is in takes what there is.
static void takeAgain(void) {
  purge();
  EXPECT("%s(%p): written after it was freed", source->name, subject);
  for (int i = 0; i < 20000; i++) {
    char *p = hide(source->take(200));
    int isZero = 1;
    for (int at = 0; at < 200; at++) {
      isZero &= p[at] == 0;
      if (p[at] != 42) continue;
      fputs(readsStale, stderr);
      return;
    }
    if (p != subject) continue;
    if (isZero) fputs(readsZeroes, stderr);
    return;
  }
  fputs("never handed out again\n", stderr);
}

static void reuseByOwner(void) { prepare(), giveBack(), spoil(), takeAgain(); }
static void spoiledByAnother(void) {
  ready(NULL, spoil);
  prepare(), giveBack(), letGo(), takeAgain();
}
static void givenBackByAnother(void) {
  prepare();
  IN_THREAD(giveBack);
  spoil(), takeAgain();
}
static void spoiledWhenAbandoned(void) {
  haveHeap();
  IN_THREAD(prepare, giveBack);
  spoil();
  IN_THREAD(adopt, takeAgain);
}
static void reuseByAdopter(void) {
  haveHeap();
  IN_THREAD(prepare);
  IN_THREAD(adopt, giveBack, spoil, takeAgain);
}
static void inChild(Step spoils) {
  int status;
  pid_t child = fork();
  if (child < 0) stop("fork");
  if (child == 0) {
    alarm(60);
    if (spoils) spoils();
    takeAgain();
    _exit(0);
  }
  if (waitpid(child, &status, 0) != child) _exit(1);
  if (!WIFSIGNALED(status)) _exit(WEXITSTATUS(status));
  signal(WTERMSIG(status), SIG_DFL);
  raise(WTERMSIG(status));
}
static void spoiledBeforeFork(void) { prepare(), giveBack(), spoil(), inChild(NULL); }
static void spoiledInChild(void) { prepare(), giveBack(), inChild(spoil); }

static const struct {
  const char *name;
  void (*go)(void);
} reuses[] = {
    {"by its owner", reuseByOwner},
    {"written by another thread", spoiledByAnother},
    {"given back by another thread", givenBackByAnother},
    {"written when its owner has exited", spoiledWhenAbandoned},
    {"by who adopted it", reuseByAdopter},
    {"written before a fork", spoiledBeforeFork},
    {"in a forked child", spoiledInChild},
};
static const Object reused = {"small", small, release, NULL, NULL};

static void observeReuses(const char *where, const Source *sources, size_t count) {
  object = &reused;
  for (size_t s = 0; s < count; s++)
    for (size_t w = 0; w < COUNT(reuses); w++)
      for (isSpoiled = 0; isSpoiled < 2; isSpoiled++) {
        source = &sources[s];
        observe(reuses[w].go, isSpoiled ? LINE : ZERO, NULL, "%s%s: %s, %s", where, source->name,
                isSpoiled ? "written after it was freed" : "not initialised", reuses[w].name);
      }
}

// --- Memory that nobody has written to since it was handed out

static void tellZero(const char *p, size_t from, size_t to) {
  for (; from < to; from++)
    if (p[from]) return (void)fputs(p[from] == 42 ? readsStale : "reads something else\n", stderr);
  fputs(readsZeroes, stderr);
}

// In place, and back: what was given up is zero.
static size_t sizeBefore, sizeBetween;
static void grownAgain(void) {
  char *p = hide(allocate(sizeBefore));
  memset(p, 42, sizeBefore);
  char *shrunk = hide(resize(p, sizeBetween)), *grown = hide(resize(shrunk, sizeBefore));
  if (shrunk != p || grown != p) _exit(3);
  tellZero(grown, sizeBetween, sizeBefore);
}

// Written to when it waits no more: a run is cleared when it is handed out.
static void runAgain(void) {
  void *others[40];
  char *p = hide(allocate(5000));
  for (int i = 0; i < 40; i++) others[i] = hide(allocate(5000));
  release(p);
  for (int i = 0; i < 40 && level >= 2; i++) release(others[i]);
  p[100] = 42;
  for (int i = 0; i < 2000; i++) {
    char *next = hide(allocate(5000));
    if (next == p) return tellZero(p, 0, 5000);
  }
  fputs("never handed out again\n", stderr);
}

static void observeZeroes(const char *where) {
  static const size_t sizes[][2] = {{100, 97}, {16000, 15000}, {100000, 90000}};
  for (size_t i = 0; i < COUNT(sizes); i++) {
    sizeBefore = sizes[i][0], sizeBetween = sizes[i][1];
    observe(grownAgain, ZERO, NULL, "%s%zu bytes, shrunk and grown", where, sizeBefore);
  }
  observe(runAgain, ZERO, NULL, "%sa run, written to when it was free", where);
}

// --- Given back by two threads at the same moment: one of them is told

static int arrived;
static void giveBackWithOther(void) {
  __atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL);
  while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < 2) continue;
  call->call(subject);
}
static void twoAtOnce(void) {
  ready(haveHeap, giveBackWithOther);
  make();
  EXPECT("%s(%p): double free", call->name, subject);
  sem_post(&mayGo);
  giveBackWithOther();
  pthread_join(waiting, NULL);
}
static void observeTwoAtOnce(const char *where, const Call *with) {
  static const Object both[] = {{"small", small, NULL, NULL, NULL}, {"span", span, NULL, NULL, NULL}};
  call = with;
  for (size_t o = 0; o < COUNT(both); o++)
    for (int i = 0; i < 200; i++) {
      object = &both[o];
      observe(twoAtOnce, LINE, NULL, "%s%s: %s, by two threads at once", where, call->name, object->name);
    }
}

// --- Addresses of a span that waits are nobody's

static void spanAgain(void) {
  char *p = hide(allocate(40 << 20));
  release(p);
  for (int i = 0; i < 20; i++) {
    char *next = hide(allocate(40 << 20));
    if (next <= p && next + (40 << 20) > p) fputs("there already\n", stderr);
  }
  EXPECT("%s(%p): double free", call->name, (void *)p);
  call->call(p);
}
static void observeSpans(const char *where, const Call *with) {
  call = with;
  if (level >= 2) observe(spanAgain, LINE, NULL, "%s%s: span, freed, after other spans", where, call->name);
}

// --- A run, written to while it waits: found when it leaves the quarantine

static const char *purgeName;
static char *waitingRun(void) {
  subjectBytes = 5000;
  char *p = hide(allocate(5000));
  release(p);
  p[4000] = 1;
  return p;
}
static void leavesForOthers(void) {
  char *p = waitingRun();
  EXPECT("%s(%p): written after it was freed", call->name, (void *)p);
  for (int i = 0; i < 40; i++) call->call(hide(allocate(5000)));
}
static void leavesByPurge(void) {
  char *p = waitingRun();
  EXPECT("%s(%p): written after it was freed", purgeName, (void *)p);
  purge();
}
static void leavesByAnothersPurge(void) {
  ready(NULL, purge);
  char *p = waitingRun();
  EXPECT("%s(%p): written after it was freed", purgeName, (void *)p);
  letGo();
}
static void leaveIt(void) { EXPECT("free(%p): written after it was freed", (void *)waitingRun()); }
static void leavesAtExit(void) { IN_THREAD(leaveIt); }

static void observeLeaving(const char *where, const Call *with, size_t count) {
  Outcome outcome = level < 2 ? NOTHING : LINE;
  for (size_t c = 0; c < count; c++) {
    call = &with[c];
    if (!call->isHarmless)
      observe(leavesForOthers, outcome, NULL, "%s%s: a run that waits, written after it was freed", where, call->name);
  }
  observe(leavesByPurge, outcome, NULL, "%spurge: a run that waits, written after it was freed", where);
  observe(leavesByAnothersPurge, outcome, NULL, "%spurge by another thread: a run that waits, written after it was freed", where);
  observe(leavesAtExit, outcome, NULL, "%sexit of a thread: a run that waits, written after it was freed", where);
}

#endif
