// exhaustion: fill, fail, free one, succeed: pools of each backing and each answer to exhaustion, for sizes from 16 bytes to
// 1 MiB. Compiled with DROP_IN: the malloc of the process, as its environment says.
#ifndef DROP_IN
#include "inject.h"
#else
#include <errno.h>
#include <unistd.h>
#endif

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

// What is live is a list through the blocks; the end of each holds its beginning's complement.
typedef struct Block {
  struct Block *next;
} Block;

#ifdef DROP_IN
static void *allocate(size_t size) { return malloc(size); }
static void release(void *p) { free(p); }
#else
#include <mempool.h>
static mp_pool_t *pool;
static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void release(void *p) { mp_pool_free(pool, p); }
#endif

static void push(Block **list, Block *block, size_t size) {
  memset((char *)block + size - 1, 0x5a, 1);
  if (size >= 16) memset((char *)block + size - 8, 0x5a, 8);
  block->next = *list;
  *list = block;
}

static Block *pop(Block **list, size_t size) {
  Block *block = *list;
  DEMAND(((unsigned char *)block)[size - 1] == 0x5a);
  *list = block->next;
  return block;
}

static size_t fill(Block **list, size_t size, size_t most) {
  size_t count = 0;
  Block *block;
  errno = 0;
  while (count < most && (block = allocate(size)) != NULL) {
    push(list, block, size);
    count++;
  }
  DEMAND(count == most || errno == ENOMEM);
  return count;
}

static void empty(Block **list, size_t size) {
  while (*list) release(pop(list, size));
}

// A thread that only frees. It is there from the start: a full process can make no more.
static sem_t handed, freed;
static void *inHand;

static void *releaseElsewhere(void *unused) {
  while (!sem_wait(&handed) && inHand) {
    release(inHand);
    sem_post(&freed);
  }
  return unused;
}

static void startOther(void) {
  pthread_t thread;
  DEMAND(!sem_init(&handed, 0, 0) && !sem_init(&freed, 0, 0));
  DEMAND(!pthread_create(&thread, NULL, releaseElsewhere, NULL) && !pthread_detach(thread));
}

static long recoveries;
// Objects that may lie elsewhere than in the pool, between guard pages: what these leave, other samples get.
static long guarded;

// Full: every other block is freed, one at a time, and each time one can be had again; every eighth one is freed by another thread.
static void freeOneAndSucceed(Block **list, size_t size) {
  Block *others = NULL;
  long elsewhere = 0;
  for (int round = 0; *list && round < 64; round++) {
    Block *block = pop(list, size);
    if (round % 8 == 7) {
      inHand = block;
      sem_post(&handed);
      DEMAND(!sem_wait(&freed));
    } else {
      release(block);
    }
    block = allocate(size);
    if (block) {
      recoveries++;
      push(&others, block, size);
    } else {
      DEMAND(errno == ENOMEM && ++elsewhere <= guarded);
    }
    if (*list) push(&others, pop(list, size), size);
  }
  while (others) push(list, pop(&others, size), size);
}

static void fillAndFail(size_t size) {
  Block *list = NULL;
  size_t count = fill(&list, size, SIZE_MAX);
  DEMAND(count > 0);
  freeOneAndSucceed(&list, size);
  empty(&list, size);
  // It was all given back: as much again, but for what bookkeeping keeps.
  size_t again = fill(&list, size, SIZE_MAX);
  DEMAND(again + again / 8 + 1 >= count);
  empty(&list, size);
}

static size_t sizeAt(int step) { return step % 2 ? (size_t)24 << step / 2 : (size_t)16 << step / 2; }
enum { steps = 33 };

#ifdef DROP_IN

int main(void) {
  const char *slots = getenv("MEMPOOL_GUARD_SLOTS");
  if (slots) guarded = atol(slots);
  startOther();
  for (int step = 0; step < steps; step++) fillAndFail(sizeAt(step));
  for (int step = steps; step-- > 0;) fillAndFail(sizeAt(step) - 3);
  char line[100];
  int length = snprintf(line, sizeof line, "recovered %ld times, in %d sizes\n", recoveries, 2 * steps);
  return write(1, line, (size_t)length) != length;
}

#else

enum { poolSize = 8 << 20, hardenedSize = 2 << 20 };
static char buffer[poolSize];
typedef struct {
  const char *name;
  int isRefused;  // it is full when the system gives nothing any more
  mp_pool_options_t options;
} Kind;
static const Kind kinds[] = {
    {"elastic", 1, {.size = poolSize}},
    {"elastic, dense", 1, {.size = poolSize, .small_objects = MP_SMALL_DENSE}},
    {"fixed", 0, {.backing = MP_BACKING_FIXED, .size = poolSize}},
    {"fixed, dense", 0, {.backing = MP_BACKING_FIXED, .size = poolSize, .small_objects = MP_SMALL_DENSE}},
    {"buffer", 0, {.backing = MP_BACKING_BUFFER, .size = poolSize, .start = buffer}},
    {"zeroing", 1, {.size = hardenedSize, .flags = MP_POOL_ZEROING}},
    {"canaries", 1, {.size = hardenedSize, .flags = MP_POOL_CANARIES}},
    {"guards", 1, {.size = hardenedSize, .flags = MP_POOL_GUARDS}},
    {"guards, dense", 1, {.size = hardenedSize, .small_objects = MP_SMALL_DENSE, .flags = MP_POOL_GUARDS}},
    {"canaries, fixed", 0, {.backing = MP_BACKING_FIXED, .size = hardenedSize, .flags = MP_POOL_CANARIES}},
    {"pass-through", 1, {.backing = MP_BACKING_PASS_THROUGH}},
};

static mp_stats_t statistics(void) {
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  return stats;
}

// No more from the system for this pool, but what exceeds a pool may come from libc.
static void refuse(const Kind *kind) {
  if (!kind->isRefused) return;
  release(allocate(1 << 20));
  inject.onlyMaps = 1;
  injectFrom(1, __LONG_MAX__);
  if (kind->options.backing != MP_BACKING_PASS_THROUGH) return;
  char text[64] = {0};
  int file = open("/proc/self/statm", O_RDONLY);
  DEMAND(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  struct rlimit limit = {(rlim_t)(atol(text) * sysconf(_SC_PAGESIZE) + (48 << 20)), RLIM_INFINITY};
  DEMAND(!setrlimit(RLIMIT_AS, &limit));
}

static void fails(const Kind *kind, size_t size) {
  fillAndFail(size);
  injectNothing();
  if (kind->options.backing == MP_BACKING_PASS_THROUGH) return;
  DEMAND(statistics().allocated_bytes == 0 && statistics().exhaustions >= 2);
}

static void goesToTheSystem(const Kind *kind, size_t size) {
  Block *list = NULL;
  size_t wanted = kind->options.size / size * 5 / 4 + 2, count = fill(&list, size, wanted);
  DEMAND(count == wanted && statistics().fallback_count > 0 && statistics().fallback_live_count > 0);
  freeOneAndSucceed(&list, size);
  empty(&list, size);
  DEMAND(statistics().fallback_live_count == 0 && statistics().allocated_bytes == 0);
}

// In a child, which ends at its first refusal.
static void aborts(const Kind *kind, size_t size) {
  char expected[100], said[200] = {0};
  int ends[2], status = 0;
  snprintf(expected, sizeof expected, "mempool: mp_pool_malloc(%zu): out of memory\n", size);
  DEMAND(!pipe(ends));
  pid_t pid = fork();
  if (pid == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    dup2(ends[1], 2);
    refuse(kind);
    Block *list = NULL;
    fill(&list, size, SIZE_MAX);
    _exit(1);
  }
  close(ends[1]);
  ssize_t length = read(ends[0], said, sizeof said - 1);
  close(ends[0]);
  DEMAND(pid > 0 && waitpid(pid, &status, 0) == pid);
  if (length > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !strcmp(said, expected)) {
    recoveries++;
    return;
  }
  fprintf(stderr, "status 0x%x, says: %s", status, said);
  _exit(99);
}

static void run(const Kind *kind, mp_exhaustion_t exhaustion, size_t size) {
  mp_pool_options_t options = kind->options;
  options.exhaustion = exhaustion;
  // Each object beyond the pool would wait for memory first.
  if (exhaustion == MP_EXHAUSTION_SYSTEM) options.max_retries = MP_NONE;
  DEMAND((pool = mp_pool_new(&options)) != NULL);
  if (exhaustion == MP_EXHAUSTION_ABORT) {
    aborts(kind, size);
  } else {
    refuse(kind);
    // There is no system's allocator beside the one that everything goes to.
    if (exhaustion == MP_EXHAUSTION_FAIL || options.backing == MP_BACKING_PASS_THROUGH) fails(kind, size);
    else goesToTheSystem(kind, size);
  }
  injectNothing();
  mp_pool_destroy(pool);
}

// In a child of its own: the limit on its memory stays.
static long runAlone(const Kind *kind, int answer, size_t size) {
  static const char *const answers[] = {"fails", "aborts", "goes to the system"};
  int ends[2], status = -1;
  long done = 0;
  DEMAND(!pipe(ends));
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    startOther();
    run(kind, (mp_exhaustion_t)answer, size);
    _exit(write(ends[1], &recoveries, sizeof recoveries) != sizeof recoveries);
  }
  close(ends[1]);
  ssize_t length = read(ends[0], &done, sizeof done);
  close(ends[0]);
  if (pid > 0 && waitpid(pid, &status, 0) == pid && !status && length == sizeof done) return done;
  fprintf(stderr, "%s, %s, %zu bytes: status 0x%x\n", kind->name, answers[answer], size, status);
  exit(1);
}

int main(void) {
  long done = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (int answer = 0; answer < 3; answer++)
      // A third of the sizes where all takes longer.
      for (int step = 0; step < steps; step += kinds[i].options.flags & MP_POOL_GUARDS ? 3 : 1) {
        done += runAlone(&kinds[i], answer, sizeAt(step));
        if (answer == 0) done += runAlone(&kinds[i], answer, sizeAt(step) + 8 * (size_t)step - 1);
      }
  printf("recovered or aborted as documented: %ld times, %zu kinds, 3 answers, up to %d sizes\n", done, sizeof kinds / sizeof *kinds, steps);
  return 0;
}

#endif
