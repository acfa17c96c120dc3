#include "CMempoolMalloc.h"

#ifdef MP_INTERPOSER

// Overrides the shims' weak 0: this library is the process's malloc, and has no other to fall back to.
extern const int mp_replaces_malloc __attribute__((visibility("hidden")));
const int mp_replaces_malloc = 1;

// MempoolMalloc/Statistics.swift. Hidden, so that the reference alone keeps it out of the library's dynamic symbols.
extern void mempool_malloc_start(void) __attribute__((visibility("hidden")));
extern void mempool_malloc_report(void) __attribute__((visibility("hidden")));

// Before main: a program may overwrite its environment (to change its title), and close standard error before it exits.
__attribute__((constructor)) static void start(void) { mempool_malloc_start(); }

// After main's exit handlers, so that what they free is counted as freed.
__attribute__((destructor)) static void report_at_exit(void) { mempool_malloc_report(); }

#endif
