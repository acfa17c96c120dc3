// limits KIND: what the surroundings may do to an allocator, and what must stay flat.
//   half      maps half of the address-space limit itself, then allocates and frees on
//   gibibyte  1 GiB live in small and large objects, checked; the runner makes reservations small
//   alive     1000 threads at once, each with objects
//   absurd    sizes and alignments that no memory has fail; with `more`, then everything is taken
//   lacking   sizes that this machine does not have fail, and leave nothing behind
//   short     100,000 threads one after another: memory in use stays where it is
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static size_t residentPages(void) {
  size_t total = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%zu %zu", &total, &resident) != 2) resident = 0;
  if (file) fclose(file);
  return resident;
}

static void fill(size_t total, size_t size) {
  void **chain = NULL;
  for (size_t done = 0; done < total; done += size) {
    void **p = malloc(size);
    CHECK(p != NULL);
    if (!p) break;
    memset(p, 0x33, size);
    *p = chain;
    chain = p;
  }
  int wrong = 0;
  while (chain) {
    void **next = *chain;
    wrong += ((unsigned char *)chain)[size - 1] != 0x33;
    free(chain);
    chain = next;
  }
  CHECK(!wrong);
}

static void half(void) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY);
  fill(1 << 20, 100);
  void *mine = mmap(NULL, limit.rlim_cur / 2, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(mine != MAP_FAILED);
  fill(limit.rlim_cur / 16, 1000);
  fill(limit.rlim_cur / 16, 100000);
}

static void gibibyte(void) {
  fill((size_t)512 << 20, 1000);
  fill((size_t)512 << 20, 50000);
  enum { count = 256 };
  char *large[count];
  for (int i = 0; i < count; i++) {
    CHECK((large[i] = malloc(4 << 20)) != NULL);
    if (large[i]) large[i][0] = large[i][(4 << 20) - 1] = (char)i;
  }
  for (int i = 0; i < count; i++) {
    CHECK(large[i] && large[i][0] == (char)i && large[i][(4 << 20) - 1] == (char)i);
    free(large[i]);
  }
}

// The compiler knows malloc.
static void *(*volatile p_malloc)(size_t) = malloc;
static void *(*volatile p_realloc)(void *, size_t) = realloc;

// What the machine lacks it refuses, unless it was told to promise everything, and the attempt leaves nothing behind.
static void moreThanThereIs(void) {
  FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
  int promisesAll = !file || fgetc(file) == '1';
  if (file) fclose(file);
  size_t before = residentPages(), machine = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
  for (int bits = 36; bits < 47; bits++) {
    if (((size_t)1 << bits) / 2 < machine) continue;
    void *p = p_malloc((size_t)1 << bits), *aligned = aligned_alloc((size_t)1 << bits, 64), *resized = p_realloc(p_malloc(64 << 20), (size_t)1 << bits);
    if (!promisesAll) CHECK(!p && !aligned && !resized);
    free(p), free(aligned), free(resized);
  }
  if (!promisesAll) CHECK(residentPages() - before < 1000);
}

static void absurd(int more) {
  static volatile size_t huge = SIZE_MAX;
  void *untouched = NULL, *p = p_malloc(100);
  CHECK(p_malloc(huge) == NULL && p_malloc(huge / 2 + 1) == NULL && p_malloc(huge / 4) == NULL);
  CHECK(calloc(huge, 2) == NULL && calloc(huge / 2, 1) == NULL && calloc(huge / 8, 2) == NULL);
  CHECK(p_realloc(p, huge) == NULL && p_realloc(p, huge / 2 - 100) == NULL && p_realloc(NULL, huge) == NULL);
  CHECK(aligned_alloc(64, huge - 100) == NULL && aligned_alloc((size_t)1 << 62, 8) == NULL);
  CHECK(posix_memalign(&untouched, 64, huge / 2) != 0);
  free(p);
  while (more && p_malloc(100000)) continue;
}

static pthread_barrier_t barrier;

static void *allocateAndWait(void *unused) {
  void *objects[20];
  for (size_t i = 0; i < 20; i++) objects[i] = malloc(i * 40);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 20; i++) free(objects[i]);
  return unused;
}

static void alive(void) {
  enum { count = 1000 };
  static pthread_t threads[count];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 << 10);
  for (int round = 0; round < 3; round++) {
    pthread_barrier_init(&barrier, NULL, count);
    for (int i = 0; i < count; i++) CHECK(pthread_create(&threads[i], &attributes, allocateAndWait, NULL) == 0);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  }
}

static void *allocateSome(void *object) {
  free(object);
  void *p = malloc(300), *q = malloc(3000);
  free(p);
  free(q);
  return malloc(100);
}

static void shortThreads(void) {
  size_t before = 0;
  void *object = NULL;
  for (int i = 0; i < 100000; i++) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, allocateSome, object) == 0);
    pthread_join(thread, &object);
    if (i == 2000) before = residentPages();
  }
  free(object);
  size_t after = residentPages();
  CHECK(after <= before + 256);
  if (after > before + 256) fprintf(stderr, "resident pages: %zu after 2,000 threads, %zu after 100,000\n", before, after);
}

int main(int count, char **arguments) {
  const char *kind = count > 1 ? arguments[1] : "";
  if (!strcmp(kind, "half")) half();
  else if (!strcmp(kind, "gibibyte")) gibibyte();
  else if (!strcmp(kind, "alive")) alive();
  else if (!strcmp(kind, "absurd")) absurd(count > 2);
  else if (!strcmp(kind, "short")) shortThreads();
  else if (!strcmp(kind, "lacking")) moreThanThereIs();
  else return 2;
  return failures != 0;
}
