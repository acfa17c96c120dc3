#include "workload.h"

#include <fcntl.h>
#include <sys/mman.h>

struct options options = {2, 1, 0, 0, 0, ""};

void *table(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap failed");
  return memory;
}

static long figure_in(const char *path, const char *name) {
  static char text[4096];
  int file = open(path, O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (length < 0) fail("what /proc/self says of memory or threads cannot be read");
  close(file);
  text[length] = 0;
  const char *line = strstr(text, name);
  return line ? atol(line + strlen(name)) : -1;
}

long private_dirty(void) { return figure_in("/proc/self/smaps_rollup", "\nPrivate_Dirty:"); }
long lazily_freed(void) { return figure_in("/proc/self/smaps_rollup", "\nLazyFree:"); }
long threads_now(void) { return figure_in("/proc/self/status", "\nThreads:"); }

void report(const char *workload, double seconds, long operations, const char *more) {
  Dl_info info = {0};
  void *address = dlsym(RTLD_DEFAULT, "malloc");
  if (!address || !dladdr(address, &info)) fail("whose malloc this is cannot be told");
  printf("{\"workload\": \"%s\", \"threads\": %d, \"seconds\": %.6f, \"operations\": %ld, \"malloc\": \"%s\"%s}\n", workload,
         options.threads, seconds, operations, info.dli_fname, more);
}
