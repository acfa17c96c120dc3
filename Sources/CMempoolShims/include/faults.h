// What guard pages need of the system: how a thread came here, and a say when it touches what it must not.
#ifndef MP_FAULTS_H
#define MP_FAULTS_H

#include "atomics.h"
#include <stddef.h>

// --- Backtraces. The first call of all loads the unwinder, which allocates; later ones do not.
enum { MP_FRAMES = 20 };
// At most MP_FRAMES return addresses, the caller's own first; how many. 0 where the C library has no unwinder. Keeps errno.
int mp_backtrace(mp_word *_Nonnull frames);
// Writes one to standard error, on a line of its own, by the name of its function where that is known. Allocates nothing, keeps errno.
void mp_backtrace_write(mp_word frame);
mp_word mp_thread_id(void);                                                     // the kernel's number of the calling thread

// --- Faults: SIGSEGV and SIGBUS.
enum { MP_ACCESS_UNKNOWN = 0, MP_ACCESS_READ = 1, MP_ACCESS_WRITE = 2, MP_ACCESS_EXECUTE = 3 };
// From now on asks `is_ours` about each fault. True: the process ends by the signal, as it would have without a handler. False: what was
// to happen before goes on. 0, or -1 with errno and nothing changed. Once.
int mp_faults_watch(int (*_Nonnull is_ours)(mp_word address, int access));

// Takes the access to pages away, which keep their memory. Keeps errno.
int mp_pages_protect(void *_Nonnull address, size_t byte_count);

// Storage of the region of guarded objects (Segment/GuardRegion.swift); zero until it is started.
enum { MP_GUARD_BYTES = 256 };
extern unsigned char mp_guard_storage[MP_GUARD_BYTES] __attribute__((visibility("hidden")));
MP_INLINE void *_Nonnull mp_guard_address(void) { return mp_guard_storage; }

#endif
