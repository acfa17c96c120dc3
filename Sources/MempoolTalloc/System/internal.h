// The entries in Swift that are called from here. Protected: bound inside this library, whatever else the process has loaded.
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define ENTRY __attribute__((visibility("protected")))
#define HIDDEN __attribute__((visibility("hidden")))

extern void *_talloc(const void *context, size_t size) ENTRY;
extern int _talloc_free(void *pointer, const char *location) ENTRY;
extern void *_talloc_realloc(const void *context, void *pointer, size_t size, const char *name) ENTRY;
extern const char *talloc_get_name(const void *pointer) ENTRY;
extern size_t talloc_get_size(const void *pointer) ENTRY;
extern void talloc_set_name_const(const void *pointer, const char *name) ENTRY;
extern size_t talloc_total_size(const void *pointer) ENTRY;
extern size_t talloc_total_blocks(const void *pointer) ENTRY;
extern size_t talloc_reference_count(const void *pointer) ENTRY;
extern void *talloc_parent(const void *pointer) ENTRY;
typedef void report_callback(const void *pointer, int depth, int max_depth, int is_reference, void *private_data);
extern void talloc_report_depth_cb(
    const void *pointer, int depth, int max_depth, report_callback *callback, void *private_data) ENTRY;

// Process.swift and Limits.swift
extern int mempool_talloc_limit(const void *pointer, size_t *limit, size_t *charged) HIDDEN;
extern void mempool_talloc_start(void) HIDDEN;

// variadic.c
char *mempool_talloc_format(const void *context, const char *format, va_list arguments) HIDDEN;
