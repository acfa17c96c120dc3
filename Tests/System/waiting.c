// The main thread takes 96 MiB in objects of 8 KiB, and waits for a thread that frees them and allocates nothing itself: then the process has
// no purger. The memory must have gone back all the same, but for a fifth of what was in use, 1 MiB, and 1 MiB that may be kept.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { count = 12288, size = 8192 };
static void *objects[count];
static long before, after;

// Without stdio, which allocates.
static long private_dirty_KiB(void) {
  char text[4096];
  int file = open("/proc/self/smaps_rollup", O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
  close(file);
  if (length <= 0) _exit(2);
  text[length] = 0;
  const char *line = strstr(text, "Private_Dirty:");
  return line ? atol(line + strlen("Private_Dirty:")) : -1;
}

static void *frees(void *unused) {
  for (int i = 0; i < count; i++) free(objects[i]);
  after = private_dirty_KiB();
  return unused;
}

int main(void) {
  free(malloc(100));
  before = private_dirty_KiB();
  for (int i = 0; i < count; i++) {
    if (!(objects[i] = malloc(size))) return 2;
    memset(objects[i], 1, size);
  }
  pthread_t thread;
  if (pthread_create(&thread, NULL, frees, NULL)) return 2;
  pthread_join(thread, NULL);
  long bound = before + before / 5 + 2048;
  printf("%ld KiB before, %ld KiB when all is freed, at most %ld\n", before, after, bound);
  return after > bound;
}
