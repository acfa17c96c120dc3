// What the drop-in malloc needs of C: the structures of mallinfo, FILE, and two names.
#ifndef C_MEMPOOL_MALLOC_H
#define C_MEMPOOL_MALLOC_H

#include <malloc.h>
#include <stdio.h>

// Swift reserves the names malloc and free for the calls that its own runtime makes, so it cannot define them by name. It
// defines these (`@c @implementation` in Malloc.swift), and their symbols are libc's.
void *_Nullable mempool_malloc(size_t byte_count) __asm__("malloc");
void mempool_free(void *_Nullable pointer) __asm__("free");

#endif
