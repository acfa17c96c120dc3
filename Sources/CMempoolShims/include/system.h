// The few calls of libc and the kernel that Swift cannot reach without allocating or without Foundation.
#ifndef MP_SYSTEM_H
#define MP_SYSTEM_H

#include "atomics.h"
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

enum { MP_EINVAL = EINVAL, MP_ENOMEM = ENOMEM, MP_EBUSY = EBUSY, MP_EOVERFLOW = EOVERFLOW, MP_EAGAIN = EAGAIN };

// --- Memory. Each returns NULL or -1 on failure, with errno; purge, lend, guard and release keep errno. Sizes and addresses are
// multiples of the system page.
void *_Nullable mp_pages_reserve(size_t byte_count, size_t alignment);          // PROT_NONE, no memory behind it
void *_Nullable mp_pages_map(size_t byte_count, size_t alignment);              // readable, writable, zero
void *_Nullable mp_pages_take(size_t byte_count, size_t alignment);             // the same, if the machine has so much memory
int mp_pages_commit(void *_Nonnull address, size_t byte_count);                 // makes reserved pages accessible
int mp_pages_purge(void *_Nonnull address, size_t byte_count);                  // gives memory back; reads as zero after
int mp_pages_lend(void *_Nonnull address, size_t byte_count);                   // the system may take memory when it needs some
int mp_pages_guard(void *_Nonnull address, size_t byte_count);                  // gives memory back; any access is a fault after
int mp_pages_release(void *_Nonnull address, size_t byte_count);                // unmaps
int mp_pages_lock(void *_Nonnull address, size_t byte_count);
int mp_pages_huge(void *_Nonnull address, size_t byte_count, int wanted);       // advice on huge pages
int mp_pages_resize(void *_Nonnull address, size_t old_count, size_t new_count);  // in place
// Puts pages in place of the reservation at `to`, of new_count bytes. After a failure `from` is as it was, and `to` is not the
// caller's any more: nothing of it is to be given back.
int mp_pages_move(void *_Nonnull from, size_t old_count, void *_Nonnull to, size_t new_count);
size_t mp_system_page_size(void);
size_t mp_system_memory_size(void);                                             // the machine's, or SIZE_MAX
size_t mp_address_space_limit(void);                                            // RLIMIT_AS, or SIZE_MAX

// --- A file of memory that has no name, which processes may share. Offsets and sizes are multiples of the system page. The calls count
// as those above that do the same, and fail with them.
int mp_file_make(size_t byte_count);                                            // sparse, of this size for good; not inherited by exec
int mp_file_duplicate(int descriptor);                                          // another number for it; not inherited by exec
size_t mp_file_size(int descriptor);                                            // 0 unless it is one, of a size that stays
int mp_file_commit(int descriptor, size_t offset, size_t byte_count);           // sees to memory for a part
int mp_file_purge(int descriptor, size_t offset, size_t byte_count);            // gives a part's memory back; reads as zero after
void *_Nullable mp_file_map(int descriptor, size_t offset, size_t byte_count);  // readable, writable, shared

// Calls of the above so far, failures included, and how many of them failed.
typedef struct mp_system_counters {
  mp_word reserve, map, commit, purge, release, lock, resize, failed;
} mp_system_counters;
void mp_system_counters_read(mp_system_counters *_Nonnull out);
// What the kernel has for this process: bytes in memory now, 0 where /proc is not to be had, and page faults so far. Allocates
// nothing, keeps errno.
typedef struct mp_system_usage {
  mp_word resident_bytes, minor_faults, major_faults;
} mp_system_usage;
void mp_system_usage_read(mp_system_usage *_Nonnull out);
// Testing: every nth memory call from now on fails with ENOMEM; 0 turns it off.
void mp_system_fail_every(mp_word n);
// Testing: no single reservation above this many bytes succeeds; 0 turns it off.
void mp_system_reserve_limit(size_t byte_count);

// The C library's memset: with Embedded Swift's own means clearing is a loop of bytes.
MP_INLINE void mp_memory_clear(void *_Nonnull address, size_t byte_count) { __builtin_memset(address, 0, byte_count); }

// --- Waiting.
void mp_futex_wait(mp_word *_Nonnull address, mp_word expected);                // may return early
void mp_futex_wait_for(mp_word *_Nonnull address, mp_word expected, uint64_t nanoseconds);  // may return early
void mp_futex_wake(mp_word *_Nonnull address, int count);
uint64_t mp_clock_nanoseconds(void);                                            // monotonic
void mp_sleep_nanoseconds(uint64_t nanoseconds);                                // at least this long
MP_INLINE void mp_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// --- errno, environment, output. None of these allocates.
int mp_errno_get(void);
void mp_errno_set(int value);
const char *_Nullable mp_environment(const char *_Nonnull name);                // secure_getenv
void mp_write_error(const char *_Nonnull bytes, size_t count);                  // all of it, to stderr
_Noreturn void mp_abort(void);

// A word that nobody can guess, from the kernel; where that gives none, from the clock and an address.
mp_word mp_random_word(void);

// --- Threads. `on_exit` runs in each round of key destructors in which the thread was armed.
int mp_thread_exit_register(void (*_Nonnull on_exit)(void *_Nullable));         // by one thread at a time; once
void mp_thread_exit_arm(void);
// Runs `body` on a thread of its own that handles no signal. Allocates. 0, or -1.
int mp_background_start(void (*_Nonnull body)(void));
int mp_fork_register(void (*_Nonnull prepare)(void), void (*_Nonnull parent)(void), void (*_Nonnull child)(void));
int mp_at_exit(void (*_Nonnull handler)(void));

// One word: what the thread that purges is doing.
MP_INLINE mp_word *_Nonnull mp_purger_address(void) {
  extern mp_word mp_purger_state __attribute__((visibility("hidden")));
  return &mp_purger_state;
}

// --- The system's own allocator, for pass-through pools and fall-back.
void *_Nullable mp_system_malloc(size_t byte_count);
void *_Nullable mp_system_calloc(size_t count, size_t byte_count);
void *_Nullable mp_system_memalign(size_t alignment, size_t byte_count);
void *_Nullable mp_system_realloc(void *_Nullable pointer, size_t byte_count);
void mp_system_free(void *_Nullable pointer);
size_t mp_system_usable_size(void *_Nullable pointer);
// 1 in the library that is the process's malloc, which has no other to fall back to.
extern const int mp_replaces_malloc __attribute__((visibility("hidden")));

#endif
