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
mp_word mp_map_root[MP_MAP_ROOT_WORDS] __attribute__((aligned(64)));
