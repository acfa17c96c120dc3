#define _GNU_SOURCE
#include "CMempoolShims.h"
#include "cancellation.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <malloc.h>
#include <sys/syscall.h>
#endif

// --- Memory

static mp_system_counters counters;
static mp_word fail_every, fail_countdown, refused_moves;
static size_t reserve_limit;

void mp_system_fail_every(mp_word n) {
  mp_store_relaxed(&fail_countdown, n);
  mp_store_relaxed(&fail_every, n);
}

void mp_system_reserve_limit(size_t byte_count) { reserve_limit = byte_count; }

void mp_system_counters_read(mp_system_counters *out) {
  const mp_word *from = (const mp_word *)&counters;
  mp_word *to = (mp_word *)out;
  for (size_t i = 0; i < sizeof counters / sizeof(mp_word); i++) to[i] = mp_load_relaxed(from + i);
}

// The second number of /proc/self/statm, in pages; getrusage knows only the peak.
static mp_word resident_pages(void) {
  char text[128];
  int file;
  do file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  while (file < 0 && errno == EINTR);
  if (file < 0) return 0;
  ssize_t count;
  do count = read(file, text, sizeof text - 1);
  while (count < 0 && errno == EINTR);
  close(file);
  text[count < 0 ? 0 : count] = 0;
  mp_word pages = 0;
  const char *next = text;
  while (*next && *next != ' ') next++;
  while (*next == ' ') next++;
  while (*next >= '0' && *next <= '9') pages = pages * 10 + (mp_word)(*next++ - '0');
  return pages;
}

void mp_system_usage_read(mp_system_usage *out) {
  int saved = errno, cancellation = mp_cancellation_off();
  struct rusage usage = {0};
  getrusage(RUSAGE_SELF, &usage);
  out->resident_bytes = resident_pages() * mp_system_page_size();
  mp_cancellation_back(cancellation);
  out->minor_faults = (mp_word)usage.ru_minflt;
  out->major_faults = (mp_word)usage.ru_majflt;
  errno = saved;
}

static int failed(void) {
  mp_fetch_add_relaxed(&counters.failed, 1);
  return -1;
}

// Counts a call; true when this one has to fail.
static int counted(mp_word *counter) {
  mp_fetch_add_relaxed(counter, 1);
  mp_word every = mp_load_relaxed(&fail_every);
  if (!every || mp_fetch_add_relaxed(&fail_countdown, (mp_word)-1) != 1) return 0;
  mp_store_relaxed(&fail_countdown, every);
  errno = ENOMEM;
  return 1;
}

static void *map(size_t byte_count, size_t alignment, int protection, int flags) {
  size_t page = mp_system_page_size();
  size_t padding = alignment > page ? alignment - page : 0, total = byte_count + padding;
  if (total < byte_count) {
    errno = ENOMEM;
    return NULL;
  }
  char *start = mmap(NULL, total, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (start == MAP_FAILED) return NULL;
  char *aligned = start + (-(uintptr_t)start & (alignment > page ? alignment - 1 : 0));
  if (aligned > start) munmap(start, (size_t)(aligned - start));
  size_t rest = padding - (size_t)(aligned - start);
  if (rest) munmap(aligned + byte_count, rest);
  return aligned;
}

void *mp_pages_reserve(size_t byte_count, size_t alignment) {
  int refuse = counted(&counters.reserve) || (reserve_limit && byte_count > reserve_limit);
  void *pages = refuse ? NULL : map(byte_count, alignment, PROT_NONE, MAP_NORESERVE);
  if (!pages) failed();
  if (refuse) errno = ENOMEM;
  return pages;
}

void *mp_pages_map(size_t byte_count, size_t alignment) {
  void *pages = counted(&counters.map) ? NULL : map(byte_count, alignment, PROT_READ | PROT_WRITE, MAP_NORESERVE);
  if (!pages) failed();
  return pages;
}

void *mp_pages_take(size_t byte_count, size_t alignment) {
  void *pages = counted(&counters.map) ? NULL : map(byte_count, alignment, PROT_READ | PROT_WRITE, 0);
  if (!pages) failed();
  return pages;
}

int mp_pages_commit(void *address, size_t byte_count) {
  if (counted(&counters.commit) || mprotect(address, byte_count, PROT_READ | PROT_WRITE)) return failed();
  return 0;
}

// What gives memory back keeps errno, also when the system refuses: frees come here, and keep it.

int mp_pages_purge(void *address, size_t byte_count) {
  int saved = errno;
  int refused = counted(&counters.purge) || madvise(address, byte_count, MADV_DONTNEED);
  errno = saved;
  return refused ? failed() : 0;
}

int mp_pages_protect(void *address, size_t byte_count) {
  int saved = errno;
  int refused = counted(&counters.commit) || mprotect(address, byte_count, PROT_NONE);
  errno = saved;
  return refused ? failed() : 0;
}

int mp_pages_lend(void *address, size_t byte_count) {
  int saved = errno, refused = counted(&counters.purge);
#if defined(MADV_FREE)
  // Refused of locked memory, and by old kernels.
  if (!refused && madvise(address, byte_count, MADV_FREE) == 0) return 0;
#endif
  refused = refused || madvise(address, byte_count, MADV_DONTNEED);
  errno = saved;
  return refused ? failed() : 0;
}

int mp_pages_guard(void *address, size_t byte_count) {
  if (mp_pages_protect(address, byte_count)) return -1;
  int saved = errno;
  madvise(address, byte_count, MADV_DONTNEED);
  errno = saved;
  return 0;
}

int mp_pages_release(void *address, size_t byte_count) {
  int saved = errno;
  int refused = counted(&counters.release) || munmap(address, byte_count);
  errno = saved;
  return refused ? failed() : 0;
}

int mp_pages_lock(void *address, size_t byte_count) {
  if (counted(&counters.lock) || mlock(address, byte_count)) return failed();
  return 0;
}

int mp_pages_huge(void *address, size_t byte_count, int wanted) {
#if defined(MADV_HUGEPAGE)
  int saved = errno, result = madvise(address, byte_count, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  errno = saved;  // advice: a kernel without huge pages refuses it, and nothing depends on it
  return result;
#else
  return 0;
#endif
}

int mp_pages_resize(void *address, size_t old_count, size_t new_count) {
#if defined(MREMAP_MAYMOVE)
  if (!counted(&counters.resize) && mremap(address, old_count, new_count, 0) != MAP_FAILED) return 0;
#else
  errno = ENOMEM;
#endif
  return failed();
}

#if defined(MREMAP_FIXED)
// Whether `word` can be read and holds `mark`: a wait that ends at once. EFAULT: nothing there. EAGAIN: something else.
static int holds(uint32_t *word, uint32_t mark) {
  struct timespec none = {0};
  long result;
  do result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, mark, &none, NULL, 0);
  while (result && errno == EINTR);
  return result && errno == ETIMEDOUT;
}
#endif

// mremap unmaps what is at `to` first, and may fail after that: then the place may be another thread's already, and must not be
// unmapped again. Whether it is still ours cannot be seen from errno, so the place carries a mark.
int mp_pages_move(void *from, size_t old_count, void *to, size_t new_count) {
#if defined(MREMAP_FIXED)
  static const uint32_t mark = 0x6d6f7665;
  int refuse = counted(&counters.resize);
  if (!mprotect(to, mp_system_page_size(), PROT_READ | PROT_WRITE)) {
    *(volatile uint32_t *)to = mark;
    if (!refuse && mremap(from, old_count, new_count, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED) return 0;
    int saved = errno;
    // Testing: every other failure is one that has unmapped the place, where another thread has mapped something since.
    if (refuse && mp_fetch_add_relaxed(&refused_moves, 1) % 2)
      mmap(to, new_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (holds(to, mark)) munmap(to, new_count);
    errno = saved;
  } else {
    munmap(to, new_count);
    errno = ENOMEM;
  }
#else
  (void)from, (void)old_count;
  munmap(to, new_count);
  errno = ENOMEM;
#endif
  return failed();
}

// --- A file of memory

#if defined(__linux__)
int mp_file_make(size_t byte_count) {
  int file = counted(&counters.reserve) ? -1 : memfd_create("mempool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return failed();
  // Whoever maps it must not find less of it than there was.
  if (ftruncate(file, (off_t)byte_count) || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
    int saved = errno;
    close(file);
    errno = saved;
    return failed();
  }
  return file;
}

int mp_file_duplicate(int descriptor) { return fcntl(descriptor, F_DUPFD_CLOEXEC, 3); }

size_t mp_file_size(int descriptor) {
  struct stat about;
  int seals = fcntl(descriptor, F_GET_SEALS);
  return seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(descriptor, &about) ? 0 : (size_t)about.st_size;
}

int mp_file_commit(int descriptor, size_t offset, size_t byte_count) {
  int error = counted(&counters.commit);
  while (!error && fallocate(descriptor, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)byte_count)) error = errno != EINTR;
  return error ? failed() : 0;
}

int mp_file_purge(int descriptor, size_t offset, size_t byte_count) {
  int saved = errno, error = counted(&counters.purge);
  const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  while (!error && fallocate(descriptor, hole, (off_t)offset, (off_t)byte_count)) error = errno != EINTR;
  errno = saved;
  return error ? failed() : 0;
}
#else
int mp_file_make(size_t byte_count) { return (void)byte_count, errno = ENOSYS, failed(); }
int mp_file_duplicate(int descriptor) { return (void)descriptor, errno = ENOSYS, failed(); }
size_t mp_file_size(int descriptor) { return (void)descriptor, errno = ENOSYS, 0; }
int mp_file_commit(int descriptor, size_t offset, size_t byte_count) {
  return (void)descriptor, (void)offset, (void)byte_count, errno = ENOSYS, failed();
}
int mp_file_purge(int descriptor, size_t offset, size_t byte_count) {
  return (void)descriptor, (void)offset, (void)byte_count, failed();
}
#endif

void *mp_file_map(int descriptor, size_t offset, size_t byte_count) {
  int refuse = counted(&counters.map);
  void *pages = refuse ? MAP_FAILED : mmap(NULL, byte_count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, (off_t)offset);
  if (pages == MAP_FAILED) failed();
  return pages == MAP_FAILED ? NULL : pages;
}

size_t mp_system_page_size(void) {
  static mp_word size;
  mp_word known = mp_load_relaxed(&size);
  if (!known) mp_store_relaxed(&size, known = (mp_word)sysconf(_SC_PAGESIZE));
  return known;
}

size_t mp_system_memory_size(void) {
  long pages = sysconf(_SC_PHYS_PAGES);
  return pages > 0 ? (size_t)pages * mp_system_page_size() : SIZE_MAX;
}

size_t mp_address_space_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  return limit.rlim_cur;
}

// --- Waiting

#if defined(__linux__)
static void wait_until_changed(mp_word *address, mp_word expected, const struct timespec *timeout) {
  // The kernel compares 32 bits: the low half on the machines that this runs on, and callers keep what changes there.
  int saved = errno;
  uint32_t *half = (uint32_t *)address;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  half += sizeof(mp_word) / sizeof(uint32_t) - 1;
#endif
  syscall(SYS_futex, half, FUTEX_WAIT_PRIVATE, (uint32_t)expected, timeout, NULL, 0);
  errno = saved;
}
#endif

void mp_futex_wait(mp_word *address, mp_word expected) {
#if defined(__linux__)
  wait_until_changed(address, expected, NULL);
#else
  if (mp_load_relaxed(address) == expected) mp_sleep_nanoseconds(50000);
#endif
}

void mp_futex_wait_for(mp_word *address, mp_word expected, uint64_t nanoseconds) {
#if defined(__linux__)
  struct timespec timeout = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
  wait_until_changed(address, expected, &timeout);
#else
  if (mp_load_relaxed(address) == expected) mp_sleep_nanoseconds(nanoseconds < 50000 ? nanoseconds : 50000);
#endif
}

void mp_futex_wake(mp_word *address, int count) {
#if defined(__linux__)
  int saved = errno;
  uint32_t *half = (uint32_t *)address;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  half += sizeof(mp_word) / sizeof(uint32_t) - 1;
#endif
  syscall(SYS_futex, half, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
  errno = saved;
#endif
}

uint64_t mp_clock_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void mp_sleep_nanoseconds(uint64_t nanoseconds) {
  int saved = errno, cancellation = mp_cancellation_off();
  struct timespec left = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
  while (nanosleep(&left, &left) && errno == EINTR) continue;
  mp_cancellation_back(cancellation);
  errno = saved;
}

// --- errno, environment, output

int mp_errno_get(void) { return errno; }
void mp_errno_set(int value) { errno = value; }

mp_word mp_random_word(void) {
  int saved = errno;
  mp_word word = 0;
#if defined(__linux__)
  if (syscall(SYS_getrandom, &word, sizeof word, 1 /* GRND_NONBLOCK */) == (long)sizeof word) {
    errno = saved;
    return word;
  }
#endif
  errno = saved;
  return (mp_word)mp_clock_nanoseconds() * 0x9e3779b97f4a7c15u ^ (mp_word)&word;
}

const char *mp_environment(const char *name) {
#if defined(__GLIBC__)
  return secure_getenv(name);
#else
  return getenv(name);
#endif
}

void mp_write_error(const char *bytes, size_t count) {
  int saved = errno;
  mp_write_all(STDERR_FILENO, bytes, count);
  errno = saved;
}

void mp_abort(void) { abort(); }

// --- Threads

static pthread_key_t exit_key;

int mp_thread_exit_register(void (*on_exit)(void *)) {
  static int registered;
  int error = registered ? 0 : pthread_key_create(&exit_key, on_exit);
  registered = !error;
  return error;
}
void mp_thread_exit_arm(void) { pthread_setspecific(exit_key, &mp_thread_block_storage); }

mp_word mp_purger_state;

static void *run_in_background(void *body) {
  ((void (*)(void))body)();
  return NULL;
}

int mp_background_start(void (*body)(void)) {
  int saved = errno, failure;
  pthread_t thread;
  pthread_attr_t attributes;
  sigset_t all, before;
  if (pthread_attr_init(&attributes)) return -1;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Virtual: what a thread with large thread-local data of other libraries needs besides its own few frames.
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  failure = pthread_create(&thread, &attributes, run_in_background, (void *)body);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  errno = saved;
  return failure ? -1 : 0;
}

int mp_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  return pthread_atfork(prepare, parent, child);
}
int mp_at_exit(void (*handler)(void)) { return atexit(handler); }

// --- The system's allocator: whatever malloc the process has. In the drop-in malloc these would be our own, so there nothing
// calls them: see mp_replaces_malloc.

const int mp_replaces_malloc __attribute__((weak)) = 0;

void *mp_system_malloc(size_t byte_count) { return malloc(byte_count); }
void *mp_system_calloc(size_t count, size_t byte_count) { return calloc(count, byte_count); }
void *mp_system_realloc(void *pointer, size_t byte_count) { return realloc(pointer, byte_count); }
void mp_system_free(void *pointer) { free(pointer); }

void *mp_system_memalign(size_t alignment, size_t byte_count) {
  void *pointer = NULL;
  int error = posix_memalign(&pointer, alignment < sizeof(void *) ? sizeof(void *) : alignment, byte_count);
  if (!error) return pointer;
  errno = error;
  return NULL;
}

size_t mp_system_usable_size(void *pointer) {
#if defined(__linux__)
  return malloc_usable_size(pointer);
#else
  (void)pointer;
  return 0;
#endif
}
