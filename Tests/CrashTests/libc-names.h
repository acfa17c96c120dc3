// libc's names on the drop-in malloc, each as a call on one pointer, for who commits misuse through all of them. Before it: `subjectBytes`, what
// is asked for, and `hide`.
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
CALLS(free_sized, (free_sized(p, subjectBytes), 0))
CALLS(free_aligned_sized, (free_aligned_sized(p, 1, subjectBytes), 0))
CALLS(cfree, (cfree(p), 0))
CALLS(vfree, (vfree(p), 0))
CALLS(libc_free, (__libc_free(p), 0))
CALLS(libc_cfree, (__libc_cfree(p), 0))
CALLS(libc_realloc, hide(__libc_realloc(p, 300)))

// What was asked for, to the byte.
static void measured(size_t seen) {
  if (seen != subjectBytes) fprintf(stderr, "%zu bytes, not %zu\n", seen, subjectBytes);
}
CALLS(malloc_usable_size, (measured(malloc_usable_size(p)), 0))
CALLS(malloc_size, (measured(malloc_size(p)), 0))

static const Call calls[] = {
    {"free", call_free, 0},
    {"realloc", call_realloc, 1},
    {"malloc_usable_size", call_malloc_usable_size, 1, 0, 1},
    {"realloc", call_realloc_to_less, 1, 1},
    {"realloc", call_realloc_to_0, 0},
    {"reallocarray", call_reallocarray, 1, 1},
    {"reallocf", call_reallocf, 1, 1},
    {"reallocarr", call_reallocarr, 1, 1},
    {"reallocarr", call_reallocarr_to_0, 0, 1},
    {"malloc_size", call_malloc_size, 1, 1, 1},
    {"free_sized", call_free_sized, 0},
    {"free_aligned_sized", call_free_aligned_sized, 0},
    {"cfree", call_cfree, 0, 1},
    {"vfree", call_vfree, 0, 1},
    {"__libc_free", call_libc_free, 0, 1},
    {"__libc_cfree", call_libc_cfree, 0, 1},
    {"__libc_realloc", call_libc_realloc, 1, 1},
};
