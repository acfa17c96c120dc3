// Threads take 64 MiB in small objects and give them back, then nobody calls anything, and within 10 seconds
// the memory must have gone back to the system, but for a fifth of what was in use, 1 MiB, and as many KiB as the argument says. Prints how many threads the process has then. A fork's child does the same.
#include "tasks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { threads = 2, objects = 1 << 17, size = 256 };

static void fail(const char *what) {
  fprintf(stderr, "idle: %s\n", what);
  exit(1);
}

static long private_dirty_KiB(void) {
  char line[256];
  long total = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  if (!file) fail("no /proc/self/smaps_rollup");
  while (fgets(line, sizeof line, file)) sscanf(line, "Private_Dirty: %ld", &total);
  fclose(file);
  return total;
}

static long more_KiB;
static pthread_barrier_t done, end;

static void *burst(void *table) {
  void **slots = table;
  for (int i = 0; i < objects; i++) {
    if (!(slots[i] = malloc(size))) fail("no memory");
    memset(slots[i], 1, size);
  }
  for (int i = 0; i < objects; i++) free(slots[i]);
  pthread_barrier_wait(&done);
  pthread_barrier_wait(&end);
  return NULL;
}

static void **tables[threads];

static void bursts(const char *who) {
  pthread_t ids[threads];
  pthread_barrier_init(&done, NULL, threads + 1);
  pthread_barrier_init(&end, NULL, threads + 1);
  long before = private_dirty_KiB();
  for (int i = 0; i < threads; i++)
    if (pthread_create(&ids[i], NULL, burst, tables[i])) fail("no thread");
  pthread_barrier_wait(&done);
  long bound = before + before / 5 + 1024 + more_KiB, now = 0;
  for (int i = 0; i < 100 && (now = private_dirty_KiB()) > bound; i++) usleep(100000);
  if (now > bound) {
    fprintf(stderr, "idle: %s: %ld KiB before, %ld KiB 10 seconds after\n", who, before, now);
    exit(1);
  }
  printf("%s: %d threads\n", who, tasks());
  fflush(stdout);
  pthread_barrier_wait(&end);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
}

int main(int count, char **arguments) {
  more_KiB = count > 1 ? atol(arguments[1]) : 0;
  for (int i = 0; i < threads; i++) {
    tables[i] = malloc(objects * sizeof(void *));
    memset(tables[i], 0, objects * sizeof(void *));
  }
  bursts("parent");
  bursts("again");
  pid_t child = fork();
  if (child == 0) {
    // The tables are the child's own from their first use on.
    for (int i = 0; i < threads; i++) memset(tables[i], 0, objects * sizeof(void *));
    bursts("child");
    exit(0);
  }
  int status;
  if (waitpid(child, &status, 0) != child) fail("waitpid");
  return status != 0;
}
