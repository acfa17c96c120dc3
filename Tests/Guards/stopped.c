// stopped STOPS [SEED]: threads that stop in the middle of taking or freeing a sampled object.
//
// Needs MEMPOOL_GUARD_SAMPLE=1, so that each small object is one, and MEMPOOL_GUARD_SLOTS=512. First, two threads stop over and over at a random
// instruction, in a signal handler that waits until it is told to go on: the others go on getting sampled objects. Then a hundred threads stop
// like that for ever; the others still get sampled objects, and a child of a fork has all slots that hold no object.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(C_FACE)
#include <mempool.h>
#define MALLOC mp_malloc
#define FREE mp_free
#define USABLE mp_get_size
#else
#define MALLOC malloc
#define FREE free
#define USABLE malloc_usable_size
#endif

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(dprintf(2, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

enum { others = 2, victims = 2, forever = 100, slots = 512, kept = 3 };

static uint64_t next(uint64_t *seed) {
  uint64_t mixed = *seed += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  return mixed ^ mixed >> 31;
}

static void pause1(long nanoseconds) {
  struct timespec time = {0, nanoseconds};
  nanosleep(&time, NULL);
}

// --- Threads that stop

typedef struct {
  pthread_t thread;
  volatile int isInside, isWanted, isStopped, mayGoOn;
} victim_t;
static victim_t all[victims + forever];
static __thread victim_t *self;
static volatile int isOver;
static long stops;

static void stop(int signal) {
  (void)signal;
  int saved = errno;
  // Only where it counts: else whoever sent it tries again.
  if (!self || !self->isInside || !self->isWanted) return;
  sigset_t rest;
  sigfillset(&rest);
  sigdelset(&rest, SIGUSR2);
  stops++;  // one at a time
  __atomic_store_n(&self->isStopped, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&self->mayGoOn, __ATOMIC_ACQUIRE)) sigsuspend(&rest);
  __atomic_store_n(&self->isStopped, 0, __ATOMIC_RELEASE);
  errno = saved;
}
static void goOn(int signal) { (void)signal; }

static void *churns(void *argument) {
  self = argument;
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  // The first call of a thread makes it a heap, under a lock: that is another matter.
  for (int i = 0; i < 10; i++) FREE(MALLOC(100));
  while (!isOver) {
    size_t size = 17 + next(&seed) % 1000;
    self->isInside = 1;
    unsigned char *object = MALLOC(size);
    self->isInside = 0;
    object[0] = object[size - 1] = 1;
    self->isInside = 1;
    FREE(object);
    self->isInside = 0;
  }
  return NULL;
}

// Returns when the thread has stopped.
static void halt(victim_t *victim) {
  __atomic_store_n(&victim->mayGoOn, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&victim->isWanted, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&victim->isStopped, __ATOMIC_ACQUIRE)) {
    pthread_kill(victim->thread, SIGUSR1);
    pause1(10000);
  }
}

static void release(victim_t *victim) {
  __atomic_store_n(&victim->isWanted, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&victim->mayGoOn, 1, __ATOMIC_RELEASE);
  while (__atomic_load_n(&victim->isStopped, __ATOMIC_ACQUIRE)) {
    pthread_kill(victim->thread, SIGUSR2);
    pause1(10000);
  }
}

// --- Threads that go on

static pthread_t going[others];
static long sampled[others];

// Of this size an object that is not sampled has more.
static int isSampled(void *object) { return USABLE(object) == 100; }

static void *goes(void *argument) {
  intptr_t number = (intptr_t)argument;
  uint64_t seed = (uint64_t)number + 77;
  void *mine[kept] = {0};
  while (!isOver) {
    void **place = &mine[next(&seed) % kept];
    if (*place) FREE(*place);
    *place = MALLOC(100);
    memset(*place, 1, 100);
    if (isSampled(*place)) __atomic_add_fetch(&sampled[number], 1, __ATOMIC_RELAXED);
  }
  for (int i = 0; i < kept; i++)
    if (mine[i]) FREE(mine[i]);
  return NULL;
}

// Whether each of them gets so many more sampled objects, within ten seconds.
static int advance(long count) {
  long goals[others];
  for (int i = 0; i < others; i++) goals[i] = __atomic_load_n(&sampled[i], __ATOMIC_RELAXED) + count;
  for (long waited = 0; waited < 200000; waited++) {
    int ready = 1;
    for (int i = 0; i < others; i++) ready &= __atomic_load_n(&sampled[i], __ATOMIC_RELAXED) >= goals[i];
    if (ready) return 1;
    pause1(50000);
  }
  return 0;
}

static void demandProgress(const char *what, long number) {
  if (advance(50)) return;
  dprintf(2, "%s %ld: the others do not go on\n", what, number);
  _exit(1);
}

// Sampled objects that a process gets, of twice as many as there are slots.
static int room(void) {
  int count = 0;
  for (int i = 0; i < 2 * slots; i++) count += isSampled(MALLOC(100));
  return count;
}

static int roomOfChild(void) {
  int ends[2], status, count = -1;
  DEMAND(!pipe(ends));
  pid_t child = fork();
  DEMAND(child >= 0);
  if (!child) {
    alarm(30);  // else it would wait for ever
    count = room();
    _exit(write(ends[1], &count, sizeof count) != sizeof count);
  }
  DEMAND(waitpid(child, &status, 0) == child);
  if (status) {
    dprintf(2, "a forked child: status %d\n", status);
    _exit(1);
  }
  DEMAND(read(ends[0], &count, sizeof count) == sizeof count);
  return close(ends[0]), close(ends[1]), count;
}

int main(int count, char **arguments) {
  long wanted = count > 1 ? atol(arguments[1]) : 300;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 0) : (uint64_t)now.tv_nsec + (uint64_t)getpid(), first = seed;
  signal(SIGUSR1, stop);
  signal(SIGUSR2, goOn);
  FREE(MALLOC(100));
  for (intptr_t i = 0; i < others; i++) DEMAND(!pthread_create(&going[i], NULL, goes, (void *)i));
  for (int i = 0; i < victims; i++) DEMAND(!pthread_create(&all[i].thread, NULL, churns, &all[i]));
  demandProgress("start", 0);
  for (long number = 0; number < wanted; number++) {
    int halted = 1 + (int)(next(&seed) % victims);
    pause1((long)(next(&seed) % 50000));
    for (int i = 0; i < halted; i++) halt(&all[i]);
    demandProgress("stop", number);
    for (int i = 0; i < halted; i++) release(&all[i]);
  }
  for (int i = victims; i < victims + forever; i++) {
    DEMAND(!pthread_create(&all[i].thread, NULL, churns, &all[i]));
    pause1((long)(next(&seed) % 500000));
    halt(&all[i]);
    demandProgress("stopped for ever", i - victims);
  }
  // Some stopped threads' objects are live; of the others, the slots are claimed here, and free in a child.
  int inChild = roomOfChild();
  isOver = 1;
  for (int i = 0; i < others; i++) pthread_join(going[i], NULL);
  for (int i = 0; i < victims; i++) pthread_join(all[i].thread, NULL);
  int here = room();
  if (inChild < here + forever / 4) {
    dprintf(2, "%d slots to be had, %d in a forked child\n", here, inChild);
    _exit(1);
  }
  printf("%ld stops in the middle of a call, %d of them for ever; slots to be had then: %d, in a forked child %d; seed %llu\n", stops, forever,
         here, inChild, (unsigned long long)first);
  fflush(stdout);
  _exit(0);  // the stopped ones never end
}
