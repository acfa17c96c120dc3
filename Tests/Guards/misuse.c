// Misuse of objects between guard pages, each committed by a process of its own that is started anew: the first line, the backtraces of
// who allocated, who freed and who is noticed, by the names of their functions and the numbers of their threads, and the signal.
//
// Needs MEMPOOL_GUARD_SAMPLE=1. With -DC_FACE it calls mempool.h's names. Linked with -rdynamic, so that functions have names.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(C_FACE)
#include <mempool.h>
#define MALLOC mp_malloc
#define FREE mp_free
#define REALLOC mp_realloc
#define USABLE mp_get_size
#define NAME(call) "mp_" call
#define USABLE_NAME "mp_get_size"
#else
#include <malloc.h>
#define MALLOC malloc
#define FREE free
#define REALLOC realloc
#define USABLE malloc_usable_size
#define NAME(call) call
#define USABLE_NAME "malloc_usable_size"
#endif

#define APART __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))
#define KEEP_FRAME __asm__ volatile("" ::: "memory")

static size_t page;
static unsigned char *volatile object;
static volatile size_t size;
static volatile unsigned char sink;
static void *volatile other;
// Told to whoever looks: the line, and the threads.
static char line[256];
static long allocating, freeing;

#define EXPECT(...) snprintf(line, sizeof line, "mempool: " __VA_ARGS__)

enum place { AT_END, AT_START };

static int lies(enum place place) {
  size_t start = (uintptr_t)object & (page - 1), room = (size + 15) & ~(size_t)15;
  return place == AT_START ? start == 0 : start == page - room;
}

// Objects lie by turns at the end and at the start of their page.
APART void allocates_it(size_t wanted, enum place place) {
  size = wanted;
  for (int i = 0; i < 64; i++) {
    object = MALLOC(size);
    if (lies(place)) break;
  }
  allocating = syscall(SYS_gettid);
  KEEP_FRAME;
}

APART void frees_it(void) {
  freeing = syscall(SYS_gettid);
  FREE(object);
  KEEP_FRAME;
}

// --- What is done, each in a function of its own. Those of `freed` objects come when it is free.

static void overflow_write(void) {
  EXPECT("write to %p: overflow, 12 bytes behind the end of an object of 100 bytes", object + 112);
}
APART void commits_overflow_write(void) { object[112] = 1; KEEP_FRAME; }

static void overflow_read(void) {
  EXPECT("read of %p: overflow, 12 bytes behind the end of an object of 100 bytes", object + 112);
}
APART void commits_overflow_read(void) { sink = object[112]; KEEP_FRAME; }

static void exact_overflow(void) {
  EXPECT("write to %p: overflow, 0 bytes behind the end of an object of 112 bytes", object + 112);
}
APART void commits_exact_overflow(void) { object[112] = 1; KEEP_FRAME; }

static void linear_overflow(void) {
  EXPECT("write to %p: overflow, 0 bytes behind the end of an object of 3840 bytes", object + 3840);
}
APART void commits_linear_overflow(void) {
  for (volatile size_t i = 0; i < 3 * page; i++) object[i] = 1;
  KEEP_FRAME;
}

static void underflow_write(void) {
  EXPECT("write to %p: underflow, 1 bytes before the start of an object of 100 bytes", object - 1);
}
APART void commits_underflow_write(void) { object[-1] = 1; KEEP_FRAME; }

static void underflow_read(void) {
  EXPECT("read of %p: underflow, 8 bytes before the start of an object of 100 bytes", object - 8);
}
APART void commits_underflow_read(void) { sink = object[-8]; KEEP_FRAME; }

static void write_after_free(void) {
  EXPECT("write to %p: use after free, 0 bytes into an object of 100 bytes", object);
}
APART void commits_write_after_free(void) { object[0] = 1; KEEP_FRAME; }

static void read_after_free(void) {
  EXPECT("read of %p: use after free, 50 bytes into an object of 100 bytes", object + 50);
}
APART void commits_read_after_free(void) { sink = object[50]; KEEP_FRAME; }

static void behind_after_free(void) {
  EXPECT("read of %p: use after free, 20 bytes behind the end of an object of 100 bytes", object + 120);
}
APART void commits_behind_after_free(void) { sink = object[120]; KEEP_FRAME; }

static void double_free(void) { EXPECT(NAME("free") "(%p): double free", object); }
APART void commits_double_free(void) { FREE(object); KEEP_FRAME; }

static void realloc_after_free(void) { EXPECT(NAME("realloc") "(%p): use after free", object); }
APART void commits_realloc_after_free(void) { other = REALLOC(object, 300); KEEP_FRAME; }

static void size_after_free(void) { EXPECT(USABLE_NAME "(%p): use after free", object); }
APART void commits_size_after_free(void) { sink = (unsigned char)USABLE(object); KEEP_FRAME; }

static void invalid_free(void) { EXPECT(NAME("free") "(%p): not the start of an object", object + 16); }
APART void commits_invalid_free(void) { FREE(object + 16); KEEP_FRAME; }

static void invalid_free_after_free(void) { EXPECT(NAME("free") "(%p): not the start of an object", object + 16); }
APART void commits_invalid_free_after_free(void) { FREE(object + 16); KEEP_FRAME; }

static void slack(void) {
  EXPECT(NAME("free") "(%p): overflow, written 0 bytes behind the end of an object of 100 bytes", object);
}
APART void commits_slack(void) { object[100] = 1; FREE(object); KEEP_FRAME; }

static void far_overflow(void) {
  EXPECT(NAME("free") "(%p): overflow, written 1900 bytes behind the end of an object of 100 bytes", object);
}
APART void commits_far_overflow(void) { object[2000] = 1; FREE(object); KEEP_FRAME; }

static void near_underflow(void) {
  EXPECT(NAME("realloc") "(%p): underflow, written 1 bytes before the start of an object of 100 bytes", object);
}
APART void commits_near_underflow(void) {
  object[-1] = 1;
  object[-200] = 1;
  other = REALLOC(object, 300);
  KEEP_FRAME;
}

static void guard_page(void) { EXPECT(NAME("free") "(%p): not the start of an object", object + 112); }
APART void commits_guard_page(void) { FREE(object + 112); KEEP_FRAME; }

#if defined(C_FACE)
static void heap_double_free(void) { EXPECT("mp_heap_free(%p): double free", object); }
APART void commits_heap_double_free(void) { mp_heap_free(object); KEEP_FRAME; }
static void frag_free(void) { EXPECT("mp_frag_free(%p): not a run of fragments", object); }
APART void commits_frag_free(void) { mp_frag_free(object); KEEP_FRAME; }
static mp_pool_t *pool;
static void other_pool(void) { EXPECT("mp_pool_free(%p): memory of another pool", object); }
APART void commits_other_pool(void) { mp_pool_free(pool, object); KEEP_FRAME; }
static void still_live(void) { EXPECT("mempool_fini(%p): still live", object); }
APART void commits_still_live(void) { mempool_fini(); KEEP_FRAME; }
#else
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
extern void *reallocf(void *, size_t) __attribute__((weak));
extern int reallocarr(void *, size_t, size_t) __attribute__((weak));
extern size_t malloc_size(const void *) __attribute__((weak));
extern void vfree(void *) __attribute__((weak));
extern void cfree(void *) __attribute__((weak));
extern void __libc_free(void *);
extern void *__libc_realloc(void *, size_t);
#define AFTER_FREE(name, call, what)                                  \
  static void name##_again(void) { EXPECT(#name "(%p): " what, object); } \
  APART void commits_##name##_again(void) { call; KEEP_FRAME; }
AFTER_FREE(reallocarray, other = reallocarray(object, 3, 100), "use after free")
AFTER_FREE(reallocf, other = reallocf(object, 300), "use after free")
AFTER_FREE(reallocarr, reallocarr((void *)&object, 3, 100), "use after free")
AFTER_FREE(malloc_size, sink = (unsigned char)malloc_size(object), "use after free")
AFTER_FREE(free_sized, free_sized(object, 100), "double free")
AFTER_FREE(free_aligned_sized, free_aligned_sized(object, 16, 100), "double free")
AFTER_FREE(vfree, vfree(object), "double free")
AFTER_FREE(cfree, cfree(object), "double free")
AFTER_FREE(__libc_free, __libc_free(object), "double free")
AFTER_FREE(__libc_realloc, other = __libc_realloc(object, 300), "use after free")
static void wrong_size(void) { EXPECT("free_sized(%p): not of this size", object); }
APART void commits_wrong_size(void) { free_sized(object, 101); KEEP_FRAME; }
#endif

typedef struct {
  const char *name;
  void (*expect)(void), (*commit)(void);
  size_t size;
  enum place place;
  int signal, isFreed, isPlain;  // plain: the line is all
} misuse_t;
#define CASE(name) #name, name, commits_##name

static const misuse_t cases[] = {
    {CASE(overflow_write), 100, AT_END, SIGSEGV},
    {CASE(overflow_read), 100, AT_END, SIGSEGV},
    {CASE(exact_overflow), 112, AT_END, SIGSEGV},
    {CASE(linear_overflow), 3840, AT_END, SIGSEGV},
    {CASE(underflow_write), 100, AT_START, SIGSEGV},
    {CASE(underflow_read), 100, AT_START, SIGSEGV},
    {CASE(write_after_free), 100, AT_END, SIGSEGV, 1},
    {CASE(read_after_free), 100, AT_START, SIGSEGV, 1},
    {CASE(behind_after_free), 100, AT_START, SIGSEGV, 1},
    {CASE(double_free), 100, AT_END, SIGABRT, 1},
    {CASE(realloc_after_free), 100, AT_END, SIGABRT, 1},
    {CASE(size_after_free), 100, AT_START, SIGABRT, 1},
    {CASE(invalid_free), 100, AT_END, SIGABRT},
    {CASE(invalid_free_after_free), 100, AT_END, SIGABRT, 1},
    {CASE(slack), 100, AT_END, SIGABRT},
    {CASE(far_overflow), 100, AT_START, SIGABRT},
    {CASE(near_underflow), 100, AT_END, SIGABRT},
    {CASE(guard_page), 100, AT_END, SIGABRT, 0, 1},
#if defined(C_FACE)
    {CASE(heap_double_free), 100, AT_END, SIGABRT, 1},
    {CASE(frag_free), 100, AT_END, SIGABRT, 0, 1},
    {CASE(other_pool), 100, AT_END, SIGABRT, 0, 1},
    {CASE(still_live), 100, AT_START, SIGABRT, 0, 1},
#else
    {CASE(reallocarray_again), 100, AT_END, SIGABRT, 1},
    {CASE(reallocf_again), 100, AT_END, SIGABRT, 1},
    {CASE(reallocarr_again), 100, AT_END, SIGABRT, 1},
    {CASE(malloc_size_again), 100, AT_END, SIGABRT, 1},
    {CASE(free_sized_again), 100, AT_END, SIGABRT, 1},
    {CASE(free_aligned_sized_again), 100, AT_END, SIGABRT, 1},
    {CASE(vfree_again), 100, AT_END, SIGABRT, 1},
    {CASE(cfree_again), 100, AT_END, SIGABRT, 1},
    {CASE(__libc_free_again), 100, AT_END, SIGABRT, 1},
    {CASE(__libc_realloc_again), 100, AT_END, SIGABRT, 1},
    {CASE(wrong_size), 100, AT_END, SIGABRT, 0, 1},
#endif
};
enum { caseCount = sizeof cases / sizeof *cases };

// Who does it: all in one thread; allocated by the first, freed and used by others; allocated by a thread that has ended; in a child. Sampled
// objects are in no heap, so that there is nothing to adopt.
static const char *const ways[] = {"owner", "others", "exited", "forked"};
enum { OWNER, OTHERS, EXITED, FORKED, wayCount };

// --- The process that does it

static const misuse_t *chosen;

static void *allocate(void *nothing) {
  allocates_it(chosen->size, chosen->place);
  return nothing;
}
static void *release(void *nothing) {
  if (chosen->isFreed) frees_it();
  return nothing;
}
static void *commit(void *nothing) {
  chosen->expect();
  dprintf(3, "%s\n%ld %ld %ld\n", line, allocating, freeing, (long)syscall(SYS_gettid));
  chosen->commit();
  return nothing;
}

static void in_thread(void *(*body)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, NULL) || pthread_join(thread, NULL)) _exit(3);
}

static void act(int way) {
  if (way == EXITED) in_thread(allocate);
  else allocate(NULL);
  if (way == FORKED) {
    pid_t child = fork();
    int status;
    if (child) {
      if (waitpid(child, &status, 0) != child) _exit(4);
      if (WIFSIGNALED(status)) signal(WTERMSIG(status), SIG_DFL), kill(getpid(), WTERMSIG(status));
      _exit(5);
    }
  }
  void (*const where)(void *(*)(void *)) = in_thread;
  if (way == OTHERS || way == EXITED) where(release), where(commit);
  else release(NULL), commit(NULL);
  _exit(1);
}

// --- The one that looks

static int failed, passed;
static char seen[1 << 16], told[1 << 10];

static void fill(int descriptor, char *text, size_t room) {
  size_t count = 0;
  for (ssize_t got; count < room - 1 && (got = read(descriptor, text + count, room - 1 - count)) > 0;) count += (size_t)got;
  text[count] = 0;
  close(descriptor);
}

// Whether a backtrace under this title names the function; what follows it.
static int names(const char *title, long thread, const char *function) {
  char head[128];
  snprintf(head, sizeof head, "\nmempool: %s by thread %ld:\n", title, thread);
  const char *block = strstr(seen, head);
  if (!block) return 0;
  const char *end = strstr(block + strlen(head), "\nmempool: "), *found = strstr(block, function);
  return found && (!end || found < end);
}

static void attempt(const char *self, const misuse_t *misuse, int way) {
  int errors[2], facts[2], status;
  if (pipe(errors) || pipe(facts)) exit(2);
  pid_t child = fork();
  if (child < 0) exit(2);
  if (child == 0) {
    int one = dup(errors[1]), two = dup(facts[1]);
    dup2(one, 2), dup2(two, 3);
    for (int i = 4; i < 32; i++) close(i);
    alarm(60);
    execl("/proc/self/exe", self, misuse->name, ways[way], NULL);
    _exit(2);
  }
  close(errors[1]), close(facts[1]);
  fill(errors[0], seen, sizeof seen);
  fill(facts[0], told, sizeof told);
  if (waitpid(child, &status, 0) != child) exit(2);
  char *end = strchr(told, '\n'), function[64];
  long by[3] = {0};
  const char *why = NULL;
  if (!end || sscanf(end, "%ld %ld %ld", &by[0], &by[1], &by[2]) != 3) why = "it did not come so far";
  else if (strncmp(seen, told, (size_t)(end + 1 - told))) why = "another line";
  else if (!WIFSIGNALED(status) || WTERMSIG(status) != misuse->signal) why = "another end";
  else if (misuse->isPlain) why = strchr(seen, '\n')[1] ? "more than a line" : NULL;
  else {
    snprintf(function, sizeof function, "(commits_%s+", misuse->name);
    if (!names("allocated", by[0], "(allocates_it+")) why = "no backtrace of who allocated it";
    else if (misuse->isFreed ? !names("freed", by[1], "(frees_it+") : !!strstr(seen, "freed by")) why = "who freed it";
    else if (!names("noticed", by[2], function)) why = "no backtrace of who did it";
  }
  if (!why) {
    passed++;
    return;
  }
  failed++;
  printf("FAILED  %s, %s: %s; status %d\nexpected %ssaw\n%s\n", misuse->name, ways[way], why, status, told, seen);
}

int main(int count, char **arguments) {
  page = (size_t)sysconf(_SC_PAGESIZE);
#if defined(C_FACE)
  if (mempool_init()) return 2;
  pool = mp_pool_new(NULL);
#endif
  if (count == 3) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    int way = 0;
    for (int i = 0; i < wayCount; i++)
      if (!strcmp(arguments[2], ways[i])) way = i;
    for (int i = 0; i < caseCount; i++)
      if (!strcmp(arguments[1], cases[i].name)) chosen = &cases[i];
    if (chosen) act(way);
    return 2;
  }
  for (int i = 0; i < caseCount; i++)
    for (int way = 0; way < wayCount; way++) attempt(arguments[0], &cases[i], way);
  printf("%d misuses, %d of them not as they should be\n", passed + failed, failed);
  return failed || !passed;
}
