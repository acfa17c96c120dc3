// fork while other threads allocate: the child allocates, frees what its parent had, starts a thread, forks again, and exits.
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int stop;
enum { sharedCount = 1000 };
static char *shared[sharedCount];

static void churn(unsigned seed, int rounds) {
  char *objects[64] = {0};
  for (int i = 0; rounds ? i < rounds : !stop; i++) {
    seed = seed * 1103515245 + 12345;
    unsigned slot = seed >> 16 & 63;
    size_t size = seed % 23 == 0 ? 70000 + seed % 2000000 : seed >> 8 & 2047;
    free(objects[slot]);
    objects[slot] = malloc(size + 1);
    objects[slot][0] = objects[slot][size] = 1;
  }
  for (int i = 0; i < 64; i++) free(objects[i]);
}

static void *worker(void *seed) {
  churn((unsigned)(uintptr_t)seed, 0);
  return NULL;
}

static void *childWorker(void *seed) {
  churn((unsigned)(uintptr_t)seed, 2000);
  return NULL;
}

// Handlers that allocate, made before and after the allocator made its own.
static void allocates(void) {
  for (size_t size = 3; size < 5000000; size *= 5) free(malloc(size));
}

static int child(int depth) {
  for (int i = 0; i < sharedCount; i++) {
    if (shared[i][0] != 'x' || shared[i][i] != 'x') return 1;
    free(shared[i]);
  }
  churn((unsigned)getpid(), 5000);
  pthread_t thread;
  if (pthread_create(&thread, NULL, childWorker, (void *)3)) return 2;
  if (pthread_join(thread, NULL)) return 3;
  if (depth == 0) {
    pid_t pid = fork();
    if (pid == 0) {
      churn(9, 1000);
      _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status) return 4;
  }
  return 0;
}

int main(void) {
  pthread_atfork(allocates, allocates, allocates);
  for (int i = 0; i < sharedCount; i++) {
    shared[i] = malloc((size_t)i + 1);
    memset(shared[i], 'x', (size_t)i + 1);
  }
  pthread_atfork(allocates, allocates, allocates);
  pthread_t threads[6];
  for (uintptr_t i = 0; i < 6; i++) CHECK(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)) == 0);
  for (int i = 0; i < 60; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      alarm(30);
      int result = child(i % 2);
      if (i % 3) _exit(result);
      exit(result);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  }
  stop = 1;
  for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < sharedCount; i++) CHECK(shared[i][0] == 'x' && shared[i][i] == 'x');
  for (int i = 0; i < sharedCount; i++) free(shared[i]);
  return failures != 0;
}
