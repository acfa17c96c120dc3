// forks COUNT [LEVEL [SEED]]: fork at random points while other threads allocate, free and hand objects on; each child checks what it
// has, frees it, allocates and exits. About a pool of its own, of this level of hardening; compiled with DROP_IN about the malloc of the process.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef DROP_IN
static void *allocate(size_t size) { return malloc(size); }
static void *resize(void *p, size_t size) { return realloc(p, size); }
static void release(void *p) { free(p); }
#else
#include <mempool.h>
static mp_pool_t *pool;
static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void *resize(void *p, size_t size) { return mp_pool_realloc(pool, p, size); }
static void release(void *p) { mp_pool_free(pool, p); }
#endif

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(dprintf(2, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

// An object's first words: its size, and a number that both ends hold.
typedef struct {
  size_t size;
  uint64_t number;
} Object;

enum { threadCount = 3, slotCount = 48, sharedCount = 32 };
static Object *shared[sharedCount];
static volatile int isOver;

static uint64_t next(uint64_t *seed) {
  uint64_t mixed = *seed += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  return mixed ^ mixed >> 31;
}

static size_t anySize(uint64_t *seed) {
  uint64_t kind = next(seed) % 200, value = next(seed);
  size_t least = sizeof(Object) + 8;
  return kind < 150 ? least + value % 500 : kind < 190 ? least + value % 6000 : kind < 199 ? least + value % 100000 : least + value % 2000000;
}

static Object *mark(Object *object, size_t size, uint64_t number) {
  DEMAND(object != NULL);
  *object = (Object){size, number};
  memcpy((char *)object + size - 8, &number, 8);
  return object;
}

static void check(const Object *object) { DEMAND(!memcmp((const char *)object + object->size - 8, &object->number, 8)); }

static Object *make(uint64_t *seed) {
  size_t size = anySize(seed);
  return mark(allocate(size), size, next(seed));
}

static void drop(Object *object) {
  if (!object) return;
  check(object);
  release(object);
}

static void churn(Object **slots, uint64_t *seed, long steps) {
  for (long step = 0; steps ? step < steps : !isOver; step++) {
    uint64_t what = next(seed);
    Object **slot = &slots[(what >> 8) % slotCount];
    if (what % 16 == 0) {
      *slot = __atomic_exchange_n(&shared[(what >> 32) % sharedCount], *slot, __ATOMIC_ACQ_REL);
    } else if (what % 16 == 1 && *slot) {
      check(*slot);
      size_t size = anySize(seed);
      *slot = mark(resize(*slot, size), size, what);
    } else if (*slot) {
      drop(*slot);
      *slot = NULL;
    } else {
      *slot = make(seed);
    }
  }
}

// The others take what processors there are, but not from who forks: the faster it is, the more forks.
static void *work(void *argument) {
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10)) return NULL;
  Object *slots[slotCount] = {0};
  churn(slots, &seed, 0);
  for (int i = 0; i < slotCount; i++) drop(slots[i]);
  return NULL;
}

static void *workOfChild(void *argument) {
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  Object *slots[slotCount] = {0};
  churn(slots, &seed, 200);
  for (int i = 0; i < slotCount; i++) drop(slots[i]);
  return NULL;
}

static int child(Object **slots, uint64_t seed, int depth) {
  for (int i = 0; i < slotCount; i++)
    if (slots[i]) check(slots[i]);
  for (int i = 0; i < slotCount; i += 2) {
    drop(slots[i]);
    slots[i] = NULL;
  }
  // What others had handed on by the time of the fork is this process's, too.
  for (int i = 0; i < sharedCount; i++) drop(__atomic_exchange_n(&shared[i], NULL, __ATOMIC_ACQ_REL));
  churn(slots, &seed, 300);
  if (next(&seed) % 16 == 0) {
    pthread_t thread;
    DEMAND(!pthread_create(&thread, NULL, workOfChild, (void *)(uintptr_t)next(&seed)) && !pthread_join(thread, NULL));
  }
  if (depth == 0 && next(&seed) % 16 == 0) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) _exit(child(slots, seed, 1));
    DEMAND(waitpid(pid, &status, 0) == pid && status == 0);
  }
  for (int i = 0; i < slotCount; i++) drop(slots[i]);
  if (next(&seed) % 8 == 0) exit(0);
  return 0;
}

int main(int count, char **arguments) {
  long forks = count > 1 ? atol(arguments[1]) : 1000;
  struct timespec start, end;
  alarm((unsigned)(200 + forks / 20));
  clock_gettime(CLOCK_MONOTONIC, &start);
  uint64_t seed = count > 3 ? strtoull(arguments[3], NULL, 0) : (uint64_t)start.tv_nsec + (uint64_t)getpid(), first = seed;
#ifndef DROP_IN
  mp_pool_options_t options = {.flags = count > 2 ? (unsigned)atoi(arguments[2]) * MP_POOL_ZEROING : 0};
  if (!(pool = mp_pool_new(&options))) return 1;
#endif
  pthread_t threads[threadCount];
  for (int i = 0; i < threadCount; i++) DEMAND(!pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)next(&seed)));
  Object *slots[slotCount] = {0};
  for (long done = 0; done < forks; done++) {
    churn(slots, &seed, 1 + (long)(next(&seed) % 60));
    pid_t pid = fork();
    if (pid == 0) {
      alarm(30);
      _exit(child(slots, next(&seed), 0));
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
      dprintf(2, "fork %ld of seed %llu: status 0x%x\n", done, (unsigned long long)first, status);
      _exit(1);
    }
  }
  isOver = 1;
  for (int i = 0; i < threadCount; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < slotCount; i++) drop(slots[i]);
  for (int i = 0; i < sharedCount; i++) drop(shared[i]);
#ifndef DROP_IN
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  DEMAND(stats.allocated_bytes == 0);
  mp_pool_destroy(pool);
#endif
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("forks survived: %ld in %ld s; seed %llu\n", forks, (long)(end.tv_sec - start.tv_sec), (unsigned long long)first);
  return 0;
}
