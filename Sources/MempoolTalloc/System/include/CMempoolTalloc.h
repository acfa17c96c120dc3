// What the drop-in talloc has in C: everything with a format, or with a FILE; and its hooks.
#ifndef C_MEMPOOL_TALLOC_H
#define C_MEMPOOL_TALLOC_H

#include <stddef.h>
#include <string.h>

// Words that threads share, each by itself (MempoolTalloc/Process.swift).
enum { MP_TALLOC_WORDS = 2 };
size_t *_Nonnull mempool_talloc_address(void);

typedef void (*mempool_talloc_hook)(const char *_Nonnull);

// Sends a line to the log function, if there is one.
void mempool_talloc_log_free(const char *_Nullable location);
void mempool_talloc_log_steal(const char *_Nullable location);
void mempool_talloc_log_reference(const char *_Nullable location);
// The log, then the abort function, or abort.
void mempool_talloc_mismatch(const char *_Nullable location, const char *_Nullable name, const char *_Nonnull expected);
void mempool_talloc_misuse(const char *_Nullable location, int is_freed);
void mempool_talloc_set_abort(mempool_talloc_hook _Nullable hook);
void mempool_talloc_set_log(mempool_talloc_hook _Nullable hook);
void mempool_talloc_log_to_stderr(void);
// Once: calls the function in exit handlers.
void mempool_talloc_at_exit(void (*_Nonnull function)(void));
// TALLOC_FREE_FILL, as the original reads it; -1 when it is not set.
int mempool_talloc_fill(void);
// A report of everything on standard error.
void mempool_talloc_report_leaks(int is_full);

#endif
