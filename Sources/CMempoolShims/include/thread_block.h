// The thread block: what an allocating thread must reach in one %fs-relative load, and nothing else.
//
// At most 256 bytes: a library with a larger initial-exec block could not be dlopen'ed.
#ifndef MP_THREAD_BLOCK_H
#define MP_THREAD_BLOCK_H

#include "atomics.h"
#include <stddef.h>

enum { MP_THREAD_RECENT = 8 };

typedef struct mp_thread_entry {
  mp_word owner;                // id of a pool or a slab cache; never reused; 0: none
  void *_Nullable value;        // this thread's heap in that pool, or its leases in that cache
} mp_thread_entry;

typedef struct mp_thread_block {
  // The shared pool's first reservation; all zero until this thread's first slow path.
  mp_word base;                 // address of its first page
  mp_word byte_count;           // of its pages; an offset at or past it takes the slow path
  void *_Nullable pages;        // its page table
  mp_word heap;                 // address of the heap that it allocates from without more ado; of the empty heap: by the slow path
  mp_word real_heap;            // address of its heap in the shared pool; of the empty heap before and after
  mp_word state;                // MP_THREAD_NEW, MP_THREAD_LIVE, MP_THREAD_DEAD
  mp_word number;               // spreads threads over cells; 0 until first used
  mp_word registered;           // heaps and leases that this thread holds beside the shared pool's heap
  mp_word counted;              // 1: it is one of the process's threads that have a heap
  mp_word beside;               // heaps of the shared pool that it adopted beside its own
  mp_word guard_countdown;      // allocations up to the next one that gets a page of its own, this one included; 0: none does
  mp_thread_entry recent[MP_THREAD_RECENT];  // other pools and caches, by owner % MP_THREAD_RECENT
} mp_thread_block;
_Static_assert(sizeof(mp_thread_block) <= 256, "a larger thread block cannot be dlopen'ed");

enum { MP_THREAD_NEW = 0, MP_THREAD_LIVE = 1, MP_THREAD_DEAD = 2 };

extern __thread mp_thread_block mp_thread_block_storage
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

MP_INLINE mp_thread_block *_Nonnull mp_thread_block_self(void) { return &mp_thread_block_storage; }

MP_INLINE mp_thread_entry *_Nonnull mp_thread_recent(mp_thread_block *_Nonnull block) { return block->recent; }

// A heap without room: MP_EMPTY_WORDS pointers to a slab of zeroes, so that a first allocation needs no test.
enum { MP_EMPTY_WORDS = 64, MP_EMPTY_SLAB_BYTES = 256 };
extern void *_Nonnull const mp_empty_heap[MP_EMPTY_WORDS] __attribute__((visibility("hidden")));
MP_INLINE void *_Nonnull mp_empty_heap_address(void) { return (void *)mp_empty_heap; }
MP_INLINE void *_Nonnull mp_empty_slab_address(void) { return mp_empty_heap[0]; }

// Storage of the process-wide state, zero until floor 6 starts it: the shared pool and what all pools have in common.
enum { MP_PROCESS_BYTES = 16 * 1024 };
extern unsigned char mp_process_storage[MP_PROCESS_BYTES] __attribute__((visibility("hidden")));
MP_INLINE void *_Nonnull mp_process_address(void) { return mp_process_storage; }

// The size class of (size + 7) / 8. Constant: a thread's first allocation reads it while another starts the process's pool.
enum { MP_CLASS_TABLE_BYTES = 512 };
extern const unsigned char mp_class_table[MP_CLASS_TABLE_BYTES] __attribute__((visibility("hidden")));
MP_INLINE const unsigned char *_Nonnull mp_class_table_address(void) { return mp_class_table; }

// The root of the address map: address >> 34. Leaves are made as they are needed.
enum { MP_MAP_ROOT_WORDS = 1 << 14 };
extern mp_word mp_map_root[MP_MAP_ROOT_WORDS] __attribute__((visibility("hidden")));
MP_INLINE mp_word *_Nonnull mp_map_root_address(void) { return mp_map_root; }

#endif
