// Requests to valgrind's memcheck, with the trait `Valgrind`; without it nothing imports this, and valgrind's headers need not be
// there. Outside of valgrind each is a few instructions without effect. docs/valgrind.md says what they are for.
#ifndef MP_VALGRIND_H
#define MP_VALGRIND_H

#if !__has_include(<valgrind/memcheck.h>)
#error "Mempool with the trait Valgrind needs valgrind's headers: install Debian's package valgrind (apt-get install valgrind)"
#endif
#include <stddef.h>
#include <stdint.h>
#include <valgrind/memcheck.h>

#define MP_REQUEST static inline __attribute__((always_inline))

MP_REQUEST int mp_memcheck_running(void) { return RUNNING_ON_VALGRIND != 0; }

// --- Objects of the process. They have no red zones.
MP_REQUEST void mp_memcheck_allocated(uintptr_t object, size_t byte_count, int is_zeroed) {
  VALGRIND_MALLOCLIKE_BLOCK(object, byte_count, 0, is_zeroed);
}
MP_REQUEST void mp_memcheck_freed(uintptr_t object) { VALGRIND_FREELIKE_BLOCK(object, 0); }
MP_REQUEST void mp_memcheck_resized(uintptr_t object, size_t before, size_t after) {
  VALGRIND_RESIZEINPLACE_BLOCK(object, before, after, 0);
}

// --- Objects of a pool, or items of a slab cache, by the address of its record.
MP_REQUEST void mp_memcheck_pool_made(uintptr_t pool) { VALGRIND_CREATE_MEMPOOL(pool, 0, 0); }
MP_REQUEST void mp_memcheck_pool_gone(uintptr_t pool) { VALGRIND_DESTROY_MEMPOOL(pool); }
MP_REQUEST void mp_memcheck_pool_allocated(uintptr_t pool, uintptr_t object, size_t byte_count) {
  VALGRIND_MEMPOOL_ALLOC(pool, object, byte_count);
}
MP_REQUEST void mp_memcheck_pool_freed(uintptr_t pool, uintptr_t object) { VALGRIND_MEMPOOL_FREE(pool, object); }
MP_REQUEST void mp_memcheck_pool_resized(uintptr_t pool, uintptr_t object, size_t byte_count) {
  VALGRIND_MEMPOOL_CHANGE(pool, object, object, byte_count);
}

// --- Memory.
MP_REQUEST void mp_memcheck_no_access(uintptr_t start, size_t byte_count) {
  (void)VALGRIND_MAKE_MEM_NOACCESS(start, byte_count);
}
MP_REQUEST void mp_memcheck_undefined(uintptr_t start, size_t byte_count) {
  (void)VALGRIND_MAKE_MEM_UNDEFINED(start, byte_count);
}
MP_REQUEST void mp_memcheck_defined(uintptr_t start, size_t byte_count) {
  (void)VALGRIND_MAKE_MEM_DEFINED(start, byte_count);
}
// Accesses in this range are not reported, whatever it is.
MP_REQUEST void mp_memcheck_ignore(uintptr_t start, size_t byte_count) {
  (void)VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(start, byte_count);
}
MP_REQUEST void mp_memcheck_heed(uintptr_t start, size_t byte_count) {
  (void)VALGRIND_ENABLE_ADDR_ERROR_REPORTING_IN_RANGE(start, byte_count);
}

// --- This thread's errors: not reported from `silence` to `listen`, which nest.
MP_REQUEST void mp_memcheck_silence(void) { VALGRIND_DISABLE_ERROR_REPORTING; }
MP_REQUEST void mp_memcheck_listen(void) { VALGRIND_ENABLE_ERROR_REPORTING; }

// Bytes from `start` on that the program may access, at most `byte_count`. The request reports what it finds, hence the silence.
MP_REQUEST size_t mp_memcheck_accessible(uintptr_t start, size_t byte_count) {
  mp_memcheck_silence();
  uintptr_t bad = VALGRIND_CHECK_MEM_IS_ADDRESSABLE(start, byte_count);
  mp_memcheck_listen();
  return bad ? bad - start : byte_count;
}

#endif
