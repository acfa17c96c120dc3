// The operations of Sources/CMempoolShims/include/atomics.h, each a call of the machine. Its include guard is taken, so that the
// headers that include it get these.
#ifndef MP_ATOMICS_H
#define MP_ATOMICS_H

#include <stdint.h>

#define MP_INLINE static inline __attribute__((always_inline))

typedef unsigned long mp_word;

typedef enum mp_order { MP_RELAXED = 0, MP_ACQUIRE = 1, MP_RELEASE = 2, MP_ACQ_REL = 3 } mp_order;
typedef enum mp_operation {
  MP_LOAD, MP_STORE, MP_SWAP, MP_EXCHANGE, MP_AND, MP_OR, MP_ADD, MP_FENCE, MP_PAUSE, MP_SLEEP, MP_WAIT, MP_WAKE, MP_NOTE
} mp_operation;

// Does one operation on one word; what was there before. `expected` is a swap's.
mp_word mp_model_access(mp_operation operation, mp_order order, mp_word *_Nonnull address, mp_word expected, mp_word operand);
void mp_model_fence(mp_order order, int is_sequential);
void mp_model_site(int number);    // the next operation is this one of the engine's ordered operations
int mp_mutant(int number);         // whether this mutant is at work
uint32_t mp_load32_relaxed(const uint32_t *_Nonnull address);
void mp_store32_relaxed(uint32_t *_Nonnull address, uint32_t value);
uint16_t mp_load16_relaxed(const uint16_t *_Nonnull address);
void mp_store16_relaxed(uint16_t *_Nonnull address, uint16_t value);
uint16_t mp_compare_and_swap16_relaxed(uint16_t *_Nonnull address, uint16_t expected, uint16_t desired);

MP_INLINE mp_word mp_load_relaxed(const mp_word *_Nonnull address) {
  return mp_model_access(MP_LOAD, MP_RELAXED, (mp_word *)address, 0, 0);
}
MP_INLINE mp_word mp_load_acquire(const mp_word *_Nonnull address) {
  return mp_model_access(MP_LOAD, MP_ACQUIRE, (mp_word *)address, 0, 0);
}
MP_INLINE void mp_store_relaxed(mp_word *_Nonnull address, mp_word value) {
  mp_model_access(MP_STORE, MP_RELAXED, address, 0, value);
}
MP_INLINE void mp_store_release(mp_word *_Nonnull address, mp_word value) {
  mp_model_access(MP_STORE, MP_RELEASE, address, 0, value);
}

#define MP_SWAP_OF(ordering, order)                                                                          \
  MP_INLINE mp_word mp_compare_and_swap_##ordering(mp_word *_Nonnull address, mp_word expected, mp_word desired) { \
    return mp_model_access(MP_SWAP, order, address, expected, desired);                                      \
  }
#define MP_FETCH(name, operation, ordering, order)                                            \
  MP_INLINE mp_word mp_##name##_##ordering(mp_word *_Nonnull address, mp_word operand) {      \
    return mp_model_access(operation, order, address, 0, operand);                            \
  }
// Weaker orders than the shipped floor has are there for mutants.
MP_SWAP_OF(relaxed, MP_RELAXED)
MP_SWAP_OF(acquire, MP_ACQUIRE)
MP_SWAP_OF(release, MP_RELEASE)
MP_SWAP_OF(acq_rel, MP_ACQ_REL)
MP_FETCH(exchange, MP_EXCHANGE, relaxed, MP_RELAXED)
MP_FETCH(exchange, MP_EXCHANGE, acquire, MP_ACQUIRE)
MP_FETCH(exchange, MP_EXCHANGE, release, MP_RELEASE)
MP_FETCH(exchange, MP_EXCHANGE, acq_rel, MP_ACQ_REL)
MP_FETCH(fetch_and, MP_AND, relaxed, MP_RELAXED)
MP_FETCH(fetch_and, MP_AND, release, MP_RELEASE)
MP_FETCH(fetch_and, MP_AND, acq_rel, MP_ACQ_REL)
MP_FETCH(fetch_or, MP_OR, relaxed, MP_RELAXED)
MP_FETCH(fetch_or, MP_OR, acquire, MP_ACQUIRE)
MP_FETCH(fetch_or, MP_OR, release, MP_RELEASE)
MP_FETCH(fetch_or, MP_OR, acq_rel, MP_ACQ_REL)
MP_FETCH(fetch_add, MP_ADD, relaxed, MP_RELAXED)
MP_FETCH(fetch_add, MP_ADD, acq_rel, MP_ACQ_REL)
#undef MP_SWAP_OF
#undef MP_FETCH

MP_INLINE void mp_fence_full(void) { mp_model_fence(MP_ACQ_REL, 1); }
// For a mutant: orders only what this thread does.
MP_INLINE void mp_fence_acq_rel(void) { mp_model_fence(MP_ACQ_REL, 0); }
MP_INLINE void mp_fence_compiler(void) {}

#endif
