// What each level of MEMPOOL_HARDEN finds: a misuse a case, committed by a process of its own, and what must come of it at levels 0
// to 3: one exact line on standard error and SIGABRT; SIGSEGV, and no line; or nothing, where the misuse is not found, or does no
// harm. And of an object between sampled guards: a report with backtraces, or one of the above. docs/hardening.md has the same table.
//
//   misuse LEVEL [PART OF A NAME]       on the drop-in malloc, with MEMPOOL_HARDEN=LEVEL
//   misuse sampled [PART OF A NAME]     with MEMPOOL_GUARD_SAMPLE=1
//   misuse --list                       the names
//
// What came of each, in the words of that table, goes to the file that FOUND names.
#define _GNU_SOURCE
#include "observe.h"

extern void free_sized(void *, size_t) __attribute__((weak));

enum { small = 24, large = 100000, span = 40 << 20 };

// 0 to 3, or sampled.
static int column;
static int isSampled(void) { return column == sampled; }

// Two objects of a size, the second right behind the first. Items of a slab follow each other, but for the last one.
static void neighbours(size_t size, size_t distance, char **first, char **second) {
  char *before = hide(malloc(size));
  for (int i = 0; i < 10000; i++) {
    char *next = hide(malloc(size));
    if (next == before + distance) {
      *first = before, *second = next;
      return;
    }
    before = next;
  }
  fputs("no neighbours\n", stderr);
  _exit(3);
}

// The distance of neighbours: an item's bytes.
static size_t itemBytes(size_t size) {
  size_t least = SIZE_MAX;
  char *objects[200];
  for (int i = 0; i < 200; i++) objects[i] = hide(malloc(size));
  for (int i = 1; i < 200; i++)
    if (objects[i] > objects[i - 1] && (size_t)(objects[i] - objects[i - 1]) < least) least = (size_t)(objects[i] - objects[i - 1]);
  return least;
}

// Takes and frees objects of a size until what was freed before is handed out again, or has left the quarantine.
static void churn(size_t size) {
  static void *objects[20000];
  int count = size > 5000 ? 4 : 20000;
  for (int i = 0; i < 10; i++) {
    for (int j = 0; j < count; j++) objects[j] = hide(malloc(size));
    for (int j = 0; j < count; j++) free(objects[j]);
  }
}

static void overflowSmall(void) {
  char *p = hide(malloc(small));
  EXPECT("free(%p): written behind its end", (void *)p);
  p[small] = (char)~p[small];
  free(p);
}

static void overflowSmallFull(void) {
  char *p = hide(malloc(64));
  EXPECT("free(%p): written behind its end", (void *)p);
  // The end of a string, one byte too far.
  p[64] = 0;
  free(p);
}

static void overflowSmallRealloc(void) {
  char *p = hide(malloc(small));
  EXPECT("realloc(%p): written behind its end", (void *)p);
  p[small] = (char)~p[small];
  hide(realloc(p, 500));
}

// Behind a sampled object there is none: only its page, and where that ends.
static void overflowSampled(void) {
  char *p = hide(malloc(64));
  memset(p + 64, 1, 24);
  free(p);
}

static void overflowIntoFree(void) {
  char *first, *second;
  if (isSampled()) return overflowSampled();
  size_t distance = itemBytes(64);
  neighbours(64, distance, &first, &second);
  EXPECT("malloc(%p): written after it was freed", (void *)second);
  free(second);
  memset(first + 64, 1, distance - 64 + 8);
  churn(64);
}

static void overflowSlab(void) {
  char *p = hide(malloc(small));
  memset(p, 1, 100 << 10);
}

static void overflowLarge(void) {
  char *p = hide(malloc(large));
  EXPECT("free(%p): written behind its end", (void *)p);
  p[large] = (char)~p[large];
  free(p);
}

static void overflowLargePage(void) {
  char *p = hide(malloc(large));
  volatile char *behind = p + ((large + 4096) & ~4095);
  *behind = *behind;
  free(p);
}

static volatile char sink;
static void overflowRead(void) {
  volatile char *p = hide(malloc(small));
  sink = p[small];
  free((void *)p);
}

static void overflowReadAtPageEnd(void) {
  for (int i = 0; i < 64; i++) {
    volatile char *p = hide(malloc(32));
    if (((uintptr_t)p + 32) % 4096 == 0) sink = p[32];
  }
}

static void underflowSampled(void) {
  char *p = hide(malloc(small));
  p[-1] = 0;
  free(p);
}

static void underflowSmall(void) {
  char *first, *second;
  if (isSampled()) return underflowSampled();
  neighbours(small, itemBytes(small), &first, &second);
  EXPECT("free(%p): written before the start of what lies behind it", (void *)first);
  second[-1] = 0;
  free(second);
  free(first);
}

static void underflowLarge(void) {
  char *first = hide(malloc(large)), *second = hide(malloc(large));
  // The one above the other: before its start is what is behind the other's end.
  volatile char *p = first > second ? first : second;
  p[-1] = p[-1];
  free(first);
  free(second);
}

static void writeAfterFreeSmall(void) {
  char *p = hide(malloc(small));
  free(p);
  EXPECT("malloc(%p): written after it was freed", (void *)p);
  p[3] = 1;
  churn(small);
}

static void writeAfterFreeLarge(void) {
  char *p = hide(malloc(large));
  free(p);
  EXPECT("free(%p): written after it was freed", (void *)p);
  p[3] = 1;
  churn(large);
}

static void writeAfterFreeSpan(void) {
  char *p = hide(malloc(span));
  free(p);
  p[3] = 1;
}

// A value that was there before: what a reader must not see.
static volatile char secret = 42;

static void readAfterFree(size_t size) {
  volatile char *p = hide(malloc(size));
  p[20] = secret;
  free((void *)p);
  char seen = p[20];
  if (seen == secret) fputs(readsStale, stderr);
  else if (seen == 0) fputs(readsZeroes, stderr);
}
static void readAfterFreeSmall(void) { readAfterFree(small); }
static void readAfterFreeLarge(void) { readAfterFree(large); }
static void readAfterFreeSpan(void) { readAfterFree(span); }

// Pages come in turn, and objects lie by turns at the end of one and at its start: of two numbers of pages one more than the other, one
// lets an object lie where the one before it did.
static void uninitialisedSampled(void) {
  for (int kept = 0; kept < 2; kept++) {
    for (int i = 0; i < 1000; i++) {
      char *p = hide(malloc(small));
      if (memchr(p, 42, small)) {
        fputs(readsStale, stderr);
        return;
      }
      memset(p, 42, small);
      free(p);
    }
    hide(malloc(small));
  }
}

static void uninitialised(size_t size) {
  char *objects[8];
  for (int i = 0; i < 8; i++) memset(objects[i] = hide(malloc(size)), 42, size);
  for (int i = 0; i < 8; i++) free(objects[i]);
  int isZero = 1, count = size > 5000 ? 50 : 2000;
  for (int i = 0; i < count; i++) {
    char *p = hide(malloc(size));
    if (memchr(p, 42, size)) {
      fputs(readsStale, stderr);
      return;
    }
    for (size_t at = 0; at < size; at++) isZero &= p[at] == 0;
    if (i % 2) free(p);
    if (size > 5000) free(hide(malloc(size)));
  }
  if (isZero) fputs(readsZeroes, stderr);
}
static void uninitialisedSmall(void) { isSampled() ? uninitialisedSampled() : uninitialised(small); }
static void uninitialisedLarge(void) { uninitialised(large); }

// Where a run lay, the records of the first levels do not tell from what was never allocated.
static int forgetsRuns(void) { return column < 2 || isSampled(); }

static void doubleFree(size_t size) {
  void *p = hide(malloc(size));
  free(p);
  EXPECT("free(%p): double free%s", p, size == large && forgetsRuns() ? ", or never allocated" : "");
  free(p);
}
static void doubleFreeSmall(void) { doubleFree(small); }
static void doubleFreeLarge(void) { doubleFree(large); }
static void doubleFreeSpan(void) { doubleFree(span); }

// Where nothing waits the second free is that of the object that lies there now.
static void freeAgainLater(size_t size) {
  void *p = hide(malloc(size));
  free(p);
  EXPECT("free(%p): double free", p);
  void *q = hide(malloc(size));
  free(p);
  (void)q;
}
static void doubleFreeLater(void) { freeAgainLater(small); }
static void doubleFreeLaterLarge(void) { freeAgainLater(large); }

static void *freeIt(void *p) {
  free(p);
  return NULL;
}
static void doubleFreeByAnother(void) {
  void *p = hide(malloc(small));
  pthread_t thread;
  if (pthread_create(&thread, NULL, freeIt, p)) _exit(2);
  pthread_join(thread, NULL);
  EXPECT("free(%p): double free", p);
  free(p);
}

static void useAfterFree(void) {
  void *p = hide(malloc(small));
  free(p);
  EXPECT("realloc(%p): use after free", p);
  hide(realloc(p, 100));
}

static void invalidInside(void) {
  char *p = hide(malloc(small));
  EXPECT("free(%p): not the start of an object", (void *)(p + 8));
  free(p + 8);
}
static void invalidInsideLarge(void) {
  char *p = hide(malloc(large));
  EXPECT("free(%p): not the start of an object", (void *)(p + 4096));
  free(p + 4096);
}
static void invalidStack(void) {
  char bytes[64];
  EXPECT("free(%p): not memory of this allocator", (void *)bytes);
  free(hide(bytes));
}

static void wrongSize(size_t size, size_t told) {
  void *p = hide(malloc(size));
  EXPECT("free_sized(%p): not of this size", p);
  free_sized(p, told);
}
static void wrongSizeNear(void) { wrongSize(small, small + 1); }
static void wrongSizeFar(void) { wrongSize(small, 200); }
static void wrongSizeLarge(void) { wrongSize(large, large - 1); }

static const Case cases[] = {
    {"overflow, small: write", overflowSmall, {NOTHING, NOTHING, LINE, LINE, REPORT}, "overflow"},
    {"overflow, small: write, size of a class", overflowSmallFull, {NOTHING, NOTHING, LINE, LINE, REPORT}, "overflow"},
    {"overflow, small: write, seen by realloc", overflowSmallRealloc, {NOTHING, NOTHING, LINE, LINE, REPORT}, "overflow"},
    {"overflow, small: write into a free neighbour", overflowIntoFree, {NOTHING, LINE, LINE, LINE, REPORT}, "overflow"},
    {"overflow, small: write beyond the slab", overflowSlab, {NOTHING, NOTHING, NOTHING, FAULT, REPORT}, "overflow"},
    {"overflow, small: read", overflowRead, {NOTHING, NOTHING, NOTHING, NOTHING, NOTHING}},
    {"overflow, large: write", overflowLarge, {NOTHING, NOTHING, LINE, LINE, NOTHING}},
    {"overflow, large: to the next page", overflowLargePage, {NOTHING, NOTHING, NOTHING, FAULT, NOTHING}},
    {"underflow, small: write", underflowSmall, {NOTHING, NOTHING, LINE, LINE, REPORT}, "underflow"},
    {"underflow, large", underflowLarge, {NOTHING, NOTHING, NOTHING, FAULT, NOTHING}},
    {"write after free, small", writeAfterFreeSmall, {NOTHING, LINE, LINE, LINE, REPORT}, "use after free"},
    {"write after free, large", writeAfterFreeLarge, {NOTHING, NOTHING, LINE, FAULT, NOTHING}},
    {"write after free, 40 MiB", writeAfterFreeSpan, {FAULT, FAULT, FAULT, FAULT, FAULT}},
    {"read after free, small", readAfterFreeSmall, {STALE, ZERO, ZERO, ZERO, REPORT}, "use after free"},
    {"read after free, large", readAfterFreeLarge, {STALE, ZERO, ZERO, FAULT, STALE}},
    {"read after free, 40 MiB", readAfterFreeSpan, {FAULT, FAULT, FAULT, FAULT, FAULT}},
    {"double free, small", doubleFreeSmall, {LINE, LINE, LINE, LINE, REPORT}, "double free"},
    {"double free, large", doubleFreeLarge, {LINE, LINE, LINE, LINE, LINE}},
    {"double free, 40 MiB", doubleFreeSpan, {LINE, LINE, LINE, LINE, LINE}},
    {"double free, after another malloc", doubleFreeLater, {NOTHING, NOTHING, LINE, LINE, REPORT}, "double free"},
    {"double free, large, after another malloc", doubleFreeLaterLarge, {NOTHING, NOTHING, LINE, LINE, NOTHING}},
    {"double free, after another thread's", doubleFreeByAnother, {LINE, LINE, LINE, LINE, REPORT}, "double free"},
    {"use after free: realloc", useAfterFree, {LINE, LINE, LINE, LINE, REPORT}, "use after free"},
    {"invalid free: inside, small", invalidInside, {LINE, LINE, LINE, LINE, REPORT}, "not the start of an object"},
    {"invalid free: inside, large", invalidInsideLarge, {LINE, LINE, LINE, LINE, LINE}},
    {"invalid free: on the stack", invalidStack, {LINE, LINE, LINE, LINE, LINE}},
    {"uninitialised read, small", uninitialisedSmall, {STALE, ZERO, ZERO, ZERO, STALE}},
    {"uninitialised read, large", uninitialisedLarge, {STALE, ZERO, ZERO, ZERO, STALE}},
    {"size mismatch: by 1, small", wrongSizeNear, {NOTHING, LINE, LINE, LINE, LINE}},
    {"size mismatch: of another class", wrongSizeFar, {LINE, LINE, LINE, LINE, LINE}},
    {"size mismatch: by 1, large", wrongSizeLarge, {NOTHING, LINE, LINE, LINE, NOTHING}},
};

// The words of the table in docs/hardening.md.
static const char *const cells[] = {"–", "zero", "old", "line", "SIGSEGV", "report", "?"};

static const char *cell(const Case *one) {
  Outcome outcome = one->outcome[column], found = observe(one->commit, outcome, one->report, "%s", one->name);
  // Of a sampled object, what is read in its page goes unseen, and what is read behind that is seen.
  if (isSampled() && one->commit == overflowRead && found == NOTHING &&
      observe(overflowReadAtPageEnd, REPORT, "overflow", "%s, where the page ends", one->name) == REPORT)
    return "report, where the page ends";
  return cells[found];
}

int main(int count, char **arguments) {
  if (count > 1 && !strcmp(arguments[1], "--list")) {
    for (size_t i = 0; i < COUNT(cases); i++) puts(cases[i].name);
    return 0;
  }
  if (count < 2) return 64;
  column = strcmp(arguments[1], "sampled") ? atoi(arguments[1]) : sampled;
  if (column < 0 || column > sampled) return 64;
  const char *path = getenv("FOUND");
  FILE *found = fopen(path ? path : "/dev/null", "w");
  if (!found) return 2;
  beginAttempts(count - 1, arguments + 1);
  for (size_t i = 0; i < COUNT(cases); i++) fprintf(found, "%s\n", cell(&cases[i])), fflush(found);
  return fclose(found) || endAttempts();
}
