/*
 * mempool.h - the Mempool memory allocator, for C and C++.
 *
 * Link with -lmempool (pkg-config mempool). Needs C99 or C++98.
 *
 * THREADS    Every function may be called from any thread at any time, and by any number of threads at once, except where
 *            a function says otherwise. What one thread allocates any other may free. A child made by fork() may go on
 *            using everything that its parent had.
 *
 * ERRORS     A function that can fail returns NULL or -1 and sets errno. Functions that free never change errno.
 *
 * MISUSE     A double free, a pointer that is not the start of a live object, or a pointer given to the wrong function
 *            writes one line to standard error, which names the function, the pointer and what is wrong, and raises
 *            SIGABRT:
 *                mempool: mp_free(0x7f2a40012340): double free
 *            A double free is found as long as the object has not been handed out again; functions that resize or measure
 *            an object say "use after free" then. Of two frees at the same moment the later may be told of only when the
 *            object's owner looks at it next; the line names "free", "slab cache" or "object pool" then.
 *            The same happens to a call on what is no buffer pool, region or book, on a cache that has not been made or was
 *            destroyed, to the destruction of a pool that is not there, and to NULL where a compact pool must be. Other
 *            functions do not look whether a pool that they get has been destroyed.
 *
 * ALIGNMENT  Objects of 16 bytes and more are aligned to 16, smaller ones to 8, unless a function says otherwise.
 *
 * Settings come from the environment: `mempool info --environment` lists the variables.
 */
#ifndef MEMPOOL_H
#define MEMPOOL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MP_ALLOCATES(size) __attribute__((warn_unused_result, alloc_size(size)))
#define MP_ALLOCATES_ARRAY(count, size) __attribute__((warn_unused_result, alloc_size(count, size)))
#else
#define MP_ALLOCATES(size)
#define MP_ALLOCATES_ARRAY(count, size)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- The shared pool: one for the process, made by whoever comes first --------------------------------------------- */

/*
 * Starts the shared pool. Not needed: the first allocation starts it too. Gives the chance to see an error early, when the
 * system refuses the address space. Fixed or locked memory that the environment asks for and the system refuses is no error,
 * but a line on standard error: the pool grows as it needs to, then.
 *
 * Returns 0, also when the pool runs already; -1 with errno ENOMEM.
 */
int mempool_init(void);

/*
 * Ends the program's use of the shared pool: gives its memory back to the system. Its address space stays, so that calls
 * that come later, from exit handlers for example, still work. No other call on the pool may be running.
 *
 * Objects that are still live, and caches and object pools that are not destroyed, are misuse: one line with the address of
 * one of them, then SIGABRT.
 */
void mempool_fini(void);

/*
 * Allocates `size` bytes, not zeroed. `size` 0 gives a distinct object.
 *
 * mp_malloc never returns NULL: when the pool is exhausted it writes one line and raises SIGABRT. So do mp_calloc,
 * mp_memalign and mp_realloc below, also when the size overflows. mp_try_malloc returns NULL with errno ENOMEM instead,
 * unless MEMPOOL_EXHAUSTION=abort says that every failure ends the process.
 */
void *mp_malloc(size_t size) MP_ALLOCATES(1);
void *mp_try_malloc(size_t size) MP_ALLOCATES(1);

/* Allocates `count` elements of `size` bytes, all zero. A product that overflows is misuse. Never NULL. */
void *mp_calloc(size_t count, size_t size) MP_ALLOCATES_ARRAY(1, 2);

/* Allocates `size` bytes at a multiple of `alignment`. An alignment that is no power of two is misuse. Never NULL. */
void *mp_memalign(size_t alignment, size_t size) MP_ALLOCATES(2);

/*
 * Changes the size of an object to `size` bytes and keeps its first min(old, new) bytes; the object may move. `p` NULL is
 * mp_malloc(size). `size` 0 gives an object of no bytes: it frees nothing but what it shrinks. Never NULL.
 */
void *mp_realloc(void *p, size_t size) MP_ALLOCATES(2);

/* Frees an object of the shared pool. NULL is nothing to do. */
void mp_free(void *p);

/* The bytes that may be used from `p` on: at least what was asked for. 0 for NULL. */
size_t mp_get_size(const void *p);

/*
 * The two floors that mp_malloc stands on: fragments, runs of 256 bytes and aligned to 256, and the heap of small objects,
 * at most MP_HEAP_MAX bytes. NULL with errno ENOMEM when the shared pool is exhausted, EINVAL for a fragment of 0 bytes, an
 * object too large for the heap, or flags that are none of these. The flags say what a fragment is for and change nothing.
 *
 * mp_free frees both. mp_frag_free takes nothing but fragments, mp_heap_free nothing but objects of the heap.
 */
#define FRAG_COMMON 0
#define FRAG_SLAB 1
#define FRAG_HEAP 2
void *mp_frag_alloc(size_t size, short flags) MP_ALLOCATES(1);
void mp_frag_free(void *p);

#define MP_HEAP_MAX 3840
void *mp_heap_alloc(size_t size) MP_ALLOCATES(1);
void mp_heap_free(void *p);

/* --- Bitmaps: cells of one word, a bit an item ---------------------------------------------------------------------- */

/*
 * A bitmap is an array of cells in the caller's memory, one machine word each; bit i of cell c says whether item 64 c + i is
 * taken. All zero, it is empty; it needs no other initialisation and nothing to be destroyed. Any number of threads may
 * call these functions on one bitmap at the same time. They are lock-free (but for reading the environment, once), allocate
 * nothing and leave errno alone. What a thread wrote to an item before it freed it is visible to the thread that gets the
 * item next.
 *
 * num_items (max_items for one cell) is the size of the bitmap: the last cell may have fewer than MP_BITMAP_BITS items.
 * Pass the same size each time. Items that nobody asked for beyond it are never handed out.
 */

typedef unsigned long atomic_t; /* one machine word */
#define MP_BITMAP_BITS 64

/* Takes num neighbouring items of one cell that has max_items items (1 to 64). The index of the first, or -1: no such room
 * in the cell, or an argument out of range. Never waits. */
int mp_bitmap_cell_alloc(atomic_t *cell, int num, int max_items);

/* Takes alloc_items neighbouring items. Up to 64 they lie in one cell; more begin at a cell and take as many cells as they
 * need, of which the last may be shared with others. The index of the first, or -1 when there was no such room even after
 * MPMAXRETRIES sleeps of MPWAITTIME nanoseconds (default 3 and 1000), or at once when an argument is out of range. */
int mp_bitmap_alloc(atomic_t *bitmap, int num_items, int alloc_items);

/* Takes exactly alloc_cells neighbouring cells, all 64 items of each. The index of the first item, or -1 as above. */
int mp_bitmap_alloc_cells(atomic_t *bitmap, int num_items, int alloc_cells);

/* Gives back exactly the num items from idx on: for mp_bitmap_alloc, and, with the address of the cell, for
 * mp_bitmap_cell_alloc. An item that is not taken is reported on one line and the process aborts:
 * "mempool: mp_bitmap_free(0x7f0012345670): double free of item 12", with the address of the item's cell. */
void mp_bitmap_free(atomic_t *bitmap, int num, int idx);

/* Gives back the whole cells that num items take from idx on, the first item of a cell: for mp_bitmap_alloc_cells. Reports
 * as mp_bitmap_free does. */
void mp_bitmap_free_cells(atomic_t *bitmap, int num, int idx);

/* --- Slab caches: many items of one size ---------------------------------------------------------------------------- */

/* The caller's memory, filled by mp_cache_init. It must not move or be copied. */
typedef struct mp_cache {
  atomic_t mp_private[8];
} mp_cache_t;

/* Makes a cache of items of a type. Its name, in reports and statistics, is the type's. */
#define mp_cache_init(cache, type) mp_cache_init_impl((cache), #type, sizeof(type))

/*
 * Makes a cache of items of `item_size` bytes. The first 31 bytes of `name` are kept. An item is aligned to the largest
 * power of two that divides its size, at most 4096. Before its first item a cache takes less than a page. A size of 0, or
 * above MP_CACHE_ITEM_MAX bytes, is misuse.
 * `cache` may point to memory that holds anything. So a cache that is still live there is not noticed: it is lost, with the
 * pages that it holds, and its items belong to no cache that can be named.
 */
#define MP_CACHE_ITEM_MAX 1048576
void mp_cache_init_impl(mp_cache_t *cache, const char *name, size_t item_size);

/*
 * Gives all memory of the cache back, also what other threads hold ready. No other call on it may be running. Items that are
 * still out are misuse: "mempool: mp_cache_destroy(0x7f2a40012340): 3 items are still out". A cache may be made again at
 * the same address.
 */
void mp_cache_destroy(mp_cache_t *cache);

/* Takes an item, not zeroed. Never NULL: as mp_malloc, but what caches need never comes from the system's allocator. */
void *mp_cache_alloc(mp_cache_t *cache);

/* Gives an item back. NULL is nothing to do; an item of another cache is misuse. */
void mp_cache_free(mp_cache_t *cache, void *item);

/*
 * `num` neighbouring items, which go back together: mp_cache_free_array takes the same number. NULL with errno EINVAL when
 * `num` is 0 or more than a page holds; never NULL otherwise.
 */
void *mp_cache_alloc_array(mp_cache_t *cache, unsigned num);
void mp_cache_free_array(mp_cache_t *cache, void *items, unsigned num);

/* --- Pools of one's own --------------------------------------------------------------------------------------------- */

typedef struct mp_pool mp_pool_t;

/* Where a pool's memory comes from. */
typedef enum mp_backing {
  MP_BACKING_ELASTIC = 0,  /* address space for `size` bytes, memory as it is needed; 0: as much as is sensible */
  MP_BACKING_FIXED,        /* `size` bytes, taken at start; afterwards no system call for memory, ever */
  MP_BACKING_BUFFER,       /* `size` bytes from `start` on, the caller's; they must outlive the pool */
  MP_BACKING_PASS_THROUGH  /* no memory of its own: each call goes to the system's malloc */
} mp_backing_t;

/* What an allocation does when the pool is exhausted. */
typedef enum mp_exhaustion {
  MP_EXHAUSTION_FAIL = 0, /* NULL with errno ENOMEM */
  MP_EXHAUSTION_ABORT,    /* one line on standard error, then SIGABRT */
  MP_EXHAUSTION_SYSTEM    /* takes it from the system's malloc, and counts it */
} mp_exhaustion_t;

/* What serves objects below 4 KiB. */
typedef enum mp_small_objects {
  MP_SMALL_CLASSES = 0, /* slabs in size classes, a heap a thread, bookkeeping out of reach */
  MP_SMALL_DENSE,       /* 4-byte headers, free blocks in lists by size: smallest, slower, bookkeeping within reach */
  MP_SMALL_DENSE_TREE   /* the same, free blocks of a page in a tree: the best fit there, slower still */
} mp_small_objects_t;

#define MP_POOL_LOCKED 1u   /* fixed: memory that is never paged out; see ulimit -l */
#define MP_POOL_PREFAULT 2u /* fixed: every page is touched at start */
/* What the pool does against misuse beyond what every pool does: docs/hardening.md. One of: */
#define MP_POOL_ZEROING 4u   /* level 1: what is freed is zeroed, and must be zero when it is handed out again */
#define MP_POOL_CANARIES 8u  /* level 2: the same, bytes behind each object are checked, and reuse is delayed */
#define MP_POOL_GUARDS 12u   /* level 3: the same, and pages that nobody may access, where memory comes as it is needed */
#define MP_NONE (-1L)       /* in the numbers below: none at all, where 0 is the default */

/* All zero: the defaults. */
typedef struct mp_pool_options {
  mp_backing_t backing;
  mp_exhaustion_t exhaustion;
  mp_small_objects_t small_objects;
  unsigned flags;      /* MP_POOL_ … */
  size_t size;         /* bytes */
  void *start;         /* MP_BACKING_BUFFER */
  long max_retries;    /* sleeps before a claim fails; 0: MPMAXRETRIES, or 3; MP_NONE: it does not sleep */
  long wait_ns;        /* nanoseconds of each; 0: MPWAITTIME, or 1000; MP_NONE: yields only */
  long purge_delay_ms; /* that idle pages are kept; 0: MEMPOOL_PURGE_DELAY, or 1000; MP_NONE: not at all */
} mp_pool_options_t;

/*
 * Makes a pool. `options` NULL: the defaults. NULL with errno EINVAL for options that no pool can have, otherwise with the
 * system's reason: ENOMEM, or for locked memory also EPERM or EAGAIN.
 */
mp_pool_t *mp_pool_new(const mp_pool_options_t *options);

/*
 * Gives back everything, live objects included. No other call on the pool may be running or follow: calls do not look whether their pool is
 * one. Only a second mp_pool_destroy is told: "mempool: mp_pool_destroy(0x7f51c0000000): no pool: destroyed, or never made". NULL is nothing
 * to do.
 */
void mp_pool_destroy(mp_pool_t *pool);

/*
 * As the functions of the shared pool, but what happens at exhaustion is in the pool's options, and bad arguments are
 * errors: NULL with errno ENOMEM for a size that overflows, EINVAL for an alignment that is no power of two. `pool` NULL is
 * the shared pool.
 */
void *mp_pool_malloc(mp_pool_t *pool, size_t size) MP_ALLOCATES(2);
void *mp_pool_calloc(mp_pool_t *pool, size_t count, size_t size) MP_ALLOCATES_ARRAY(2, 3);
void *mp_pool_memalign(mp_pool_t *pool, size_t alignment, size_t size) MP_ALLOCATES(3);
void *mp_pool_realloc(mp_pool_t *pool, void *p, size_t size) MP_ALLOCATES(3);
void mp_pool_free(mp_pool_t *pool, void *p);
size_t mp_pool_get_size(mp_pool_t *pool, const void *p);

/* Gives idle memory back to the system now. Returns the bytes. */
size_t mp_pool_purge(mp_pool_t *pool);

/* --- Statistics ----------------------------------------------------------------------------------------------------- */

/*
 * What a pool counted: docs/statistics.md has a paragraph for each. Right while threads run, but not one instant: two
 * figures may differ by what happened in between.
 */
typedef struct mp_stats {
  uint64_t requested_bytes, requested_live_estimate_bytes, allocated_bytes, active_bytes, cached_bytes, abandoned_bytes;
  uint64_t committed_bytes, retained_bytes, mapped_bytes, metadata_bytes, peak_active_bytes, peak_committed_bytes;
  uint64_t purged_bytes, purge_passes;
  uint64_t map_calls, commit_calls, purge_calls, unmap_calls, resize_calls, lock_calls, failed_calls;
  uint64_t resident_bytes, minor_faults, major_faults;
  uint64_t remote_frees_pushed, remote_frees_drained;
  uint64_t claim_passes, claim_retries, claim_sleeps, claim_failures, claim_lost_swaps;
  uint64_t span_count, span_bytes, run_bytes;
  uint64_t fallback_count, fallback_live_count, limit_hits, exhaustions;
  uint64_t guarded_count, guarded_live_count, guarded_missed_count;
  uint64_t heap_count, owned_heap_count, abandoned_heap_count;
} mp_stats_t;

/* Reads the statistics of the shared pool, or of another. Allocates nothing. */
void mp_stats_read(mp_stats_t *stats);
void mp_pool_stats_read(mp_pool_t *pool, mp_stats_t *stats);

/* Writes them to a file descriptor, as text or as one JSON object. 0, or -1 when not all could be written. */
int mp_stats_print(int descriptor, int json);
int mp_pool_stats_print(mp_pool_t *pool, int descriptor, int json);

/* --- Buffer pools and regions: allocators inside memory that the caller brings --------------------------------------- */

/*
 * Where memory comes from, whatever it is: pools give one of themselves, and take one to fall back on. `resize` of p NULL
 * allocates; of size 0 frees p and returns NULL; otherwise it resizes, and leaves p alone when it returns NULL. What it returns is
 * aligned to 8 at least. `state` must live as long as what came from it.
 */
typedef struct mp_allocator {
  void *(*resize)(void *state, void *p, size_t size);
  void *state;
} mp_allocator_t;
mp_allocator_t mp_system_allocator(void);              /* malloc, realloc and free */
mp_allocator_t mp_pool_allocator(mp_pool_t *pool);     /* NULL: the shared pool; misuse is told of "MemoryPool.allocator" */

/*
 * A complete allocator inside `size` bytes from `mem` on, its bookkeeping included: at most 208 bytes, and 2 bits a block. It asks
 * no operating system and takes no other memory, but from a fallback if it has one. The memory must outlive the pool and stay where it
 * is. There is nothing to destroy: drain a pool with a fallback, and forget it.
 *
 * An object is as many neighbouring blocks of `block_size` bytes as it needs, at least one (0: the default, 8 bytes). It is aligned to
 * the largest power of two that divides the block size, at most 16.
 *
 * A pool belongs to one thread at a time, unless it has a lock. Where the lock is refused, a call fails with errno EBUSY, and
 * the fallback is not asked.
 *
 * Returns the pool, which lies in the memory; NULL and EINVAL for flags that are none, and for memory without room for a block.
 */
typedef struct mp_bufpool mp_bufpool_t;
#define MP_BUFPOOL_FALLBACK 1u /* falls back on the system's malloc */
mp_bufpool_t *mp_bufpool_init(void *mem, size_t size, size_t block_size, unsigned flags);

/* The bytes that suffice for `block_count` blocks; 0 when nobody has so many. */
size_t mp_bufpool_memory(size_t block_count, size_t block_size);

/* `size` bytes, not zeroed; calloc: all zero; memalign: at a multiple of `alignment`, EINVAL when that is no power of two. NULL and
 * ENOMEM when neither the blocks nor the fallback have room. */
void *mp_bufpool_alloc(mp_bufpool_t *pool, size_t size) MP_ALLOCATES(2);
void *mp_bufpool_calloc(mp_bufpool_t *pool, size_t count, size_t size) MP_ALLOCATES_ARRAY(2, 3);
void *mp_bufpool_memalign(mp_bufpool_t *pool, size_t alignment, size_t size) MP_ALLOCATES(3);

/*
 * Changes the size of an object and keeps its first min(old, new) bytes. It stays in place when it shrinks, and when the blocks
 * behind it are free; otherwise it moves, also by less than its length, aligned as by mp_bufpool_alloc. `p` NULL: mp_bufpool_alloc. `size` 0: frees, and
 * returns NULL with errno as it was. NULL and ENOMEM, or EINVAL unless p starts a live object: nothing has changed.
 */
void *mp_bufpool_realloc(mp_bufpool_t *pool, void *p, size_t size);

/* 0; -1 and EINVAL unless p starts a live object, and nothing has changed. NULL is nothing to do. */
int mp_bufpool_free(mp_bufpool_t *pool, void *p);

/* Frees all objects, also those from the fallback, and zeroes the blocks. */
void mp_bufpool_drain(mp_bufpool_t *pool);

/* The bytes that may be used from p on: at least what was asked for. 0 for NULL; 0 and EINVAL unless p starts a live object. */
size_t mp_bufpool_get_size(mp_bufpool_t *pool, const void *p);

/* Whether p points into the pool's blocks, to an object or not. What came from the fallback is elsewhere. */
int mp_bufpool_owns(const mp_bufpool_t *pool, const void *p);

typedef struct {
  size_t objects;     /* live, in blocks */
  size_t blocks_used, block_count, block_size;
  size_t memory_size; /* what the caller brought */
  size_t overhead;    /* of it the bookkeeping: everything before the first block */
  size_t fallbacks;   /* objects from the fallback so far */
} mp_bufpool_stats_t;
void mp_bufpool_stats(const mp_bufpool_t *pool, mp_bufpool_stats_t *stats);

/* Writes more figures and a map of the blocks to a file descriptor: 0, or -1 when not all could be written. Whether the bookkeeping
 * agrees with itself: 0, or -1 and a line on standard error. */
int mp_bufpool_print(const mp_bufpool_t *pool, int descriptor);
int mp_bufpool_check(const mp_bufpool_t *pool);

/*
 * A lock that each call holds, before others use the pool; `lock` NULL: none. `lock` returns 0 when it took the lock; `unlock`
 * cannot fail. They are held while the fallback is called.
 * The fallback, from now on; `fallback` NULL: none. 0; -1 and EBUSY while objects of the old one are live, EINVAL for the pool itself.
 */
void mp_bufpool_set_lock(mp_bufpool_t *pool, int (*lock)(void *state), void (*unlock)(void *state), void *state);
int mp_bufpool_set_fallback(mp_bufpool_t *pool, const mp_allocator_t *fallback);

/* The pool as an allocator for others, of objects that are aligned to 8 at least. There a pointer that starts no live object is misuse. */
mp_allocator_t mp_bufpool_allocator(mp_bufpool_t *pool);

/*
 * Memory of the caller's that is given out from beginning to end, and taken back by going back to a mark. The record takes at most 63
 * bytes of it. For one thread at a time. NULL and EINVAL for memory without room for a byte.
 */
typedef struct mp_region mp_region_t;
mp_region_t *mp_region_init(void *mem, size_t size);

/* `size` bytes, not zeroed; calloc: all zero; memalign: at a multiple of `alignment`, also 1, which skips nothing. NULL and ENOMEM. */
void *mp_region_alloc(mp_region_t *region, size_t size) MP_ALLOCATES(2);
void *mp_region_calloc(mp_region_t *region, size_t count, size_t size) MP_ALLOCATES_ARRAY(2, 3);
void *mp_region_memalign(mp_region_t *region, size_t alignment, size_t size) MP_ALLOCATES(3);

/* Bytes in use, alignment included: a mark. Going back to it frees what was taken since; to 0, everything. -1 and EINVAL for a mark
 * ahead of now. */
size_t mp_region_mark(const mp_region_t *region);
int mp_region_reset(mp_region_t *region, size_t mark);

/* Bytes that were in use at most, and that there are in all; whether p points into those in use. */
size_t mp_region_peak(const mp_region_t *region);
size_t mp_region_capacity(const mp_region_t *region);
int mp_region_owns(const mp_region_t *region, const void *p);

/* The region as an allocator for others: what is freed stays until a reset. */
mp_allocator_t mp_region_allocator(mp_region_t *region);

/*
 * Pieces of one size, in pages that come from an allocator one by one (`pages` NULL: malloc): a buffer pool that may grow. A page
 * has room for `pieces_per_page` at least. For one thread at a time. Taking a piece is O(1), giving one back O(pages).
 * The record is the caller's memory and must not move. 0; -1 and EINVAL for sizes that no page can have.
 */
typedef struct mp_book {
  atomic_t mp_private[16];
} mp_book_t;
int mp_book_init(mp_book_t *book, size_t piece_size, size_t pieces_per_page, const mp_allocator_t *pages);

/* A piece, not zeroed; NULL and ENOMEM. Giving it back: 0; -1 and EINVAL unless it starts a piece that is out. */
void *mp_book_alloc(mp_book_t *book);
int mp_book_free(mp_book_t *book, void *piece);

/* Takes a page ahead of need: 0; -1 and ENOMEM. Gives empty pages back; their number. */
int mp_book_add_page(mp_book_t *book);
size_t mp_book_vacuum(mp_book_t *book);

/* Whether pages go back as soon as they are empty: not at first. Sets it to `on`; says what it was. */
int mp_book_vacuum_auto(mp_book_t *book, int on);

/* Pieces that are out; pages. Whether p points into one of the pages. */
size_t mp_book_pieces(const mp_book_t *book);
size_t mp_book_pages(const mp_book_t *book);
int mp_book_owns(const mp_book_t *book, const void *p);

/* Gives all pages back, with the pieces that are out. The book is empty then, and may be used again. */
void mp_book_close(mp_book_t *book);

/* --- Compact pools: objects by handle ------------------------------------------------------------------------------- */

/*
 * A pool of objects that are named by handles, and reached only while they are mapped. 4 bytes of overhead an object, sizes kept
 * exactly, pages that come and go one by one: memory stays within some 7 % of what is live where sizes and lifetimes are mixed. Allocating
 * and freeing take a number of steps that does not depend on how many objects there are. Objects of any size, in one page
 * or over several. Any thread may call anything.
 */
typedef struct mp_compact mp_compact_t;

/* Names an object. {0, 0} names none. A value, for any thread, and for a process that attaches. */
typedef struct mp_handle {
  uint32_t page, offset;
} mp_handle_t;

#define MP_COMPACT_FILE 1u        /* pages in a file of memory, of which a window is mapped; for others to attach to */
#define MP_COMPACT_MOVABLE 2u     /* handles by way of a table, so that mp_compact_pack may move objects; 12 bytes more each */
#define MP_COMPACT_ALIGN8 4u      /* objects aligned to 8, not to 4 */
#define MP_COMPACT_ALIGN16 8u     /* to 16 */
#define MP_COMPACT_REFUSE_LIVE 16u /* mp_compact_destroy with live objects is misuse */

/* Makes a pool; flags 0 will do. NULL with errno EINVAL for other flags, else with the system's reason. */
mp_compact_t *mp_compact_new(unsigned flags);

/* All zero: the defaults. */
typedef struct mp_compact_options {
  unsigned flags;     /* MP_COMPACT_ … */
  unsigned shards;    /* parts with a lock each, at most 64; 0: 8 */
  long reserve_pages; /* empty pages kept; 0: up to 4 while there are objects; MP_NONE: none */
  size_t window;      /* MP_COMPACT_FILE: bytes mapped beside what callers have mapped; 0: 16 MiB */
  size_t limit;       /* bytes that it may grow to; 0: 16 GiB, which is the most */
} mp_compact_options_t;

/* The same; `memory` NULL: its pages and records come from the shared pool, else from that one, which must outlive it. */
mp_compact_t *mp_compact_new_in(mp_pool_t *memory, const mp_compact_options_t *options);

/*
 * Gives everything back, live objects included, unless MP_COMPACT_REFUSE_LIVE was given:
 * "mempool: mp_compact_destroy(0x7f2a40012340): 3 objects are still live". No other call on the pool may be running or follow. NULL is
 * nothing to do.
 */
void mp_compact_destroy(mp_compact_t *pool);

/*
 * Allocates `size` bytes, not zeroed. 0; or -1, *handle then being {0, 0}, with errno EINVAL for a size of 0 or above the pool's limit, or
 * for flags other than 0 or MP_COMPACT_NOGROW; or ENOMEM.
 */
#define MP_COMPACT_NOGROW 1u /* of the memory that the pool holds: it really does not grow */
int mp_compact_alloc(mp_compact_t *pool, size_t size, unsigned flags, mp_handle_t *handle);

/*
 * Frees an object: 0; -1 and EINVAL unless the handle names a live one, and nothing has changed. {0, 0} is nothing to do. Where the records
 * between the objects have been overwritten: "mempool: mp_compact_free(17, 260): block header overwritten", and abort.
 */
int mp_compact_free(mp_compact_t *pool, mp_handle_t handle);

/* The size that was asked for, exactly. From here on what names no live object is misuse: "mempool: mp_compact_size(17, 260): use after
 * free". */
size_t mp_compact_size(mp_compact_t *pool, mp_handle_t handle);

/*
 * The object's bytes, which stay at this address until mp_compact_unmap has been called as often as this. An object that is mapped must
 * not be freed: that is misuse, and told where no other object lies in its 64 KiB. NULL, with errno, when the system refuses to map them, which can only happen with MP_COMPACT_FILE. To unmap where no live
 * object is, or where nothing is mapped, is misuse; uses are counted by the 64 KiB in which objects lie, so that another object's there is
 * not told from the own.
 */
void *mp_compact_map(mp_compact_t *pool, mp_handle_t handle);
void mp_compact_unmap(mp_compact_t *pool, mp_handle_t handle);

/* Pages held × page size. */
size_t mp_compact_total_bytes(mp_compact_t *pool);

/* Gives back the empty pages that are kept. With MP_COMPACT_MOVABLE, mp_compact_pack moves objects together first. The bytes. */
size_t mp_compact_trim(mp_compact_t *pool);
size_t mp_compact_pack(mp_compact_t *pool);

/*
 * The file of a pool with MP_COMPACT_FILE, for another process to inherit or to be sent; -1 with errno EINVAL for other pools, and for those
 * with MP_COMPACT_MOVABLE. It is the pool's: not to be closed.
 */
int mp_compact_descriptor(mp_compact_t *pool);

/*
 * A pool that another process made, by its file, which may be closed afterwards: to map objects by handles that came from there, to
 * read and write them, and to measure them. Not to allocate or to free (-1 and EINVAL). NULL with errno EINVAL when the file is
 * none of a compact pool.
 */
mp_compact_t *mp_compact_attach(int descriptor);

/* What a pool has, and has counted. */
typedef struct mp_compact_stats {
  uint64_t live_objects, live_bytes; /* the sum of the sizes that were asked for */
  uint64_t block_bytes;              /* with headers and alignment */
  uint64_t total_bytes, peak_bytes;  /* of pages held: now, and the most */
  uint64_t idle_bytes;               /* of these: pages kept for the next allocation */
  uint64_t metadata_bytes;           /* of records beside the pages, most of it address space */
  uint64_t mapped_bytes, map_calls;  /* of a file */
  uint64_t refusals;                 /* allocations that failed */
  uint64_t moved_bytes;              /* by mp_compact_pack */
} mp_compact_stats_t;
void mp_compact_stats(mp_compact_t *pool, mp_compact_stats_t *stats);

/* --- Object pools: objects of one size, a count of them kept ready --------------------------------------------------- */

typedef struct mp_objpool mp_objpool_t;

#define MP_OBJPOOL_SYSTEM 1u       /* what does not fit comes from the system's malloc, not from the shared pool */
#define MP_OBJPOOL_PASS_THROUGH 2u /* all come from the system's malloc, so that tools see each of them */

/*
 * Makes a pool with `count` objects of `size` bytes prepared, in the shared pool. Objects are aligned to 16. The first 63 bytes
 * of `name` are kept; NULL is "". NULL with errno EINVAL for a size or count of 0, a size above MP_OBJPOOL_ITEM_MAX, or
 * unknown flags; ENOMEM when there is no memory. mp_objpool_new is mp_objpool_new_with without flags.
 */
#define MP_OBJPOOL_ITEM_MAX 1048576
mp_objpool_t *mp_objpool_new(size_t size, size_t count, const char *name);
mp_objpool_t *mp_objpool_new_with(size_t size, size_t count, const char *name, unsigned flags);

/*
 * Takes an object: mp_objpool_get as the last user left it, mp_objpool_get0 with its `size` bytes zeroed. When all `count` are
 * out, or ready for other threads only (each of several may hold half of its share, or 64), it comes from elsewhere, and is counted as a miss. NULL with
 * errno ENOMEM when there is no memory.
 */
void *mp_objpool_get(mp_objpool_t *pool);
void *mp_objpool_get0(mp_objpool_t *pool);

/*
 * Gives an object back to the pool that it came from, which its address tells. Any thread. NULL is nothing to do. An object that
 * was given back, or what is none, is misuse.
 */
void mp_objpool_put(void *object);

/*
 * Gives all memory of the pool back. While objects are out it does nothing: -1 with errno EBUSY. No other call on the pool may
 * be running, but mp_objpool_put. mp_objpool_abandon instead destroys the pool when its last object is given back: until
 * then these stay valid, and nothing but mp_objpool_put may be done with them. NULL is nothing to do. A pool that was destroyed or abandoned
 * is misuse of these, of mp_objpool_stats and of mp_objpool_sweep; mp_objpool_get does not look.
 */
int mp_objpool_destroy(mp_objpool_t *pool);
void mp_objpool_abandon(mp_objpool_t *pool);

/* What a pool counted: docs/object-pools.md has a paragraph for each. `name` is valid as long as the pool. */
typedef struct {
  const char *name;
  size_t item_size;
  uint64_t hot, cold, max_hot, allocations, misses, fallback, max_fallback;
} mp_objpool_stats_t;
void mp_objpool_stats(const mp_objpool_t *pool, mp_objpool_stats_t *stats);

/*
 * Gives back what is idle: what threads hold ready for themselves to all, and to the system what nobody uses. `pool` NULL: of
 * all pools. mp_objpool_sweep_every has a thread do it every so many milliseconds, for all pools; 0, as at the start: none,
 * and when it returns the thread has ended. 0, or -1 with errno EAGAIN when no thread could be started.
 */
void mp_objpool_sweep(mp_objpool_t *pool);
int mp_objpool_sweep_every(unsigned milliseconds);

/* The newest pool of a name, or NULL. */
mp_objpool_t *mp_objpool_named(const char *name);

/* Writes the statistics of all pools, or with a name of those that have it, to a file descriptor, as text or as one JSON object.
 * 0, or -1 when not all could be written. */
int mp_objpool_print(const char *name, int descriptor, int json);

#ifdef __cplusplus
}
#endif

#endif /* MEMPOOL_H */
