// Misuse of libc's names, on the drop-in malloc.
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>

#define ALLOCATE(n) malloc(n)
#define RELEASE(p) free(p)
#define RELEASE_NAME "free"
#include "frees.h"

extern void *reallocf(void *, size_t) __attribute__((weak));
extern int reallocarr(void *, size_t, size_t) __attribute__((weak));
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
extern size_t malloc_size(const void *) __attribute__((weak));
extern void vfree(void *) __attribute__((weak));
extern void cfree(void *) __attribute__((weak));
extern void __libc_free(void *);
extern void *__libc_realloc(void *, size_t);

FREES(free, "free", free(p))
FREES(realloc, "realloc", hide(realloc(p, 300)))
FREES(realloc_to_0, "realloc", hide(realloc(p, 0)))
FREES(reallocarray, "reallocarray", hide(reallocarray(p, 3, 100)))
FREES(reallocf, "reallocf", hide(reallocf(p, 300)))
FREES(reallocarr, "reallocarr", reallocarr(&p, 3, 100))
FREES(reallocarr_to_0, "reallocarr", reallocarr(&p, 0, 100))
FREES(malloc_usable_size, "malloc_usable_size", malloc_usable_size(p))
FREES(malloc_size, "malloc_size", malloc_size(p))
FREES(free_sized, "free_sized", free_sized(p, 200))
FREES(cfree, "cfree", cfree(p))
FREES(vfree, "vfree", vfree(p))
FREES(libc_free, "__libc_free", __libc_free(p))
FREES(libc_realloc, "__libc_realloc", hide(__libc_realloc(p, 300)))

static void size_too_large(void) {
  void *p = small();
  EXPECT("free_sized(%p): not of this size", p);
  free_sized(p, 300);
}

static void size_too_small(void) {
  void *p = small();
  EXPECT("free_sized(%p): not of this size", p);
  free_sized(p, 20);
}

static void aligned_size_too_large(void) {
  void *p = hide(aligned_alloc(64, 128));
  EXPECT("free_aligned_sized(%p): not of this size", p);
  free_aligned_sized(p, 64, 1000);
}

static void alignment_too_large(void) {
  void *p = (void *)((uintptr_t)hide(aligned_alloc(4096, 8192)) + 64);
  EXPECT("free_aligned_sized(%p): not of this alignment", p);
  free_aligned_sized(p, 4096, 100);
}

static void alignment_absurd(void) {
  void *p = small();
  EXPECT("free_aligned_sized(%p): not of this alignment", p);
  free_aligned_sized(p, 24, 200);
}

static const Case cases[] = {
    FREES_CASES(free), FREES_CASES(realloc), FREES_CASES(realloc_to_0), FREES_CASES(reallocarray),
    FREES_CASES(reallocarr), FREES_CASES(reallocarr_to_0), FREES_CASES(reallocf), FREES_CASES(malloc_usable_size), FREES_CASES(malloc_size), FREES_CASES(free_sized),
    FREES_CASES(cfree), FREES_CASES(vfree), FREES_CASES(libc_free), FREES_CASES(libc_realloc),
    SEQUENCES_CASES,
    {"free_sized too large", size_too_large},
    {"free_sized too small", size_too_small},
    {"free_aligned_sized too large", aligned_size_too_large},
    {"free_aligned_sized not aligned", alignment_too_large},
    {"free_aligned_sized absurd alignment", alignment_absurd},
};

int main(int count, char **arguments) { return runCases(cases, sizeof cases / sizeof *cases, count, arguments); }
