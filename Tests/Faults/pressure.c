// pressure: threads allocate, resize, hand over and free while every nth call for memory fails, for some n, and while the address
// space ends just above what the process has, lower and higher all the time: in the middle of refills, of growth, of moves. What
// fails is NULL with ENOMEM, what is live stays as it is, and afterwards everything works and nothing is left.
//
// Each attempt is a child of its own. Compiled with DROP_IN it is about the malloc of the process.
#include "inject.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

#ifdef DROP_IN
static void *allocate(size_t size) { return malloc(size); }
static void *resize(void *p, size_t size) { return realloc(p, size); }
static void release(void *p) { free(p); }
static const char *const kinds[] = {"malloc"};
static int isHardened(int kind) { return !kind && (getenv("MEMPOOL_HARDEN") || getenv("MEMPOOL_GUARD_SAMPLE")); }
#else
#include <mempool.h>
static mp_pool_t *pool;
static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void *resize(void *p, size_t size) { return mp_pool_realloc(pool, p, size); }
static void release(void *p) { mp_pool_free(pool, p); }
static const char *const kinds[] = {"elastic", "small reservations", "dense",  "purged at once",
                                    "zeroing", "canaries",           "guards", "guards, small reservations"};
static const mp_pool_options_t options[] = {
    {0}, {.size = 2 << 20}, {.small_objects = MP_SMALL_DENSE}, {.purge_delay_ms = MP_NONE},
    {.flags = MP_POOL_ZEROING}, {.flags = MP_POOL_CANARIES}, {.flags = MP_POOL_GUARDS}, {.size = 2 << 20, .flags = MP_POOL_GUARDS}};
static int isHardened(int kind) { return (options[kind].flags & MP_POOL_GUARDS) != 0; }
#endif

enum { threadCount = 6, slotCount = 64 };
static int operations = 6000;

// A block says its size at its beginning and at its end.
static void *sign(size_t *block, size_t size) {
  block[0] = size;
  block[1] = ~size;
  ((unsigned char *)block)[size - 1] = (unsigned char)(size * 31);
  return block;
}

static size_t verify(const size_t *block) {
  DEMAND(block[0] == ~block[1]);
  DEMAND(((const unsigned char *)block)[block[0] - 1] == (unsigned char)(block[0] * 31));
  return block[0];
}

static size_t anySize(uint64_t bits) {
  switch (bits % 64) {
  case 0: return 1000000 + bits / 64 % 8000000;
  case 1: return 33600000 + bits / 64 % 10000000;
  case 2: case 3: case 4: case 5: return 20000 + bits / 64 % 400000;
  case 6: case 7: case 8: case 9: case 10: case 11: return 4000 + bits / 64 % 16000;
  default: return 17 + bits / 64 % 3000;
  }
}

// For all threads: what one leaves another takes.
static void *slots[slotCount];
static int done;
static pthread_barrier_t start;
static long refusals;

static void *work(void *argument) {
  uint64_t state = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15;
  pthread_barrier_wait(&start);
  for (int i = 0; i < operations; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    void **slot = &slots[state >> 20 & (slotCount - 1)];
    size_t size = anySize(state >> 26);
    void *old = __atomic_exchange_n(slot, NULL, __ATOMIC_ACQ_REL), *block = NULL;
    errno = 0;
    if (old && state % 3 == 0) {
      size_t before = verify(old);
      block = resize(old, size);
      if (block) DEMAND(((size_t *)block)[0] == before && ((size_t *)block)[1] == ~before);
      else verify(old), release(old);
      old = NULL;
    } else {
      block = allocate(size);
    }
    // errno is that of the call: a free, and a call that succeeds, may leave it alone.
    if (block) sign(block, size);
    else DEMAND(errno == ENOMEM), __atomic_add_fetch(&refusals, 1, __ATOMIC_RELAXED);
    if (old) verify(old), release(old);
    if (block) old = __atomic_exchange_n(slot, block, __ATOMIC_ACQ_REL);
    else old = NULL;
    if (old) verify(old), release(old);
  }
  __atomic_add_fetch(&done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static long addressSpace(void) {
  char text[64] = {0};
  int file = open("/proc/self/statm", O_RDONLY);
  DEMAND(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  return atol(text) * sysconf(_SC_PAGESIZE);
}

static int goOnReading(void) { return __atomic_load_n(&done, __ATOMIC_ACQUIRE) < threadCount; }

// Everything must work again, with all that was freed.
static void workAgain(void) {
  void *blocks[200];
  for (int i = 0; i < 200; i++) {
    size_t size = anySize((uint64_t)i * 64 + (uint64_t)i % 12);
    DEMAND((blocks[i] = allocate(size)) != NULL);
    sign(blocks[i], size);
  }
  for (int i = 0; i < 200; i++) verify(blocks[i]), release(blocks[i]);
}

// One attempt, in a child: every nth call fails, or, with 0, address space is short.
static long attempt(int kind, long every) {
  long before = 0;
  if (isHardened(kind)) operations = 700;
#ifndef DROP_IN
  // One that comes and goes: with the first pool comes the shared one, which stays.
  for (int i = 0; i < 2; i++) {
    DEMAND((pool = mp_pool_new(&options[kind])) != NULL);
    if (i == 0) mp_pool_destroy(pool), before = inject.mapped;
  }
#endif
  pthread_t threads[threadCount];
  DEMAND(!pthread_barrier_init(&start, NULL, threadCount + 1));
  for (uintptr_t i = 0; i < threadCount; i++) DEMAND(!pthread_create(&threads[i], NULL, work, (void *)(i + 1)));
  injectFrom(every ? 1 : LONG_MAX, LONG_MAX);
  inject.every = every;
  pthread_barrier_wait(&start);
  struct rlimit all;
  DEMAND(!getrlimit(RLIMIT_AS, &all));
  for (long round = 0; !every && goOnReading(); round++) {
    struct rlimit low = {(rlim_t)(addressSpace() + round % 7 * 500000), all.rlim_max};
    DEMAND(!setrlimit(RLIMIT_AS, &low));
    usleep(500);
    DEMAND(!setrlimit(RLIMIT_AS, &all));
    usleep(200);
  }
  for (int i = 0; i < threadCount; i++) DEMAND(!pthread_join(threads[i], NULL));
  injectNothing();
  long failed = inject.failed;
  for (int i = 0; i < slotCount; i++)
    if (slots[i]) verify(slots[i]), release(slots[i]);
  workAgain();
#ifndef DROP_IN
  mp_pool_destroy(pool);
  // The address map keeps its leaves, of 128 KiB each. A reservation or a span that is left is more than that.
  DEMAND(inject.mapped - inject.kept - before < 1 << 20);
#endif
  (void)before;
  return failed;
}

int main(void) {
  static const long every[] = {0, 1, 2, 3, 5, 11, 50};
  long *report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  long failed = 0, refused = 0;
  int attempts = 0;
  DEMAND(report != MAP_FAILED);
  for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
    for (size_t i = 0; i < sizeof every / sizeof *every; i++, attempts++) {
      pid_t child = fork();
      DEMAND(child >= 0);
      if (child == 0) {
        alarm(120);
        report[0] = attempt((int)kind, every[i]);
        report[1] = refusals;
        _exit(0);
      }
      int status;
      DEMAND(waitpid(child, &status, 0) == child);
      if (status) {
        fprintf(stderr, "%s, every %ld: status %#x\n", kinds[kind], every[i], status);
        return 1;
      }
      failed += report[0];
      refused += report[1];
    }
  // Of an address space that ends the kernel's refusals are counted, too.
  DEMAND(failed > 1000 && refused > 0);
  printf("%d attempts of %d threads: %ld calls for memory failed, %ld of the threads' calls\n", attempts, threadCount, failed, refused);
  return 0;
}
