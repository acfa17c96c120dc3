// Misuse of libc's names, on the drop-in malloc, also with MEMPOOL_SMALL=dense and in fixed mode.
#define _GNU_SOURCE
#include "objects.h"

enum { subjectBytes = 200 };
#include "libc-names.h"

static const Object anyObjects[] = {OBJECTS_OF_ANY_POOL, OBJECTS_OF_OTHERS};
static const Object slabObjects[] = {OBJECTS_OF_SLABS};
static const Object mediumObjects[] = {OBJECTS_OF_MEDIUM};
static const Object elasticObjects[] = {OBJECTS_OF_ELASTIC};

// --- Sizes and alignments that the object was not asked for with

CALLS(too_large, (free_sized(p, 300), 0))
CALLS(too_small, (free_sized(p, 20), 0))
CALLS(aligned_too_large, (free_aligned_sized(p, 64, 1 << 20), 0))
CALLS(aligned_huge, (free_aligned_sized(p, 64, huge), 0))
CALLS(absurd_alignment, (free_aligned_sized(p, 24, 200), 0))
CALLS(no_alignment, (free_aligned_sized(p, 0, 200), 0))
CALLS(misaligned, (free_aligned_sized(p, 4096, 100), 0))
CALLS(medium_too_large, (free_sized(p, 9000), 0))
CALLS(medium_too_small, (free_sized(p, 200), 0))
CALLS(run_too_large, (free_sized(p, 50000), 0))
CALLS(run_too_small, (free_sized(p, 200), 0))
CALLS(span_too_large, (free_sized(p, huge), 0))
CALLS(span_too_small, (free_sized(p, 5000), 0))

static const Call smallSizes[] = {
    {"free_sized", call_too_large, 0}, {"free_sized", call_too_small, 0}, {"free_sized", call_span_too_large, 0},
    {"free_aligned_sized", call_aligned_too_large, 0}, {"free_aligned_sized", call_aligned_huge, 0},
};
static const Call mediumSizes[] = {{"free_sized", call_medium_too_large, 0}, {"free_sized", call_medium_too_small, 0}};
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
static const Object sizedMedium[] = {{"medium, live", medium, NULL, "not of this size", NULL}};
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
  if (hasSlabs && isElastic) attemptAll("", calls, callCount, mediumObjects, COUNT(mediumObjects));
  if (isElastic) attemptAll("", calls, callCount, elasticObjects, COUNT(elasticObjects));
  ATTEMPT_ALL(smallSizes, sizedSmall);
  ATTEMPT_ALL(mediumSizes, sizedMedium);
  ATTEMPT_ALL(runSizes, sizedRun);
  if (isElastic) ATTEMPT_ALL(spanSizes, sizedSpan);
  ATTEMPT_ALL(alignments, misaligned);
  return endAttempts();
}
