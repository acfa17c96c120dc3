// forks COUNT [KIND [SEED]]: fork at random points while other threads allocate, free and hand objects on; each child checks what it
// has, frees it, allocates and exits. About a pool of its own, dense or of a level of hardening, about slab caches or a compact pool; compiled with
// DROP_IN about the malloc of the process.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(dprintf(2, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

// An object's first words: its size, and a number that both ends hold.
typedef struct {
  size_t size;
  uint64_t number;
} Object;

enum { threadCount = 3, slotCount = 48, sharedCount = 32 };

typedef struct {
  const char *name;
  void *(*allocate)(size_t);
  void *(*resize)(void *, size_t);  // NULL: by copying
  void (*release)(void *);
  void (*begin)(void);
  void (*end)(void);
} Kind;

#ifdef DROP_IN
static const Kind kinds[] = {{"malloc", malloc, realloc, free, NULL, NULL}};
#else
#include <mempool.h>
static mp_pool_t *pool;
static void *poolAllocate(size_t size) { return mp_pool_malloc(pool, size); }
static void *poolResize(void *p, size_t size) { return mp_pool_realloc(pool, p, size); }
static void poolRelease(void *p) { mp_pool_free(pool, p); }
static void makePool(mp_pool_options_t options) { DEMAND((pool = mp_pool_new(&options)) != NULL); }
static void plain(void) { makePool((mp_pool_options_t){0}); }
static void dense(void) { makePool((mp_pool_options_t){.small_objects = MP_SMALL_DENSE}); }
static void zeroing(void) { makePool((mp_pool_options_t){.flags = MP_POOL_ZEROING}); }
static void canaries(void) { makePool((mp_pool_options_t){.flags = MP_POOL_CANARIES}); }
static void guards(void) { makePool((mp_pool_options_t){.flags = MP_POOL_GUARDS}); }
static void poolEnd(void) {
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  DEMAND(stats.allocated_bytes == 0);
  mp_pool_destroy(pool);
}

// Of three sizes, and what is larger than items can be; an object's own first word says which it has.
enum { cacheCount = 3 };
static mp_cache_t caches[cacheCount];
static const size_t itemSizes[cacheCount] = {600, 7000, 110000};
static mp_cache_t *cache(size_t size) {
  int i = 0;
  while (i < cacheCount && size > itemSizes[i]) i++;
  return i < cacheCount ? &caches[i] : NULL;
}
static void *cachesAllocate(size_t size) { return cache(size) ? mp_cache_alloc(cache(size)) : mp_malloc(size); }
static void cachesRelease(void *p) {
  mp_cache_t *from = cache(((Object *)p)->size);
  if (from) mp_cache_free(from, p);
  else mp_free(p);
}
static void cachesBegin(void) {
  for (int i = 0; i < cacheCount; i++) mp_cache_init_impl(&caches[i], "forks", itemSizes[i]);
}
static void cachesEnd(void) {
  for (int i = 0; i < cacheCount; i++) mp_cache_destroy(&caches[i]);
}

// Mapped for as long as it lives; its handle lies before it.
static mp_compact_t *compact;
static void *compactAllocate(size_t size) {
  mp_handle_t handle, *bytes;
  if (mp_compact_alloc(compact, sizeof handle + size, 0, &handle)) return NULL;
  bytes = mp_compact_map(compact, handle);
  *bytes = handle;
  return bytes + 1;
}
static void compactRelease(void *p) {
  mp_handle_t handle = ((mp_handle_t *)p)[-1];
  mp_compact_unmap(compact, handle);
  DEMAND(!mp_compact_free(compact, handle));
}
static void compactBegin(void) { DEMAND((compact = mp_compact_new(MP_COMPACT_REFUSE_LIVE | MP_COMPACT_ALIGN8)) != NULL); }
static void compactEnd(void) { mp_compact_destroy(compact); }

#define POOL(name) {#name, poolAllocate, poolResize, poolRelease, name, poolEnd}
static const Kind kinds[] = {
    POOL(plain),
    POOL(dense),
    POOL(zeroing),
    POOL(canaries),
    POOL(guards),
    {"caches", cachesAllocate, NULL, cachesRelease, cachesBegin, cachesEnd},
    {"compact", compactAllocate, NULL, compactRelease, compactBegin, compactEnd},
};
#endif
static const Kind *kind = kinds;

// Which of the other threads are in a call of the allocator, and which one this is.
static volatile int isInside[threadCount];
static __thread volatile int *inside;
static void isIn(int now) {
  if (inside) *inside = now;
}
static void *allocate(size_t size) {
  isIn(1);
  void *object = kind->allocate(size);
  isIn(0);
  return object;
}
static void release(void *object) {
  isIn(1);
  kind->release(object);
  isIn(0);
}
static void *resize(Object *object, size_t size) {
  if (kind->resize) {
    isIn(1);
    void *moved = kind->resize(object, size);
    isIn(0);
    return moved;
  }
  Object *copy = allocate(size);
  if (copy) memcpy(copy, object, size < object->size ? size : object->size), release(object);
  return copy;
}

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
  static int count;
  uint64_t seed = (uint64_t)(uintptr_t)argument;
  inside = &isInside[__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED)];
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
  for (const char *wanted = count > 2 ? arguments[2] : kinds[0].name; strcmp(kind->name, wanted); kind++)
    DEMAND(kind < kinds + sizeof kinds / sizeof *kinds - 1);
  if (kind->begin) kind->begin();
  // What children tell: how many of them came from a process with a thread in a call of the allocator.
  long *caught = mmap(NULL, sizeof *caught, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  DEMAND(caught != MAP_FAILED);
  pthread_t threads[threadCount];
  for (int i = 0; i < threadCount; i++) DEMAND(!pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)next(&seed)));
  Object *slots[slotCount] = {0};
  for (long done = 0; done < forks; done++) {
    churn(slots, &seed, 1 + (long)(next(&seed) % 60));
    pid_t pid = fork();
    if (pid == 0) {
      int wasInside = 0;
      for (int i = 0; i < threadCount; i++) wasInside |= isInside[i];
      *caught += wasInside;
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
  if (kind->end) kind->end();
  clock_gettime(CLOCK_MONOTONIC, &end);
  DEMAND(forks < 200 || *caught >= forks / 20);
  printf("forks survived: %ld, of which %ld with threads inside the allocator, in %ld s; seed %llu\n", forks, *caught,
         (long)(end.tv_sec - start.tv_sec), (unsigned long long)first);
  return 0;
}
