// Atomic operations on machine words, over libatomic_ops. The ordering is part of the verb, so that a reader sees it.
//
// libatomic_ops has no exchange and no fetch-and or fetch-or, so these are loops over its compare-and-swap. With clang it
// expands to compiler atomics, which ThreadSanitizer understands; do not define AO_DISABLE_GCC_ATOMICS.
#ifndef MP_ATOMICS_H
#define MP_ATOMICS_H

#if !__has_include(<atomic_ops.h>)
#error "Mempool needs libatomic_ops: install Debian's package libatomic-ops-dev (apt-get install libatomic-ops-dev)"
#endif
#include <atomic_ops.h>
#include <stdint.h>

#define MP_INLINE static inline __attribute__((always_inline))

typedef unsigned long mp_word;  // one machine word; AO_t's size, imported by Swift as UInt
_Static_assert(sizeof(mp_word) == sizeof(AO_t), "a word is an AO_t");

#define MP_AO(address) ((volatile AO_t *)(address))

MP_INLINE mp_word mp_load_relaxed(const mp_word *_Nonnull address) { return AO_load((const volatile AO_t *)address); }
MP_INLINE mp_word mp_load_acquire(const mp_word *_Nonnull address) {
  return AO_load_acquire((const volatile AO_t *)address);
}
MP_INLINE void mp_store_relaxed(mp_word *_Nonnull address, mp_word value) { AO_store(MP_AO(address), value); }
MP_INLINE void mp_store_release(mp_word *_Nonnull address, mp_word value) { AO_store_release(MP_AO(address), value); }

// Each returns the value found; the swap happened when it equals `expected`.
MP_INLINE mp_word mp_compare_and_swap_relaxed(mp_word *_Nonnull address, mp_word expected, mp_word desired) {
  return AO_fetch_compare_and_swap(MP_AO(address), expected, desired);
}
MP_INLINE mp_word mp_compare_and_swap_acquire(mp_word *_Nonnull address, mp_word expected, mp_word desired) {
  return AO_fetch_compare_and_swap_acquire(MP_AO(address), expected, desired);
}
MP_INLINE mp_word mp_compare_and_swap_release(mp_word *_Nonnull address, mp_word expected, mp_word desired) {
  return AO_fetch_compare_and_swap_release(MP_AO(address), expected, desired);
}
MP_INLINE mp_word mp_compare_and_swap_acq_rel(mp_word *_Nonnull address, mp_word expected, mp_word desired) {
  return AO_fetch_compare_and_swap_full(MP_AO(address), expected, desired);
}

// Each returns the value before.
#define MP_FETCH(name, ordering, expression)                                                       \
  MP_INLINE mp_word mp_##name##_##ordering(mp_word *_Nonnull address, mp_word operand) {           \
    mp_word old = mp_load_relaxed(address), seen;                                                  \
    while ((seen = mp_compare_and_swap_##ordering(address, old, (expression))) != old) old = seen; \
    return old;                                                                                    \
  }
MP_FETCH(exchange, acquire, operand)
MP_FETCH(exchange, release, operand)
MP_FETCH(exchange, acq_rel, operand)
MP_FETCH(fetch_and, relaxed, old &operand)
MP_FETCH(fetch_and, release, old &operand)
MP_FETCH(fetch_and, acq_rel, old &operand)
MP_FETCH(fetch_or, relaxed, old | operand)
MP_FETCH(fetch_or, acquire, old | operand)
MP_FETCH(fetch_or, acq_rel, old | operand)
MP_FETCH(fetch_add, relaxed, old + operand)
MP_FETCH(fetch_add, acq_rel, old + operand)
#undef MP_FETCH

// Orders everything before it against everything after it, for all threads.
MP_INLINE void mp_fence_full(void) { AO_nop_full(); }
// Orders for this thread's own signal handlers and for a fork: no instruction.
MP_INLINE void mp_fence_compiler(void) { AO_compiler_barrier(); }

// Halves and quarters of a word, for tables that one thread writes and others may look at.
MP_INLINE uint32_t mp_load32_relaxed(const uint32_t *_Nonnull address) {
  return AO_int_load((const volatile unsigned *)address);
}
MP_INLINE void mp_store32_relaxed(uint32_t *_Nonnull address, uint32_t value) {
  AO_int_store((volatile unsigned *)address, value);
}
MP_INLINE uint16_t mp_load16_relaxed(const uint16_t *_Nonnull address) {
  return AO_short_load((const volatile unsigned short *)address);
}
MP_INLINE void mp_store16_relaxed(uint16_t *_Nonnull address, uint16_t value) {
  AO_short_store((volatile unsigned short *)address, value);
}
// Returns the value found; the swap happened when it equals `expected`.
MP_INLINE uint16_t mp_compare_and_swap16_relaxed(uint16_t *_Nonnull address, uint16_t expected, uint16_t desired) {
  return AO_short_fetch_compare_and_swap((volatile unsigned short *)address, expected, desired);
}

#endif
