#include "workload.h"

#include <fcntl.h>
#include <sys/mman.h>

void *table(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap failed");
  return memory;
}

long private_dirty(void) {
  static char text[4096];
  int file = open("/proc/self/smaps_rollup", O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (length < 0) fail("/proc/self/smaps_rollup cannot be read");
  close(file);
  text[length] = 0;
  const char *line = strstr(text, "Private_Dirty:");
  return line ? atol(line + strlen("Private_Dirty:")) : -1;
}

void report(const char *workload, double seconds, long operations, const char *more) {
  Dl_info info = {0};
  void *address = dlsym(RTLD_DEFAULT, "malloc");
  if (!address || !dladdr(address, &info)) fail("whose malloc this is cannot be told");
  printf("{\"workload\": \"%s\", \"threads\": %d, \"seconds\": %.6f, \"operations\": %ld, \"malloc\": \"%s\"%s}\n", workload,
         options.threads, seconds, operations, info.dli_fname, more);
}
