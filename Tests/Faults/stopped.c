// stopped STOPS SECONDS [LEVEL [SEED]]: signals in the middle of calls.
//
// First, threads that stop at a random instruction, in a handler that waits until it is told to go on: whatever claims and
// leases they hold, the others go on allocating, on all ways that take no lock. Then, signals that come many thousand times a
// second, with a handler that does not allocate: nothing breaks, on all ways there are.
//
// About pools of its own, of this level of hardening; compiled with DROP_IN about the malloc of the process, for whose first part
// there must be MEMPOOL_FIXED=32M.
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(dprintf(2, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

static uint64_t next(uint64_t *seed) {
  uint64_t mixed = *seed += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  return mixed ^ mixed >> 31;
}

#ifdef DROP_IN
#include <malloc.h>
static void *allocate(size_t size) { return malloc(size); }
static void release(void *p) { free(p); }
#else
#include <mempool.h>
static mp_pool_t *pool;
static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void release(void *p) { mp_pool_free(pool, p); }
#endif
static volatile int isOver;

// --- Where the allocator's code lies.

static uintptr_t codeStart, codeEnd;

static int findCode(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size, (void)unused;
  if (!strstr(info->dlpi_name, "libmempool")) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
    codeStart = info->dlpi_addr + part->p_vaddr;
    codeEnd = codeStart + part->p_memsz;
  }
  return 1;
}

static int isInside(void *context) {
#if defined(__x86_64__)
  uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  uintptr_t at = ((ucontext_t *)context)->uc_mcontext.pc;
#else
  uintptr_t at = 0;
  (void)context;
#endif
  return at >= codeStart && at < codeEnd;
}

// --- Threads that stop.

enum { victims = 2, others = 2, all = victims + others, classes = 12, runs = 8, cells = 4 };
static pthread_t threads[all];
static long operations[all];
static unsigned char *handed[classes][2];
#ifndef DROP_IN
static atomic_t bitmap[cells];
static mp_cache_t cache;
#endif
static __thread int victim;
static int isStopped[victims], mayGoOn[victims];
static long stopped, stoppedInside;

static void stop(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  int saved = errno;
  sigset_t rest;
  sigfillset(&rest);
  sigdelset(&rest, SIGUSR2);
  __atomic_add_fetch(&stopped, 1, __ATOMIC_RELAXED);
  if (isInside(context)) __atomic_add_fetch(&stoppedInside, 1, __ATOMIC_RELAXED);
  __atomic_store_n(&isStopped[victim], 1, __ATOMIC_RELEASE);
  // The last of the signals to go on from the stop before may come only now.
  while (!__atomic_load_n(&mayGoOn[victim], __ATOMIC_ACQUIRE)) sigsuspend(&rest);
  __atomic_store_n(&isStopped[victim], 0, __ATOMIC_RELEASE);
  errno = saved;
}

static void goOn(int signal) { (void)signal; }

static size_t classSize(unsigned class) { return (size_t)16 << class % 7 | (class > 6 ? (size_t)8 << class % 7 : 0); }

static unsigned char *make(size_t size) {
  unsigned char *bytes = allocate(size);
  DEMAND(bytes);
  bytes[0] = bytes[size - 1] = (unsigned char)size;
  return bytes;
}

static void drop(unsigned char *bytes, size_t size) {
  DEMAND(bytes[0] == (unsigned char)size && bytes[size - 1] == (unsigned char)size);
  release(bytes);
}

// A steady state: a few objects of each size at any time, so that no slab is made and none given back, which takes a lock.
static void *steady(void *argument) {
  int self = (int)(intptr_t)argument;
  victim = self < victims ? self : 0;  // the others are not stopped
  uint64_t seed = (uint64_t)self + 1;
  unsigned char *small[classes][3], *large[runs] = {0};
  size_t sizes[runs];
#ifndef DROP_IN
  void *items[8] = {0};
  int taken[8];
  for (int i = 0; i < 8; i++) taken[i] = -1;
#endif
  for (unsigned class = 0; class < classes; class++)
    for (int i = 0; i < 3; i++) small[class][i] = make(classSize(class));
  while (!isOver) {
    uint64_t what = next(&seed);
    unsigned class = (what >> 8) % classes, slot = (what >> 16) % 3, run = (what >> 24) % runs;
    switch (what % 8) {
    case 0: case 1: case 2:
      drop(small[class][slot], classSize(class));
      small[class][slot] = make(classSize(class));
      break;
    case 3: case 4: {  // another thread's, for one of its own: which that one frees
      unsigned char **place = &handed[class][what >> 40 & 1];
      unsigned char *other = __atomic_exchange_n(place, small[class][slot], __ATOMIC_ACQ_REL);
      small[class][slot] = other ? other : make(classSize(class));
      break;
    }
    case 5:
      if (large[run]) drop(large[run], sizes[run]);
      large[run] = make(sizes[run] = 4000 + what % 40000);
      break;
#ifndef DROP_IN
    case 6:
      if (items[run]) mp_cache_free(&cache, items[run]);
      items[run] = items[run] ? NULL : mp_cache_alloc(&cache);
      break;
    default:
      if (taken[run] >= 0) mp_bitmap_free(bitmap, 3, taken[run]);
      taken[run] = taken[run] >= 0 ? -1 : mp_bitmap_alloc(bitmap, 64 * cells, 3);
#endif
    }
    __atomic_add_fetch(&operations[self], 1, __ATOMIC_RELAXED);
  }
  for (unsigned class = 0; class < classes; class++)
    for (int i = 0; i < 3; i++) drop(small[class][i], classSize(class));
  for (int i = 0; i < runs; i++)
    if (large[i]) drop(large[i], sizes[i]);
#ifndef DROP_IN
  for (int i = 0; i < 8; i++) {
    if (items[i]) mp_cache_free(&cache, items[i]);
    if (taken[i] >= 0) mp_bitmap_free(bitmap, 3, taken[i]);
  }
#endif
  return NULL;
}

static void pause1(long nanoseconds) {
  struct timespec time = {0, nanoseconds};
  nanosleep(&time, NULL);
}

// Waits until every thread from `first` on has done so much more; false when one does not within ten seconds.
static int advance(int first, long count) {
  long goals[all];
  for (int i = first; i < all; i++) goals[i] = __atomic_load_n(&operations[i], __ATOMIC_RELAXED) + count;
  for (long waited = 0; waited < 200000; waited++) {
    int ready = 1;
    for (int i = first; i < all; i++) ready &= __atomic_load_n(&operations[i], __ATOMIC_RELAXED) >= goals[i];
    if (ready) return 1;
    pause1(50000);
  }
  return 0;
}

static void stopAtRandom(long wanted, uint64_t *seed) {
  for (int i = 0; i < all; i++) DEMAND(!pthread_create(&threads[i], NULL, steady, (void *)(intptr_t)i));
  DEMAND(advance(0, 20000));
  for (long stop = 0; stop < wanted; stop++) {
    int count = 1 + (int)(next(seed) % victims);
    pause1((long)(next(seed) % 50000));
    for (int i = 0; i < count; i++) {
      __atomic_store_n(&mayGoOn[i], 0, __ATOMIC_RELAXED);
      pthread_kill(threads[i], SIGUSR1);
    }
    for (int i = 0; i < count; i++)
      while (!__atomic_load_n(&isStopped[i], __ATOMIC_ACQUIRE)) pause1(10000);
    if (!advance(victims, 300)) {
      dprintf(2, "stop %ld: the others do not go on\n", stop);
      _exit(1);
    }
    for (int i = 0; i < count; i++) {
      __atomic_store_n(&mayGoOn[i], 1, __ATOMIC_RELEASE);
      while (__atomic_load_n(&isStopped[i], __ATOMIC_ACQUIRE)) {
        pthread_kill(threads[i], SIGUSR2);
        pause1(20000);
      }
    }
  }
  isOver = 1;
  for (int i = 0; i < all; i++) pthread_join(threads[i], NULL);
  for (unsigned class = 0; class < classes; class++)
    for (int i = 0; i < 2; i++)
      if (handed[class][i]) drop(handed[class][i], classSize(class));
#ifndef DROP_IN
  for (int i = 0; i < cells; i++) DEMAND(bitmap[i] == 0);
#endif
}

// --- Signals at a high rate.

static long signals, signalsInside;

static void ring(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  int saved = errno;
  volatile char frame[512];
  for (size_t i = 0; i < sizeof frame; i += 64) frame[i] = (char)i;
  __atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
  if (isInside(context)) __atomic_add_fetch(&signalsInside, 1, __ATOMIC_RELAXED);
  errno = saved;
}

static void *busy(void *argument) {
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  unsigned char *objects[200] = {0};
  size_t sizes[200];
  while (!isOver) {
    uint64_t what = next(&seed);
    size_t i = what % 200, kind = what >> 20 & 255;
    if (objects[i]) drop(objects[i], sizes[i]);
    sizes[i] = 1 + (what >> 32) % (kind < 200 ? 1000 : kind < 250 ? 50000 : kind < 255 ? 2000000 : 40000000);
    objects[i] = make(sizes[i]);
#ifdef DROP_IN
    if (kind == 7) malloc_trim(0);
#else
    if (kind == 7) mp_pool_purge(pool);
    if (kind == 8) {
      mp_pool_t *another = mp_pool_new(NULL);
      DEMAND(another && mp_pool_malloc(another, 5000));
      mp_pool_destroy(another);
    }
    if (kind == 9) mp_cache_free(&cache, mp_cache_alloc(&cache));
#endif
  }
  for (size_t i = 0; i < 200; i++)
    if (objects[i]) drop(objects[i], sizes[i]);
  return NULL;
}

static void ringOften(long seconds, uint64_t *seed) {
  isOver = 0;
  for (int i = 0; i < 3; i++) DEMAND(!pthread_create(&threads[i], NULL, busy, (void *)(uintptr_t)next(seed)));
  struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &often, NULL);
  time_t end = time(NULL) + seconds;
  while (time(NULL) < end) {
    for (int i = 0; i < 3; i++) pthread_kill(threads[i], SIGALRM);
    pause1((long)(next(seed) % 100000));
  }
  isOver = 1;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  setitimer(ITIMER_REAL, &never, NULL);
}

int main(int count, char **arguments) {
  long wanted = count > 1 ? atol(arguments[1]) : 500, seconds = count > 2 ? atol(arguments[2]) : 3;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t seed = count > 4 ? strtoull(arguments[4], NULL, 0) : (uint64_t)now.tv_nsec + (uint64_t)getpid(), first = seed;
  dl_iterate_phdr(findCode, NULL);
  DEMAND(codeStart);
  struct sigaction action = {.sa_sigaction = stop, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  signal(SIGUSR2, goOn);
  action.sa_sigaction = ring;
  action.sa_flags = SA_SIGINFO;  // calls of the system come back with EINTR
  sigaction(SIGALRM, &action, NULL);
#ifdef DROP_IN
  if (wanted) stopAtRandom(wanted, &seed);
  if (seconds) ringOften(seconds, &seed);
#else
  mp_pool_options_t options = {.backing = MP_BACKING_FIXED, .size = 32 << 20};
  options.flags = count > 3 ? (unsigned)atoi(arguments[3]) * MP_POOL_ZEROING : 0;
  DEMAND((pool = mp_pool_new(&options)) != NULL);
  mp_cache_init_impl(&cache, "item", 40);
  stopAtRandom(wanted, &seed);
  mp_pool_destroy(pool);
  options.backing = MP_BACKING_ELASTIC;
  options.size = 0;
  DEMAND((pool = mp_pool_new(&options)) != NULL);
  ringOften(seconds, &seed);
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  DEMAND(stats.allocated_bytes == 0);
  mp_pool_destroy(pool);
  mp_cache_destroy(&cache);
#endif
  DEMAND((!wanted || (stoppedInside > 0 && stoppedInside >= stopped / 20)) && (!seconds || signalsInside > 0));
  printf("threads stopped: %ld times, %ld of these inside the allocator; signals: %ld, %ld inside; seed %llu\n", stopped, stoppedInside,
         signals, signalsInside, (unsigned long long)first);
  return 0;
}
