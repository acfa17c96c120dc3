#ifndef MEMPOOL_H
#define MEMPOOL_H
#include <stddef.h>
int mempool_init(void);

/* --- Bitmaps
 *
 * A bitmap is an array of cells in the caller's memory, one machine word each; bit i of cell c says whether item 64 c + i is
 * taken. All zero, it is empty; it needs no other initialisation and nothing to be destroyed. Any number of threads may
 * call these functions on one bitmap at the same time. They are lock-free, allocate nothing and leave errno alone. What a
 * thread wrote to an item before it freed it is visible to the thread that gets the item next.
 *
 * num_items (max_items for one cell) is the size of the bitmap: the last cell may have fewer than MP_BITMAP_BITS items.
 * Pass the same size each time. Items that nobody asked for beyond it are never handed out. */

typedef unsigned long atomic_t;
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

#endif
