// What a malloc must do at its edges. Runs on the system's malloc too, where both must agree: that proves the test.
// Usage: conformance [extensions]. With the argument also the functions and rules that glibc lacks.
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The compiler knows malloc: through these it cannot reason allocations away, or warn about what is tested here on purpose.
static void *(*volatile p_malloc)(size_t) = malloc;
static void *(*volatile p_calloc)(size_t, size_t) = calloc;
static void *(*volatile p_realloc)(void *, size_t) = realloc;
static void *(*volatile p_reallocarray)(void *, size_t, size_t) = reallocarray;
static void *(*volatile p_aligned_alloc)(size_t, size_t) = aligned_alloc;
static void *(*volatile p_memalign)(size_t, size_t) = memalign;
static int (*volatile p_posix_memalign)(void **, size_t, size_t) = posix_memalign;
static void *(*volatile p_valloc)(size_t) = valloc;
static void *(*volatile p_pvalloc)(size_t) = pvalloc;
static void (*volatile p_free)(void *) = free;
static size_t (*volatile p_usable)(void *) = malloc_usable_size;

extern void *reallocf(void *, size_t) __attribute__((weak));
extern int reallocarr(void *, size_t, size_t) __attribute__((weak));
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
extern size_t malloc_size(const void *) __attribute__((weak));
extern size_t malloc_good_size(size_t) __attribute__((weak));
extern void vfree(void *) __attribute__((weak));
extern void cfree(void *) __attribute__((weak));

#define FAILS(error, call) (errno = 0, (call) == NULL && errno == (error))

// Dense objects below 8 bytes are aligned to 4.
static int isDense(void) {
  const char *small = getenv("MEMPOOL_SMALL");
  return small && !strcmp(small, "dense");
}

// A hardened object has as many bytes as were asked for.
static int isHardened(void) {
  const char *level = getenv("MEMPOOL_HARDEN");
  return level && *level >= '1';
}

static void sizes(void) {
  void *zero[8];
  for (int i = 0; i < 8; i++) {
    CHECK((zero[i] = p_malloc(0)) != NULL);
    for (int j = 0; j < i; j++) CHECK(zero[i] != zero[j]);
  }
  for (int i = 0; i < 8; i++) p_free(zero[i]);

  for (size_t size = 1; size < 300000; size += 1 + size / 7) {
    unsigned char *p = p_malloc(size);
    CHECK(p && (uintptr_t)p % (size >= 16 ? 16 : size < 8 && isDense() ? 4 : 8) == 0);
    CHECK(p_usable(p) >= size);
    memset(p, 0x5a, p_usable(p));
    unsigned char *zeroed = p_calloc(1, size);
    size_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += zeroed[i];
    CHECK(sum == 0);
    memset(zeroed, 0xa5, p_usable(zeroed));
    for (size_t i = 0; i < size; i++) sum += p[i] != 0x5a;
    CHECK(sum == 0);
    p_free(p);
    p_free(zeroed);
    zeroed = p_calloc(size, 1);  // what was dirty a moment ago
    for (size_t i = 0; i < size; i++) sum += zeroed[i];
    CHECK(sum == 0);
    p_free(zeroed);
  }

  CHECK(FAILS(ENOMEM, p_malloc(SIZE_MAX)));
  CHECK(FAILS(ENOMEM, p_malloc((size_t)PTRDIFF_MAX + 1)));
  CHECK(FAILS(ENOMEM, p_malloc(SIZE_MAX - 4096)));
  CHECK(FAILS(ENOMEM, p_malloc((size_t)1 << 48)));
  CHECK(FAILS(ENOMEM, p_calloc(SIZE_MAX, 2)));
  CHECK(FAILS(ENOMEM, p_calloc((size_t)1 << 32, (size_t)1 << 32)));
  CHECK(FAILS(ENOMEM, p_calloc(PTRDIFF_MAX, 2)));
  void *p = p_calloc(0, SIZE_MAX);
  CHECK(p != NULL);
  p_free(p);
  CHECK((p = p_calloc(SIZE_MAX, 0)) != NULL);
  p_free(p);
}

static void reallocation(void) {
  char *p = p_realloc(NULL, 100);
  CHECK(p != NULL);
  for (int i = 0; i < 100; i++) p[i] = (char)i;
  for (size_t size = 100; size < 4000000; size = size * 3 / 2) {
    CHECK((p = p_realloc(p, size)) != NULL && p_usable(p) >= size);
    int wrong = 0;
    for (int i = 0; i < 100; i++) wrong += p[i] != (char)i;
    CHECK(!wrong);
  }
  CHECK(FAILS(ENOMEM, p_realloc(p, (size_t)PTRDIFF_MAX + 1)));
  CHECK(FAILS(ENOMEM, p_realloc(p, (size_t)1 << 48)));
  CHECK(FAILS(ENOMEM, p_reallocarray(p, SIZE_MAX / 2, 3)));
  CHECK(p[99] == 99);  // still there after each failure
  CHECK((p = p_realloc(p, 50)) != NULL);
  int wrong = 0;
  for (int i = 0; i < 50; i++) wrong += p[i] != (char)i;
  CHECK(!wrong);
  CHECK((p = p_reallocarray(p, 10, 100)) != NULL && p[49] == 49);
  errno = 0;
  CHECK(p_realloc(p, 0) == NULL && errno == 0);  // freed
  CHECK((p = p_realloc(NULL, 0)) != NULL);
  p_free(p);
  CHECK((p = p_reallocarray(NULL, 0, 8)) != NULL);
  p_free(p);

  // No growth over no-op reallocations.
  p = p_malloc(100);
  void *same = p;
  for (int i = 0; i < 100000; i++) p = p_realloc(p, 100);
  CHECK(p == same);
  p_free(p);
}

static void alignment(void) {
  for (size_t align = 1; align <= (size_t)1 << 24; align <<= 1)
    for (size_t size = 0; size <= 100000; size = size * 5 + 1) {
      char *p = p_aligned_alloc(align, size);
      CHECK(p && (uintptr_t)p % align == 0 && p_usable(p) >= size);
      memset(p, 1, size);
      char *q = p_memalign(align, size);
      CHECK(q && (uintptr_t)q % align == 0);
      memset(q, 2, size);
      CHECK(size == 0 || (p[0] == 1 && p[size - 1] == 1));
      p_free(p);
      q = p_realloc(q, size + 1);
      CHECK(q && (size == 0 || q[size - 1] == 2));
      p_free(q);
      void *r = &r;
      if (align >= sizeof(void *)) {
        CHECK(p_posix_memalign(&r, align, size) == 0 && (uintptr_t)r % align == 0);
        p_free(r);
      }
    }
  void *untouched = &untouched;
  errno = 77;
  CHECK(p_posix_memalign(&untouched, 0, 8) == EINVAL);
  CHECK(p_posix_memalign(&untouched, 4, 8) == EINVAL);
  CHECK(p_posix_memalign(&untouched, 24, 8) == EINVAL);
  CHECK(p_posix_memalign(&untouched, SIZE_MAX, 8) == EINVAL);
  CHECK(p_posix_memalign(&untouched, 16, SIZE_MAX) == ENOMEM);
  CHECK(p_posix_memalign(&untouched, 4096, SIZE_MAX - 100) == ENOMEM);
  CHECK(p_posix_memalign(&untouched, (size_t)1 << 62, 8) == ENOMEM);
  CHECK(p_posix_memalign(&untouched, 64, (size_t)PTRDIFF_MAX + 1) == ENOMEM);
  CHECK(untouched == &untouched);
  CHECK(FAILS(ENOMEM, p_aligned_alloc(4096, SIZE_MAX - 100)));
  CHECK(FAILS(ENOMEM, p_memalign((size_t)1 << 62, 1)));
  CHECK(FAILS(EINVAL, p_memalign(SIZE_MAX - 4, 1)));

  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *p = p_valloc(10);
  CHECK(p && (uintptr_t)p % page == 0);
  p_free(p);
  p = p_pvalloc(page + 1);
  CHECK(p && (uintptr_t)p % page == 0 && p_usable(p) >= 2 * page);
  memset(p, 1, 2 * page);
  p_free(p);
  CHECK(FAILS(ENOMEM, p_valloc(SIZE_MAX)));
  CHECK(FAILS(ENOMEM, p_pvalloc(SIZE_MAX)));
  CHECK(FAILS(ENOMEM, p_pvalloc(SIZE_MAX - page + 2)));
}

static void errnoKept(void) {
  size_t sizes[] = {1, 100, 5000, 100000, 5000000, 200000000};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *p = p_malloc(sizes[i]), *q = p_aligned_alloc(4096, sizes[i]);
    p[0] = q[0] = 1;
    errno = 77;
    p_free(p);
    p_free(q);
    p_free(NULL);
    CHECK(errno == 77);
  }
  CHECK(p_usable(NULL) == 0);
}

// Their figures differ; what they say of themselves must hold in both.
static void statistics(void) {
  void *p = p_malloc(1000);
  struct mallinfo2 info = mallinfo2();
  CHECK(info.arena == info.uordblks + info.fordblks);
  char text[65536] = "";
  FILE *stream = fmemopen(text, sizeof text - 1, "w");
  CHECK(malloc_info(1, stream) == EINVAL);
  CHECK(malloc_info(0, stream) == 0);
  fclose(stream);
  CHECK(!strncmp(text, "<malloc version=\"1\">\n", 21) && strstr(text, "</malloc>\n"));
  p_free(p);
}

static void extensions(void) {
  CHECK(FAILS(EINVAL, p_aligned_alloc(0, 8)));
  CHECK(FAILS(EINVAL, p_aligned_alloc(24, 8)));
  CHECK(FAILS(EINVAL, p_memalign(0, 8)));
  CHECK(FAILS(EINVAL, p_memalign(48, 8)));
  void *untouched = &untouched;
  errno = 77;
  CHECK(p_posix_memalign(&untouched, 4096, SIZE_MAX - 100) == ENOMEM && errno == 77);  // glibc sets errno

  char *p = reallocf(NULL, 100);
  CHECK(p != NULL);
  CHECK((p = reallocf(p, 1000)) != NULL);
  CHECK(FAILS(ENOMEM, reallocf(p, SIZE_MAX)));

  // The pointer may lie anywhere, as it does in a packed record.
  struct __attribute__((packed)) { char c; char *p; } record = {1, NULL};
  errno = 77;
  CHECK(reallocarr(&record.p, 10, 100) == 0 && record.p && p_usable(record.p) >= 1000);
  record.p[0] = 'x', record.p[999] = 'y';
  CHECK(reallocarr(&record.p, 1000, 100) == 0 && p_usable(record.p) >= 100000);
  CHECK(record.p[0] == 'x' && record.p[999] == 'y');
  char *kept = record.p;
  CHECK(reallocarr(&record.p, SIZE_MAX / 2, 3) == EOVERFLOW && record.p == kept);
  CHECK(reallocarr(&record.p, SIZE_MAX / 2, 1) == ENOMEM && record.p == kept && kept[999] == 'y');
  CHECK(reallocarr(&record.p, 1, (size_t)1 << 48) == ENOMEM && record.p == kept && kept[999] == 'y');
  CHECK(reallocarr(&record.p, 0, 100) == 0 && record.p == NULL);
  CHECK(reallocarr(&record.p, 100, 0) == 0 && record.p == NULL);
  CHECK(errno == 77 && record.c == 1);
  p = p_malloc(100);
  CHECK(malloc_size(p) == p_usable(p) && malloc_size(NULL) == 0);
  free_sized(p, 100);
  free_sized(NULL, 100);
  p = p_aligned_alloc(64, 128);
  free_aligned_sized(p, 64, 128);
  // Of NULL nothing is looked at; what aligned_alloc accepts is accepted back.
  free_aligned_sized(NULL, 64, 128);
  free_aligned_sized(NULL, 24, 8);
  free_aligned_sized(NULL, 0, SIZE_MAX);
  free_sized(NULL, SIZE_MAX);
  for (size_t align = 0; align <= 5000; align++) free_aligned_sized(p_aligned_alloc(align, 8), align, 8);
  for (size_t size = 0; size < 5000; size++) free_sized(p_malloc(size), size);
  vfree(p_valloc(10));
  cfree(p_malloc(10));
  p = p_pvalloc(0);
  CHECK(p && p_usable(p) >= (size_t)sysconf(_SC_PAGESIZE));
  p_free(p);
  CHECK(mallopt(M_ARENA_MAX, 1) == 1 && mallopt(12345, 1) == 0);
  if (malloc_good_size)
    for (size_t size = 0; size < 200000; size += 1 + size / 50) {
      p = p_malloc(size);
      size_t good = malloc_good_size(size);
      // Of a size of which there are few, an object may be a third larger than it will be when there are more.
      CHECK(good >= size && p_usable(p) >= good && p_usable(p) <= good + good / (size <= 128 ? 16 : 3));
      p_free(p);
    }
}

int main(int count, char **arguments) {
  if (count > 1 && malloc_good_size) CHECK(malloc_good_size(1) == (isDense() ? 4 : isHardened() ? 1 : 8));  // before there is an object
  sizes();
  reallocation();
  alignment();
  errnoKept();
  statistics();
  if (count > 1 && !strcmp(arguments[1], "extensions")) extensions();
  malloc_trim(0);
  return failures != 0;
}
