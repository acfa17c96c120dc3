// matrix LEVEL [PART OF A NAME]: libc's names on the drop-in malloc, with MEMPOOL_HARDEN=LEVEL, also in fixed mode and with
// MEMPOOL_SMALL=dense, where small objects are as without hardening.
#define _GNU_SOURCE
#include "matrix.h"

#include "../CrashTests/libc-names.h"

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_memalign(size_t, size_t);
extern int __posix_memalign(void **, size_t, size_t) __attribute__((weak));

static void purge(void) { malloc_trim(0); }

CALLS(too_large, (free_sized(p, subjectBytes + 1), 0))
CALLS(too_small, (free_sized(p, subjectBytes - 1), 0))
CALLS(aligned_too_large, (free_aligned_sized(p, 8, subjectBytes + 1), 0))
CALLS(aligned_too_small, (free_aligned_sized(p, 8, subjectBytes - 1), 0))

static const Call wrongSizes[] = {
    {"free_sized", call_too_large, 0},
    {"free_sized", call_too_small, 0},
    {"free_aligned_sized", call_aligned_too_large, 0},
    {"free_aligned_sized", call_aligned_too_small, 0},
};

#define TAKES(name, expression) \
  static void *take_##name(size_t size) { return expression; }
TAKES(malloc, malloc(size))
TAKES(calloc, calloc(size, 1))
TAKES(realloc, realloc(NULL, size))
TAKES(realloc_from_less, realloc(hide(malloc(30)), size))
TAKES(reallocarray, reallocarray(NULL, size, 1))
TAKES(reallocf, reallocf(NULL, size))
TAKES(aligned_alloc, aligned_alloc(16, size))
TAKES(memalign, memalign(16, size))
TAKES(libc_malloc, __libc_malloc(size))
TAKES(libc_calloc, __libc_calloc(size, 1))
TAKES(libc_realloc, __libc_realloc(NULL, size))
TAKES(libc_memalign, __libc_memalign(16, size))
static void *take_reallocarr(size_t size) {
  void *p = NULL;
  return reallocarr(&p, size, 1) ? NULL : p;
}
static void *take_posix_memalign(size_t size) {
  void *p = NULL;
  return posix_memalign(&p, 16, size) ? NULL : p;
}

static const Source sources[] = {
    {"malloc", take_malloc},
    {"calloc", take_calloc},
    {"realloc", take_realloc},
    {"realloc", take_realloc_from_less},
    {"reallocarray", take_reallocarray},
    {"reallocf", take_reallocf},
    {"reallocarr", take_reallocarr},
    {"aligned_alloc", take_aligned_alloc},
    {"memalign", take_memalign},
    {"posix_memalign", take_posix_memalign},
    {"__libc_malloc", take_libc_malloc},
    {"__libc_calloc", take_libc_calloc},
    {"__libc_realloc", take_libc_realloc},
    {"memalign", take_libc_memalign},
};

int main(int count, char **arguments) {
  static const char where[] = "";
  int isElastic = !getenv("MEMPOOL_FIXED"), hasSlabs = !getenv("MEMPOOL_SMALL");
  if (count < 2) return 64;
  level = atoi(arguments[1]);
  purgeName = "purge";
  beginAttempts(count - 1, arguments + 1);
  // As everywhere, the calls that all others come down to will do.
  size_t callCount = isElastic && hasSlabs ? COUNT(calls) : 3;
  if (hasSlabs) {
    observeAll(where, calls, callCount, wrongAny, COUNT(wrongAny));
    observeAll(where, calls, callCount, wrongSlabs, COUNT(wrongSlabs));
    observeAll(where, calls, callCount, damaged, COUNT(damaged));
    OBSERVE_ALL(wrongSizes, live);
    observeReuses(where, sources, COUNT(sources));
    observeZeroes(where);
  }
  observeAll(where, calls, callCount, wrongOthers, COUNT(wrongOthers));
  observeLeaving(where, calls, callCount);
  if (isElastic) {
    observeAll(where, calls, callCount, wrongElastic, COUNT(wrongElastic));
    observeAll(where, calls, callCount, damagedElastic, COUNT(damagedElastic));
    OBSERVE_ALL(wrongSizes, liveElastic);
    observeSpans(where, calls);
    observeTwoAtOnce(where, calls);
    if (hasSlabs) observeAccesses(where);
    if (hasSlabs && level == 3) OBSERVE_ALL(calls, wrongGuards);
  }
  return endAttempts();
}
