// cancel ROUNDS [LEVEL [SEED]]: threads that are cancelled or exit in mid-use. No call of the allocator is a cancellation point: a thread
// that were cancelled inside would leave a claim or a lock behind, and misuse would not end the process.
//
// About a pool of its own, of this level of hardening; compiled with DROP_IN about the malloc of the process.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Not to be cancelled while it says why.
#define DEMAND(condition)                                                        \
  ((condition) ? (void)0                                                         \
               : (void)(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &(int){0}), \
                        dprintf(2, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

#ifdef DROP_IN
#include <malloc.h>
static void *allocate(size_t size) { return malloc(size); }
static void *resize(void *p, size_t size) { return realloc(p, size); }
static void release(void *p) { free(p); }
// Of what was asked for with 100 bytes: hardened or sampled, it has just these.
static int isChecked(void *p) { return malloc_usable_size(p) == 100; }
#else
#include <mempool.h>
static mp_pool_t *pool;
static mp_pool_options_t options;
static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void *resize(void *p, size_t size) { return mp_pool_realloc(pool, p, size); }
static void release(void *p) { mp_pool_free(pool, p); }
static int isChecked(void *p) { return p != NULL; }
#endif

static uint64_t next(uint64_t *seed) {
  uint64_t mixed = *seed += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  return mixed ^ mixed >> 31;
}

// --- With a cancellation pending, each call comes back.

static int cameBack;

static void *calls(void *unused) {
  pthread_cancel(pthread_self());
  for (size_t i = 0; i < 3000; i++) {
    void *object = allocate(i);
    DEMAND((object = resize(object, i * 20)) != NULL || i == 0);
    release(object);
  }
  cameBack++;
  pthread_testcancel();
  DEMAND(0);
  return unused;
}

#ifndef DROP_IN

static void *fullPool(void *unused) {
  static char buffer[1 << 20];
  mp_pool_options_t bounded = {
      .backing = MP_BACKING_BUFFER, .start = buffer, .size = sizeof buffer, .wait_ns = 100000, .flags = options.flags};
  mp_pool_t *small = mp_pool_new(&bounded);
  DEMAND(small);
  while (mp_pool_malloc(small, 1000)) continue;
  pthread_cancel(pthread_self());
  // Each of these sleeps: there may be room in a moment.
  DEMAND(!mp_pool_malloc(small, 1000) && !mp_pool_malloc(small, 50000) && !mp_pool_calloc(small, 1, 9000));
  atomic_t cells[4] = {~0ul, ~0ul, ~0ul, ~0ul};
  DEMAND(mp_bitmap_alloc(cells, 256, 1) == -1 && mp_bitmap_alloc_cells(cells, 256, 2) == -1);
  mp_stats_t stats;
  mp_pool_stats_read(small, &stats);
  DEMAND(stats.exhaustions >= 4 && stats.resident_bytes > 0);
  mp_stats_read(&stats);
  cameBack++;
  pthread_testcancel();
  DEMAND(0);
  return unused;
}

static void *written(void *descriptor) {
  pthread_cancel(pthread_self());
  DEMAND(mp_stats_print((int)(intptr_t)descriptor, 0) == 0 && mp_pool_stats_print(pool, (int)(intptr_t)descriptor, 1) == 0);
  mp_pool_purge(pool);
  cameBack++;
  pthread_testcancel();
  DEMAND(0);
  return NULL;
}

#endif

static void *misuse(void *unused) {
  void *object = allocate(100);
  for (int i = 0; i < 1000 && !isChecked(object); i++) object = allocate(100);
  void *volatile again = object;
  release(object);
  pthread_cancel(pthread_self());
  release(again);
  return unused;
}

static void join(void *(*body)(void *), void *argument, void *expected) {
  pthread_t thread;
  void *result = NULL;
  DEMAND(!pthread_create(&thread, NULL, body, argument) && !pthread_join(thread, &result));
  DEMAND(result == expected);
}

static void noCancellationPoints(void) {
  int nowhere = open("/dev/null", O_WRONLY);
  join(calls, NULL, PTHREAD_CANCELED);
  DEMAND(cameBack == 1);
#ifndef DROP_IN
  join(fullPool, NULL, PTHREAD_CANCELED);
  join(written, (void *)(intptr_t)nowhere, PTHREAD_CANCELED);
  DEMAND(cameBack == 3);
#endif
  pid_t pid = fork();
  if (pid == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    dup2(nowhere, 2);
    join(misuse, NULL, NULL);
    _exit(0);
  }
  int status = 0;
  DEMAND(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

// --- Threads that are cancelled, or exit, at any time between two calls; what they had is others', or freed by handlers.

enum { slotCount = 40, sharedCount = 64, atOnce = 6 };
static unsigned char *shared[sharedCount];
static pthread_key_t key;
static long cancelled, exited;

typedef struct {
  unsigned char *slots[slotCount];
  uint64_t seed;
  int freesAtEnd;
} Own;

// Size and mark in the first bytes, the mark in the last.
static unsigned char *make(uint64_t *seed) {
  uint64_t kind = next(seed) % 100, value = next(seed);
  uint32_t size = (uint32_t)(16 + (kind < 80 ? value % 1000 : kind < 98 ? value % 40000 : value % 1500000));
  unsigned char *bytes = allocate(size);
  DEMAND(bytes);
  memcpy(bytes, &size, 4);
  bytes[4] = bytes[size - 1] = (unsigned char)value;
  return bytes;
}

static void drop(unsigned char *bytes) {
  if (!bytes) return;
  uint32_t size;
  memcpy(&size, bytes, 4);
  DEMAND(bytes[4] == bytes[size - 1]);
  release(bytes);
}

// The end of a thread, by whatever way: it still allocates, and leaves behind what it does not free.
static void atEnd(void *argument) {
  Own *own = argument;
  for (int i = 0; i < slotCount; i++) {
    if (own->freesAtEnd) {
      drop(own->slots[i]);
      continue;
    }
    unsigned char **place = &shared[next(&own->seed) % sharedCount];
    drop(__atomic_exchange_n(place, own->slots[i], __ATOMIC_ACQ_REL));
  }
  drop(make(&own->seed));
}

static void destructor(void *bytes) { drop(bytes); }

static void *use(void *argument) {
  Own own = {.seed = (uint64_t)(uintptr_t)argument};
  own.freesAtEnd = next(&own.seed) % 2 == 0;
  long last = next(&own.seed) % 3 == 0 ? (long)(next(&own.seed) % 3000) : -1;
  pthread_cleanup_push(atEnd, &own);
  pthread_setspecific(key, make(&own.seed));
  for (long step = 0; step != last; step++) {
    uint64_t what = next(&own.seed);
    unsigned char **slot = &own.slots[what % slotCount];
    if (what >> 32 & 1) {
      drop(*slot);
      *slot = NULL;
      *slot = make(&own.seed);
    } else {
      *slot = __atomic_exchange_n(&shared[(what >> 8) % sharedCount], *slot, __ATOMIC_ACQ_REL);
    }
    if (what >> 40 & 1) {
      // Where nothing is allocated a thread may be cancelled at any instruction.
      int before;
      pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
      for (volatile int i = 0; i < 100; i++) continue;
      pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &before);
    }
    pthread_testcancel();
  }
  pthread_exit(NULL);
  pthread_cleanup_pop(1);
  return NULL;
}

int main(int count, char **arguments) {
  long rounds = count > 1 ? atol(arguments[1]) : 500;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t seed = count > 3 ? strtoull(arguments[3], NULL, 0) : (uint64_t)now.tv_nsec + (uint64_t)getpid(), first = seed;
  alarm((unsigned)(120 + rounds / 5));
#ifndef DROP_IN
  options.flags = count > 2 ? (unsigned)atoi(arguments[2]) * MP_POOL_ZEROING : 0;
  DEMAND((pool = mp_pool_new(&options)) != NULL);
#endif
  DEMAND(!pthread_key_create(&key, destructor));
  noCancellationPoints();
  for (long round = 0; round < rounds; round++) {
    pthread_t threads[atOnce];
    for (int i = 0; i < atOnce; i++) DEMAND(!pthread_create(&threads[i], NULL, use, (void *)(uintptr_t)next(&seed)));
    for (int i = 0; i < atOnce; i++) {
      struct timespec pause = {0, (long)(next(&seed) % 300000)};
      nanosleep(&pause, NULL);
      pthread_cancel(threads[i]);
    }
    for (int i = 0; i < atOnce; i++) {
      void *result = NULL;
      pthread_join(threads[i], &result);
      if (result == PTHREAD_CANCELED) cancelled++;
      else exited++;
    }
  }
  for (int i = 0; i < sharedCount; i++) drop(shared[i]);
#ifndef DROP_IN
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  DEMAND(stats.allocated_bytes == 0 && stats.owned_heap_count <= 3);
  mp_pool_destroy(pool);
#endif
  printf("threads cancelled: %ld, exited in mid-use: %ld; seed %llu\n", cancelled, exited, (unsigned long long)first);
  return 0;
}
