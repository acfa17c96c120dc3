// Misuse of libc's names, on the drop-in malloc, also with MEMPOOL_SMALL=dense and in fixed mode.
#define _GNU_SOURCE
#include "objects.h"

#include <malloc.h>

extern void *reallocf(void *, size_t) __attribute__((weak));
extern int reallocarr(void *, size_t, size_t) __attribute__((weak));
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
extern size_t malloc_size(const void *) __attribute__((weak));
extern void vfree(void *) __attribute__((weak));
extern void cfree(void *) __attribute__((weak));
extern void __libc_free(void *);
extern void __libc_cfree(void *) __attribute__((weak));
extern void *__libc_realloc(void *, size_t);

static void *allocate(size_t size) { return malloc(size); }
static void release(void *p) { free(p); }
static void *allocateAligned(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }
static void *resize(void *p, size_t size) { return realloc(p, size); }

#define CALLS(name, expression) \
  static void call_##name(void *p) { (void)(expression); }
CALLS(free, (free(p), 0))
CALLS(realloc, hide(realloc(p, 300)))
CALLS(realloc_to_less, hide(realloc(p, 1)))
CALLS(realloc_to_0, hide(realloc(p, 0)))
CALLS(reallocarray, hide(reallocarray(p, 3, 100)))
CALLS(reallocf, hide(reallocf(p, 300)))
CALLS(reallocarr, reallocarr(&p, 3, 100))
CALLS(reallocarr_to_0, reallocarr(&p, 0, 100))
CALLS(malloc_usable_size, malloc_usable_size(p))
CALLS(malloc_size, malloc_size(p))
CALLS(free_sized, (free_sized(p, 200), 0))
CALLS(free_aligned_sized, (free_aligned_sized(p, 1, 200), 0))
CALLS(cfree, (cfree(p), 0))
CALLS(vfree, (vfree(p), 0))
CALLS(libc_free, (__libc_free(p), 0))
CALLS(libc_cfree, (__libc_cfree(p), 0))
CALLS(libc_realloc, hide(__libc_realloc(p, 300)))

static const Call calls[] = {
    {"free", call_free, 0},
    {"realloc", call_realloc, 1},
    {"malloc_usable_size", call_malloc_usable_size, 1},
    {"realloc", call_realloc_to_less, 1, 1},
    {"realloc", call_realloc_to_0, 0},
    {"reallocarray", call_reallocarray, 1, 1},
    {"reallocf", call_reallocf, 1, 1},
    {"reallocarr", call_reallocarr, 1, 1},
    {"reallocarr", call_reallocarr_to_0, 0, 1},
    {"malloc_size", call_malloc_size, 1, 1},
    {"free_sized", call_free_sized, 0},
    {"free_aligned_sized", call_free_aligned_sized, 0},
    {"cfree", call_cfree, 0, 1},
    {"vfree", call_vfree, 0, 1},
    {"__libc_free", call_libc_free, 0, 1},
    {"__libc_cfree", call_libc_cfree, 0, 1},
    {"__libc_realloc", call_libc_realloc, 1, 1},
};

static const Object anyObjects[] = {OBJECTS_OF_ANY_POOL, OBJECTS_OF_OTHERS};
static const Object slabObjects[] = {OBJECTS_OF_SLABS};
static const Object elasticObjects[] = {OBJECTS_OF_ELASTIC};

// --- Sizes and alignments that the object was not asked for with

CALLS(too_large, (free_sized(p, 300), 0))
CALLS(too_small, (free_sized(p, 20), 0))
CALLS(aligned_too_large, (free_aligned_sized(p, 64, 1 << 20), 0))
CALLS(aligned_huge, (free_aligned_sized(p, 64, huge), 0))
CALLS(absurd_alignment, (free_aligned_sized(p, 24, 200), 0))
CALLS(no_alignment, (free_aligned_sized(p, 0, 200), 0))
CALLS(misaligned, (free_aligned_sized(p, 4096, 100), 0))
CALLS(run_too_large, (free_sized(p, 9000), 0))
CALLS(run_too_small, (free_sized(p, 200), 0))
CALLS(span_too_large, (free_sized(p, huge), 0))
CALLS(span_too_small, (free_sized(p, 5000), 0))

static const Call smallSizes[] = {
    {"free_sized", call_too_large, 0}, {"free_sized", call_too_small, 0}, {"free_sized", call_span_too_large, 0},
    {"free_aligned_sized", call_aligned_too_large, 0}, {"free_aligned_sized", call_aligned_huge, 0},
};
static const Call runSizes[] = {{"free_sized", call_run_too_large, 0}, {"free_sized", call_run_too_small, 0}};
static const Call spanSizes[] = {{"free_sized", call_span_too_large, 0}, {"free_sized", call_span_too_small, 0}};
static const Call alignments[] = {
    {"free_aligned_sized", call_absurd_alignment, 0},
    {"free_aligned_sized", call_no_alignment, 0},
    {"free_aligned_sized", call_misaligned, 0},
};

static void *alignedTo64(void) { return secondAligned(64, 128); }
static void *in8192(void) { return offset(secondAligned(4096, 8192), 64); }
static const Object sizedSmall[] = {{"small, live", alignedTo64, NULL, "not of this size", NULL}};
static const Object sizedRun[] = {{"run, live", run, NULL, "not of this size", NULL}};
static const Object sizedSpan[] = {{"span, live", span, NULL, "not of this size", NULL}};
static const Object misaligned[] = {{"in an aligned run", in8192, NULL, "not of this alignment", NULL}};

#define ATTEMPT_ALL(calls, objects) attemptAll("", calls, COUNT(calls), objects, COUNT(objects))

int main(int count, char **arguments) {
  const char *fixed = getenv("MEMPOOL_FIXED"), *kind = getenv("MEMPOOL_SMALL");
  int isElastic = !fixed, hasSlabs = !kind;
  // As everywhere, the calls that all others come down to will do.
  size_t callCount = isElastic && hasSlabs ? COUNT(calls) : 3;
  beginAttempts(count, arguments);
  attemptAll("", calls, callCount, anyObjects, COUNT(anyObjects));
  if (hasSlabs) attemptAll("", calls, callCount, slabObjects, COUNT(slabObjects));
  if (isElastic) attemptAll("", calls, callCount, elasticObjects, COUNT(elasticObjects));
  ATTEMPT_ALL(smallSizes, sizedSmall);
  ATTEMPT_ALL(runSizes, sizedRun);
  if (isElastic) ATTEMPT_ALL(spanSizes, sizedSpan);
  ATTEMPT_ALL(alignments, misaligned);
  return endAttempts();
}
