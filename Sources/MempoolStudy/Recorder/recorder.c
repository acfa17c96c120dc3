// libmempool-record.so: writes what a program asks its malloc for into a file (Trace/Trace.swift says in what form).
//
// Preloaded before whatever malloc the program would have. Each thread fills a buffer of its own; a full one is written at once. An object is
// recorded or not by its address, so that its allocation and its free agree without a table. A free is noted before it happens, and
// an allocation after it: whoever gets the same address next has a later time.
//
//   MEMPOOL_RECORD_FILE     where to; nothing is recorded without it
//   MEMPOOL_RECORD_PROCESS  only in this process; what it starts is left alone
//   MEMPOOL_RECORD_SAMPLE   one object in so many, a power of two
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum { FREE, ALLOCATE, FREE_BY_REALLOC, ALLOCATE_BY_REALLOC };
enum { HEAD = 16, PAYLOAD = 32 * 1024, LONGEST_RECORD = 30 };

struct buffer {
  struct buffer *next;
  atomic_int owned, locked;
  uint32_t thread, count;
  uint64_t time, address;
  size_t used;
  unsigned char bytes[HEAD + PAYLOAD];
};

static struct {
  void *(*malloc)(size_t);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void (*free)(void *);
  void *(*aligned_alloc)(size_t, size_t);
  void *(*memalign)(size_t, size_t);
  int (*posix_memalign)(void **, size_t, size_t);
} next;

static atomic_int is_resolved, is_on, file = -1;
static dev_t file_device;
static ino_t file_inode;
static pid_t process_id;
static uint64_t start_time, sample_mask;
static _Atomic(struct buffer *) buffers;
static atomic_uint threads, blocks;
static pthread_key_t at_thread_exit;
static uint32_t crc_table[256];
static __thread struct buffer *mine __attribute__((tls_model("initial-exec")));
static __thread int is_busy __attribute__((tls_model("initial-exec")));
static __thread int exit_rounds __attribute__((tls_model("initial-exec")));

// What dlsym allocates while it looks for malloc.
static _Alignas(16) unsigned char early[16384];
static atomic_size_t early_used;

static void *take_early(size_t size) {
  size_t place = atomic_fetch_add(&early_used, (size + 15) & ~(size_t)15);
  return place + size <= sizeof early ? early + place : NULL;
}

static int is_early(const void *pointer) {
  return (uintptr_t)pointer - (uintptr_t)early < sizeof early;
}

// --- Writing

static uint32_t checksum(const unsigned char *bytes, size_t count) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < count; i++) crc = crc_table[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
  return ~crc;
}

static void put_number(unsigned char *at, uint32_t number) {
  for (int i = 0; i < 4; i++) at[i] = (unsigned char)(number >> 8 * i);
}

// Whether `file` is what was opened: the program may have closed it, and got the number for a file of its own.
static int is_ours(void) {
  struct stat found;
  return fstat(file, &found) == 0 && found.st_dev == file_device && found.st_ino == file_inode;
}

// write() would be a point at which a thread is cancelled, with its buffer locked; a system call by number is none.
static void put_bytes(const unsigned char *bytes, size_t count) {
  while (is_ours()) {
    ssize_t written = syscall(SYS_write, (int)file, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written == (ssize_t)count) return;
    break;
  }
  // The disk is full, or the file is not there any more. What was written stays, of the last block perhaps a part, and no end follows.
  is_on = 0;
  file = -1;
}

static void put_block(unsigned char *head, size_t payload, uint32_t thread, uint32_t count) {
  put_number(head, (uint32_t)payload);
  put_number(head + 8, thread);
  put_number(head + 12, count);
  put_number(head + 4, checksum(head + 8, payload + 8));
  // A block is one write, to the end of the file: threads' blocks do not mix.
  put_bytes(head, HEAD + payload);
}

static void flush(struct buffer *buffer) {
  if (buffer->count == 0) return;
  // A child that was made by _Fork, which calls no handler.
  if (getpid() != process_id) {
    is_on = 0;
    return;
  }
  atomic_fetch_add(&blocks, 1);
  put_block(buffer->bytes, buffer->used, buffer->thread, buffer->count);
  buffer->count = 0;
  buffer->used = 0;
  buffer->time = 0;
  buffer->address = 0;
}

static void lock(struct buffer *buffer) {
  while (atomic_exchange_explicit(&buffer->locked, 1, memory_order_acquire)) sched_yield();
}

// Who has it may never give it back: a signal handler left record() by siglongjmp, or ends the process.
static int lock_soon(struct buffer *buffer) {
  for (int tries = 0; tries < 1000; tries++) {
    if (!atomic_exchange_explicit(&buffer->locked, 1, memory_order_acquire)) return 1;
    sched_yield();
  }
  return 0;
}

static void unlock(struct buffer *buffer) { atomic_store_explicit(&buffer->locked, 0, memory_order_release); }

// --- Recording

static struct buffer *find_buffer(void) {
  struct buffer *buffer = buffers;
  for (; buffer; buffer = buffer->next) {
    int nobody = 0;
    if (atomic_compare_exchange_strong(&buffer->owned, &nobody, 1)) break;
  }
  if (!buffer) {
    buffer = mmap(NULL, sizeof *buffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) return NULL;
    buffer->owned = 1;
    buffer->next = buffers;
    while (!atomic_compare_exchange_weak(&buffers, &buffer->next, buffer)) continue;
  }
  buffer->thread = atomic_fetch_add(&threads, 1);
  mine = buffer;
  pthread_setspecific(at_thread_exit, buffer);
  return buffer;
}

static void thread_ends(void *buffer) {
  // Destructors of other keys come after this one, and free; only after the last round none does.
  if (++exit_rounds < PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(at_thread_exit, buffer) == 0) return;
  // What is freed from now on is not recorded: it would be by a thread that nobody knows.
  is_busy = 1;
  mine = NULL;
  if (!lock_soon(buffer)) return;
  if (is_on) flush(buffer);
  unlock(buffer);
  ((struct buffer *)buffer)->owned = 0;
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec - start_time;
}

static unsigned char *put_varint(unsigned char *at, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = (unsigned char)value | 0x80;
  *at++ = (unsigned char)value;
  return at;
}

static inline int is_wanted(const void *pointer) {
  return is_on && pointer && (((uintptr_t)pointer >> 3) * 0x9e3779b97f4a7c15u >> 40 & sample_mask) == 0;
}

static void record(int kind, const void *pointer, size_t size, uint64_t time) {
  // pthread_setspecific may allocate.
  if (is_busy) return;
  is_busy = 1;
  int saved = errno;
  struct buffer *buffer = mine ? mine : find_buffer();
  if (buffer) {
    lock(buffer);
    unsigned char *at = buffer->bytes + HEAD + buffer->used;
    // A realloc that calls malloc by its name is noted after it, and has begun before.
    if (time < buffer->time) time = buffer->time;
    at = put_varint(at, (time - buffer->time) << 2 | (unsigned)kind);
    // No malloc aligns to less.
    int64_t step = (int64_t)((uintptr_t)pointer - buffer->address) / 8;
    at = put_varint(at, (uint64_t)step << 1 ^ (uint64_t)(step >> 63));
    if (kind & 1) at = put_varint(at, size);
    buffer->time = time;
    buffer->address = (uintptr_t)pointer;
    buffer->count++;
    buffer->used = (size_t)(at - buffer->bytes) - HEAD;
    if (buffer->used + LONGEST_RECORD > PAYLOAD && is_on) flush(buffer);
    unlock(buffer);
  }
  errno = saved;
  is_busy = 0;
}

// --- Starting and ending

static void resolve(void) {
  static atomic_int is_resolving;
  if (atomic_exchange(&is_resolving, 1)) return;
  next.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
  next.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
  next.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
  next.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
  next.aligned_alloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
  next.memalign = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "memalign");
  next.posix_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
  is_resolved = 1;
}

static void turn_off(void) { is_on = 0; }

__attribute__((constructor)) static void begin(void) {
  resolve();
  const char *path = secure_getenv("MEMPOOL_RECORD_FILE"), *process = secure_getenv("MEMPOOL_RECORD_PROCESS");
  const char *sample = secure_getenv("MEMPOOL_RECORD_SAMPLE");
  if (!path || (process && atol(process) != getpid())) return;
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
    crc_table[byte] = crc;
  }
  unsigned long period = sample ? strtoul(sample, NULL, 10) : 1;
  while (period & (period - 1)) period &= period - 1;
  if (period == 0 || period > 1u << 20) period = 1;
  sample_mask = period - 1;
  // A number that the program will not take for one of its own, and not hand on.
  int opened = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (opened < 0) return;
  int high = fcntl(opened, F_DUPFD_CLOEXEC, 500);
  file = high >= 0 ? high : opened;
  if (high >= 0) close(opened);
  struct stat made;
  if (fstat(file, &made)) return;
  file_device = made.st_dev;
  file_inode = made.st_ino;
  process_id = getpid();
  if (pthread_key_create(&at_thread_exit, thread_ends) || pthread_atfork(NULL, NULL, turn_off)) return;
  start_time = 0;
  start_time = now();
  unsigned char header[32] = "MPTRACE";
  put_number(header + 8, 2);
  put_number(header + 12, (uint32_t)period);
  put_number(header + 24, (uint32_t)process_id);
  put_number(header + 28, checksum(header, 28));
  is_on = 1;
  put_bytes(header, sizeof header);
}

__attribute__((destructor)) static void end(void) {
  if (getpid() != process_id || !atomic_exchange(&is_on, 0)) return;
  int is_whole = 1;
  for (struct buffer *buffer = buffers; buffer; buffer = buffer->next) {
    if (!lock_soon(buffer)) {
      is_whole = 0;
      continue;
    }
    flush(buffer);
    unlock(buffer);
  }
  // Without what is in a buffer that somebody keeps, the file is not whole, and gets no end.
  if (!is_whole) return;
  unsigned char last[HEAD];
  put_block(last, 0, UINT32_MAX, blocks);
}

// --- The names

PUBLIC void *malloc(size_t size) {
  if (UNLIKELY(!is_resolved)) {
    resolve();
    if (!is_resolved) return take_early(size);
  }
  void *pointer = next.malloc(size);
  if (UNLIKELY(is_wanted(pointer))) record(ALLOCATE, pointer, size, now());
  return pointer;
}

PUBLIC void free(void *pointer) {
  if (UNLIKELY(is_early(pointer))) return;
  if (UNLIKELY(is_wanted(pointer))) record(FREE, pointer, 0, now());
  if (pointer) next.free(pointer);
}

PUBLIC void *calloc(size_t count, size_t size) {
  if (UNLIKELY(!is_resolved)) {
    resolve();
    // Fresh, and so zero.
    if (!is_resolved) return take_early(count * size);
  }
  void *pointer = next.calloc(count, size);
  if (UNLIKELY(is_wanted(pointer))) record(ALLOCATE, pointer, count * size, now());
  return pointer;
}

PUBLIC void *realloc(void *old, size_t size) {
  if (!old) return malloc(size);
  if (UNLIKELY(is_early(old))) {
    void *pointer = malloc(size);
    size_t rest = (size_t)(early + sizeof early - (unsigned char *)old);
    if (pointer) memcpy(pointer, old, size < rest ? size : rest);
    return pointer;
  }
  int was_wanted = is_wanted(old);
  uint64_t before = was_wanted ? now() : 0;
  void *pointer = next.realloc(old, size);
  // Nothing has gone where it failed; where the size is 0, NULL means that it is gone.
  if (UNLIKELY(was_wanted) && (pointer || size == 0)) record(FREE_BY_REALLOC, old, 0, before);
  if (UNLIKELY(is_wanted(pointer))) record(ALLOCATE_BY_REALLOC, pointer, size, now());
  return pointer;
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size) {
  if (UNLIKELY(!is_resolved)) resolve();
  void *pointer = next.aligned_alloc(alignment, size);
  if (UNLIKELY(is_wanted(pointer))) record(ALLOCATE, pointer, size, now());
  return pointer;
}

PUBLIC void *memalign(size_t alignment, size_t size) {
  if (UNLIKELY(!is_resolved)) resolve();
  void *pointer = next.memalign(alignment, size);
  if (UNLIKELY(is_wanted(pointer))) record(ALLOCATE, pointer, size, now());
  return pointer;
}

PUBLIC int posix_memalign(void **result, size_t alignment, size_t size) {
  if (UNLIKELY(!is_resolved)) resolve();
  int error = next.posix_memalign(result, alignment, size);
  if (UNLIKELY(error == 0 && is_wanted(*result))) record(ALLOCATE, *result, size, now());
  return error;
}
