// Reports and the log: everything that goes to a FILE or to a hook.
#include "internal.h"

#include "CMempoolTalloc.h"

#include <stdlib.h>

size_t *mempool_talloc_address(void) {
  static size_t words[MP_TALLOC_WORDS];
  return words;
}

int mempool_talloc_fill(void) {
  const char *text = getenv("TALLOC_FREE_FILL");
  return text ? (unsigned char)strtoul(text, NULL, 0) : -1;
}

static mempool_talloc_hook abort_hook, log_hook;

void mempool_talloc_set_abort(mempool_talloc_hook hook) { abort_hook = hook; }
void mempool_talloc_set_log(mempool_talloc_hook hook) { log_hook = hook; }

static void to_stderr(const char *message) { fputs(message, stderr); }
void mempool_talloc_log_to_stderr(void) { log_hook = to_stderr; }

__attribute__((format(printf, 1, 2))) static void write_log(const char *format, ...) {
  if (!log_hook) return;
  va_list arguments;
  va_start(arguments, format);
  char *message = mempool_talloc_format(NULL, format, arguments);
  va_end(arguments);
  if (!message) return;
  log_hook(message);
  _talloc_free(message, "talloc_log");
}

void mempool_talloc_log_free(const char *location) {
  write_log("ERROR: talloc_free with references at %s\n", location ? location : "(null)");
}

void mempool_talloc_log_steal(const char *location) {
  write_log("WARNING: talloc_steal with references at %s\n", location ? location : "(null)");
}

void mempool_talloc_log_reference(const char *location) {
  write_log("\treference at %s\n", location ? location : "(null)");
}

static void stop(const char *reason) {
  write_log("%s\n", reason);
  if (!abort_hook) abort();
  abort_hook(reason);
}

void mempool_talloc_mismatch(const char *location, const char *name, const char *expected) {
  char text[512];
  const char *format = "%s: Type mismatch: name[%s] expected[%s]";
  if (!location) location = "(null)";
  if (!name) name = "NULL";
  int length = snprintf(text, sizeof text, format, location, name, expected);
  char *reason = length >= (int)sizeof text ? malloc((size_t)length + 1) : NULL;
  if (reason) snprintf(reason, (size_t)length + 1, format, location, name, expected);
  stop(reason ? reason : text);
  free(reason);
}

void mempool_talloc_misuse(const char *location, int is_freed) {
  if (is_freed) write_log("talloc: access after free error - first free may be at %s\n", location ? location : "(null)");
  stop(is_freed ? "Bad talloc magic value - access after free" : "Bad talloc magic value - unknown value");
}

static void write_block(const void *pointer, int depth, int max_depth, int is_reference, void *private_data) {
  FILE *file = private_data;
  const char *name = talloc_get_name(pointer);
  size_t limit, charged;
  if (is_reference) {
    fprintf(file, "%*sreference to: %s\n", depth * 4, "", name);
    return;
  }
  if (mempool_talloc_limit(pointer, &limit, &charged))
    fprintf(file, "%*s%-30s is a memlimit context (max_size = %lu bytes, cur_size = %lu bytes)\n", depth * 4, "", name,
            (unsigned long)limit, (unsigned long)charged);
  if (depth == 0)
    fprintf(file, "%stalloc report on '%s' (total %6lu bytes in %3lu blocks)\n", max_depth < 0 ? "full " : "", name,
            (unsigned long)talloc_total_size(pointer), (unsigned long)talloc_total_blocks(pointer));
  else
    fprintf(file, "%*s%-30s contains %6lu bytes in %3lu blocks (ref %d) %p\n", depth * 4, "", name,
            (unsigned long)talloc_total_size(pointer), (unsigned long)talloc_total_blocks(pointer),
            (int)talloc_reference_count(pointer), (void *)pointer);
}

static void report(const void *pointer, int depth, int max_depth, FILE *file) {
  if (!file) return;
  talloc_report_depth_cb(pointer, depth, max_depth, write_block, file);
  fflush(file);
}

void talloc_report_depth_file(const void *pointer, int depth, int max_depth, FILE *file) {
  report(pointer, depth, max_depth, file);
}

void talloc_report_full(const void *pointer, FILE *file) { report(pointer, 0, -1, file); }

void talloc_report(const void *pointer, FILE *file) { report(pointer, 0, 1, file); }

void mempool_talloc_report_leaks(int is_full) { report(NULL, 0, is_full ? -1 : 1, stderr); }

void talloc_show_parents(const void *pointer, FILE *file) {
  if (!pointer) {
    fprintf(file, "talloc no parents for NULL\n");
    return;
  }
  fprintf(file, "talloc parents of '%s'\n", talloc_get_name(pointer));
  for (; pointer; pointer = talloc_parent(pointer)) fprintf(file, "\t'%s'\n", talloc_get_name(pointer));
  fflush(file);
}

void mempool_talloc_at_exit(void (*function)(void)) { atexit(function); }

__attribute__((constructor)) static void start(void) { mempool_talloc_start(); }
