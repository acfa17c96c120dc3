// faults [KIND…|plain|hardened]: each call for memory fails in turn, alone and with all that follow it, and the address space is limited to
// more and more, while a pool of each kind is made and used. What fails is an error value, or where that is documented one line
// and SIGABRT; nothing that was live is lost, no address space stays, and afterwards the pool works.
//
// Every attempt is a child of its own. Compiled with DROP_IN it is about the malloc of the process.
#include "workload.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#ifdef DROP_IN
#include <malloc.h>
static void *allocate(size_t size) { return malloc(size); }
static void *zeroed(size_t count, size_t size) { return calloc(count, size); }
static void *aligned(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }
static void *resize(void *p, size_t size) { return realloc(p, size); }
static void release(void *p) { free(p); }
static void purge(void) { malloc_trim(0); }
#else
#include <mempool.h>
static mp_pool_t *pool;
static void *allocate(size_t size) { return mp_pool_malloc(pool, size); }
static void *zeroed(size_t count, size_t size) { return mp_pool_calloc(pool, count, size); }
static void *aligned(size_t alignment, size_t size) { return mp_pool_memalign(pool, alignment, size); }
static void *resize(void *p, size_t size) { return mp_pool_realloc(pool, p, size); }
static void release(void *p) { mp_pool_free(pool, p); }
static void purge(void) { mp_pool_purge(pool); }
#endif

typedef struct {
  const char *name;
  size_t largest;
  int isOwn;     // a pool that the attempt makes and destroys
  int mayAbort;  // calls that never return NULL
  int isUnseen;  // its memory is libc's
  void (*script)(Work *);  // instead of the workload
#ifndef DROP_IN
  mp_pool_options_t options;
#endif
} Kind;

// What an attempt tells its parent.
typedef struct {
  long calls, failed, refusals, left;
} Report;
static Report *report;

enum { fixedSize = 48 << 20, fixedLargest = 2 << 20, hardenedLargest = 34000000 };

#ifndef DROP_IN
static void neverNull(Work *), objectPools(Work *);
static char buffer[fixedSize];
static const Kind kinds[] = {
    {"elastic", 80000000, 1, 0, 0, NULL, {0}},
    {"small-reservations", 80000000, 1, 0, 0, NULL, {.size = 2 << 20}},
    {"dense", 80000000, 1, 0, 0, NULL, {.small_objects = MP_SMALL_DENSE}},
    {"purged-at-once", 80000000, 1, 0, 0, NULL, {.purge_delay_ms = MP_NONE}},
    {"fixed", fixedLargest, 1, 0, 0, NULL, {.backing = MP_BACKING_FIXED, .size = fixedSize}},
    {"fixed-locked", fixedLargest, 1, 0, 0, NULL, {.backing = MP_BACKING_FIXED, .size = fixedSize, .flags = MP_POOL_LOCKED}},
    {"fixed-touched", fixedLargest, 1, 0, 0, NULL, {.backing = MP_BACKING_FIXED, .size = fixedSize, .flags = MP_POOL_PREFAULT}},
    {"buffer", fixedLargest, 1, 0, 0, NULL, {.backing = MP_BACKING_BUFFER, .size = fixedSize, .start = buffer}},
    {"pass-through", 80000000, 1, 0, 1, NULL, {.backing = MP_BACKING_PASS_THROUGH}},
    {"zeroing", hardenedLargest, 1, 0, 0, NULL, {.flags = MP_POOL_ZEROING}},
    {"canaries", hardenedLargest, 1, 0, 0, NULL, {.flags = MP_POOL_CANARIES}},
    {"guards", hardenedLargest, 1, 0, 0, NULL, {.size = 2 << 20, .flags = MP_POOL_GUARDS}},
    {"canaries-fixed", fixedLargest, 1, 0, 0, NULL, {.backing = MP_BACKING_FIXED, .size = fixedSize, .flags = MP_POOL_CANARIES}},
    {"canaries-buffer", fixedLargest, 1, 0, 0, NULL, {.backing = MP_BACKING_BUFFER, .size = fixedSize, .start = buffer, .flags = MP_POOL_CANARIES}},
    {"shared", 80000000, 0, 0, 0, NULL, {0}},
    {"never-null", 80000000, 0, 1, 0, neverNull, {0}},
    {"object-pools", 80000000, 0, 0, 0, objectPools, {0}},
};

static int isHardened(const Kind *kind) { return (kind->options.flags & MP_POOL_GUARDS) != 0; }

static int make(const Kind *kind) {
  errno = 0;
  if (!kind->isOwn) return mempool_init() == 0;
  pool = mp_pool_new(&kind->options);
  return pool != NULL;
}

static void destroy(const Kind *kind) {
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  DEMAND(stats.allocated_bytes == 0 && stats.span_count == 0 && stats.run_bytes == 0);
  if (kind->isOwn) mp_pool_destroy(pool);
  else mempool_fini();
}

// The calls that never return NULL: with memory, or one line and SIGABRT.
static void neverNull(Work *work) {
  (void)work;
  typedef struct {
    char bytes[120];
  } Item;
  static mp_cache_t caches[3];
  enum { count = 400 };
  static void *items[count], *others[count], *objects[count];
  mp_cache_init(&caches[0], Item);
  mp_cache_init_impl(&caches[1], "page", 4096);
  mp_cache_init_impl(&caches[2], "large", 300000);
  for (int i = 0; i < count; i++) {
    DEMAND((items[i] = mp_cache_alloc(&caches[0])) != NULL);
    DEMAND((others[i] = i % 20 ? mp_cache_alloc(&caches[1]) : mp_cache_alloc_array(&caches[0], 5)) != NULL);
    objects[i] = mp_malloc((size_t)i * 200);
    objects[i] = mp_realloc(objects[i], (size_t)i * 700);
    DEMAND(objects[i] != NULL);
    mp_free(mp_calloc((size_t)i, 900));
    if (i % 50 == 0) {
      void *large = mp_cache_alloc(&caches[2]), *page = mp_memalign(8192, (size_t)i * 10);
      DEMAND(large && (uintptr_t)page % 8192 == 0);
      mp_cache_free(&caches[2], large);
      mp_free(page);
    }
  }
  for (int i = 0; i < count; i++) {
    mp_cache_free(&caches[0], items[i]);
    if (i % 20) mp_cache_free(&caches[1], others[i]);
    else mp_cache_free_array(&caches[0], others[i], 5);
    mp_free(objects[i]);
  }
  for (int i = 0; i < 3; i++) mp_cache_destroy(&caches[i]);
}

// Prepared objects and more than these, some of which another thread gives back; what is idle goes, and the pool.
typedef struct {
  void *all[2200];
  int count;
  size_t size;
} Objects;

static void giveBack(Objects *objects, int first) {
  for (int i = first; i < objects->count; i += 2) {
    unsigned char *object = objects->all[i];
    DEMAND(object[0] == (unsigned char)i && object[objects->size - 1] == (unsigned char)(i >> 3));
    errno = 77;
    mp_objpool_put(object);
    DEMAND(errno == 77);
  }
}

static void *giveBackElsewhere(void *objects) {
  giveBack(objects, 1);
  return NULL;
}

static void objectPools(Work *work) {
  static const struct {
    size_t size, count, more;
  } shapes[] = {{48, 2000, 200}, {5000, 150, 30}, {300000, 9, 2}};
  static Objects objects;
  for (int i = 0; i < 3; i++) {
    long before = inject.failed;
    errno = 0;
    mp_objpool_t *pool = mp_objpool_new(shapes[i].size, shapes[i].count, "faults");
    if (!pool) {
      excused(work, before);
      continue;
    }
    objects.count = 0;
    objects.size = shapes[i].size;
    for (size_t n = 0; n < shapes[i].count + shapes[i].more; n++) {
      before = inject.failed;
      errno = 0;
      unsigned char *object = n % 2 ? mp_objpool_get(pool) : mp_objpool_get0(pool);
      if (!object) {
        excused(work, before);
        continue;
      }
      DEMAND(n % 2 || (!object[0] && !object[objects.size - 1]));
      object[0] = (unsigned char)objects.count, object[objects.size - 1] = (unsigned char)(objects.count >> 3);
      objects.all[objects.count++] = object;
    }
    DEMAND(objects.count >= (int)shapes[i].count);
    pthread_t thread;
    if (!pthread_create(&thread, NULL, giveBackElsewhere, &objects)) DEMAND(!pthread_join(thread, NULL));
    else giveBack(&objects, 1);
    mp_objpool_sweep(pool);
    giveBack(&objects, 0);
    mp_objpool_sweep(NULL);
    DEMAND(mp_objpool_destroy(pool) == 0);
  }
}
#else
static const Kind kinds[] = {{"malloc", 80000000, 0, 0, 0, NULL}};
static int isHardened(const Kind *kind) { return kind && (getenv("MEMPOOL_HARDEN") || getenv("MEMPOOL_GUARD_SAMPLE")); }
static int make(const Kind *kind) { return kind != NULL; }
static void destroy(const Kind *kind) { (void)kind; }
#endif

// One attempt, in a child. The limit, if there is one, holds for as long as calls may fail.
static void attempt(const Kind *kind, long from, long to, long limit) {
  static const Allocator plain = {allocate, zeroed, aligned, resize, release, purge, 0, 1};
  static Work work;
  Allocator with = plain;
  with.largest = kind->largest;
  const char *fixed = getenv("MEMPOOL_FIXED");
  if (isHardened(kind)) {
    // Each object between guard pages takes half a dozen calls, and what moves is copied: the whole workload would take minutes.
    // Of this shorter one, too, each call fails.
    with.step = 5;
    if (with.largest > hardenedLargest) with.largest = hardenedLargest;
  }
  if (fixed) with.largest = fixedLargest;
  work = (Work){.with = &with, .isUnseen = kind->isUnseen};
  struct rlimit before;
  DEMAND(!getrlimit(RLIMIT_AS, &before));
  if (limit) {
    struct rlimit low = {(rlim_t)limit, before.rlim_max};
    DEMAND(!setrlimit(RLIMIT_AS, &low));
  }
  injectFrom(from, to);
  int isMade = make(kind), why = errno;
  void (*use)(Work *) = kind->script ? kind->script : perform;
  if (isMade) use(&work);
  injectNothing();
  DEMAND(!setrlimit(RLIMIT_AS, &before));
  *report = (Report){inject.calls, inject.failed, work.refusals + !isMade, 0};
  DEMAND(isMade || (inject.failed && why == ENOMEM));
  if (!isMade) DEMAND(make(kind));
  // It works, and what it takes from now on it gives back, or keeps for the next time: soon it takes no more.
  long mapped = -1;
  work.mustSucceed = 1;
  for (int round = 0; round < 16 && inject.mapped != mapped; round++) {
    mapped = inject.mapped;
    use(&work);
  }
  DEMAND(inject.mapped == mapped);
  destroy(kind);
  report->left = inject.mapped - inject.kept;
}

static long addressSpace(void) {
  char text[64] = {0};
  int file = open("/proc/self/statm", O_RDONLY);
  DEMAND(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  return atol(text) * sysconf(_SC_PAGESIZE);
}

static int output;  // where attempts write what they have to say

// The documented line of a call that never returns NULL.
static int isAbortLine(const char *text) {
  char call[32];
  unsigned long size;
  int end = 0;
  return sscanf(text, "mempool: %31[a-z_](%lu): out of memory%n", call, &size, &end) == 2 && end && !strcmp(text + end, "\n");
}

static int isWarning(const char *text) { return !*text || !strncmp(text, "mempool: MEMPOOL_FIXED=\"", 24); }

// Runs an attempt; 0, or a line that says what was wrong.
static int run(const Kind *kind, long from, long to, long limit) {
  *report = (Report){0};
  if (ftruncate(output, 0) || lseek(output, 0, SEEK_SET)) return 1;
  pid_t pid = fork();
  if (pid == 0) {
    dup2(output, 2);
    alarm(60);
    attempt(kind, from, to, limit);
    _exit(0);
  }
  int status = -1;
  char text[512] = {0};
  if (pid < 0 || waitpid(pid, &status, 0) != pid || pread(output, text, sizeof text - 1, 0) < 0) return 1;
  int isRefused = to >= from || limit;
  if (kind->mayAbort && isRefused && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && isAbortLine(text)) {
    report->failed++;  // at least; the attempt cannot say any more
    report->refusals++;
    return 0;
  }
  if (status == 0 && isWarning(text)) return 0;
  fprintf(stderr, "%s: calls %ld to %ld fail, limit %ld: status 0x%x, says: %s\n", kind->name, from, to, limit, status, text);
  return 1;
}

static long attempts, injected, refusals;

static int count(int wrong) {
  attempts++;
  injected += report->failed;
  refusals += report->refusals;
  return wrong;
}

static int sweep(const Kind *kind) {
  // Leaves of the address map stay, 128 KiB for each 16 GiB in which anything ever lay.
  enum { leaves = 1 << 20 };
  int wrong = count(run(kind, 0, -1, 0));
  long calls = report->calls, left = report->left, injectedBefore = injected, attemptsBefore = attempts;
  for (int alone = 0; alone < 2; alone++)
    for (long n = 1; n <= calls && wrong < 5; n++) {
      int failed = count(run(kind, n, alone ? n : __LONG_MAX__, 0));
      if (!failed && kind->isOwn && report->left > left + leaves) {
        fprintf(stderr, "%s: call %ld fails: %ld bytes of address space stay\n", kind->name, n, report->left - left);
        failed = 1;
      }
      wrong += failed;
    }
  long now = addressSpace(), limits = 0, coarse = isHardened(kind) ? 3 : 1;
  for (long more = 0; more <= 512L << 20 && wrong < 5;
       more += coarse * (more < 1 << 20 ? 64 << 10 : more < 64 << 20 ? 3 << 20 : 32 << 20)) {
    wrong += count(run(kind, 0, -1, now + more));
    limits++;
  }
  printf("%s: %ld calls, %ld attempts, %ld limits, %ld faults\n", kind->name, calls, attempts - attemptsBefore, limits,
         injected - injectedBefore);
  // A buffer's pool, and one that passes through, ask for nothing but records, if at all.
  if (!kind->isUnseen && calls < 1) wrong += fprintf(stderr, "%s: no call to refuse\n", kind->name) > 0;
  if (injected - injectedBefore < 2 * calls) wrong += fprintf(stderr, "%s: fewer faults than attempts\n", kind->name) > 0;
  return wrong;
}

static const char *leftOut = "nothing";

// Whether this user may lock as much as a kind wants: see ulimit -l.
static int mayLock(const Kind *kind) {
#ifndef DROP_IN
  if (!(kind->options.flags & MP_POOL_LOCKED)) return 1;
  void *pages = (void *)syscall(SYS_mmap, NULL, fixedSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int may = pages != MAP_FAILED && !syscall(SYS_mlock, pages, fixedSize);
  syscall(SYS_munmap, pages, fixedSize);
  if (!may) leftOut = kind->name;
  return may;
#else
  return kind != NULL;
#endif
}

int main(int count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 256);
  report = (Report *)syscall(SYS_mmap, NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  output = memfd_create("output", MFD_CLOEXEC);
  DEMAND(output >= 0 && report != MAP_FAILED);
  int wrong = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    int wanted = count < 2;
    for (int n = 1; n < count; n++)
      wanted |= !strcmp(arguments[n], kinds[i].name) || !strcmp(arguments[n], isHardened(&kinds[i]) ? "hardened" : "plain");
    if (wanted && mayLock(&kinds[i])) wrong += sweep(&kinds[i]);
  }
  printf("faults injected: %ld in %ld attempts, of which callers saw %ld; left out%s: %s\n", injected, attempts, refusals,
         strcmp(leftOut, "nothing") ? " as ulimit -l is too low" : "", leftOut);
  return wrong != 0 || !attempts;
}
