#include "CMempoolShims.h"

static const unsigned char empty_slab[MP_EMPTY_SLAB_BYTES] __attribute__((aligned(64)));

#define EMPTY_4 (void *)empty_slab, (void *)empty_slab, (void *)empty_slab, (void *)empty_slab
#define EMPTY_16 EMPTY_4, EMPTY_4, EMPTY_4, EMPTY_4
void *const mp_empty_heap[MP_EMPTY_WORDS] __attribute__((aligned(64))) = {EMPTY_16, EMPTY_16, EMPTY_16, EMPTY_16};

__thread mp_thread_block mp_thread_block_storage __attribute__((tls_model("initial-exec"), aligned(64))) = {
    .heap = (mp_word)mp_empty_heap,
    .real_heap = (mp_word)mp_empty_heap,
};

unsigned char mp_process_storage[MP_PROCESS_BYTES] __attribute__((aligned(64)));

// What SizeClass.itemSize says, the other way round; a test compares them. Class 0 ends at 8 bytes, class n at 16n up to 128; then
// eight classes a doubling.
#define STEP(doubling, step)                                                            \
  [(16 << (doubling)) + (2 << (doubling)) * (step) + 1 ... (16 << (doubling)) + (2 << (doubling)) * ((step) + 1)] = \
      9 + 8 * (doubling) + (step)
#define STEPS_7(doubling) \
  STEP(doubling, 0), STEP(doubling, 1), STEP(doubling, 2), STEP(doubling, 3), STEP(doubling, 4), STEP(doubling, 5), STEP(doubling, 6)
#define STEPS(doubling) STEPS_7(doubling), STEP(doubling, 7)
const unsigned char mp_class_table[MP_CLASS_TABLE_BYTES] __attribute__((aligned(64))) = {
    0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, STEPS(0), STEPS(1), STEPS(2), STEPS(3), STEPS_7(4),
};
mp_word mp_map_root[MP_MAP_ROOT_WORDS] __attribute__((aligned(64)));
