// race TIMES: two threads free one sampled object at the same moment, each time in a process of its own: one of them does, and the other is reported,
// with the backtraces of who allocated it, who freed it and who came too late.
//
// Needs MEMPOOL_GUARD_SAMPLE=1. Linked with -rdynamic, so that functions have names.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile object;
static int ready;
static long threads[2];

// Like this, so that each has a frame of its own.
__attribute__((noinline, noclone)) void frees_it(void) {
  free(object);
  __asm__ volatile("" ::: "memory");
}

static void *racer(void *number) {
  threads[(long)number] = syscall(SYS_gettid);
  __atomic_add_fetch(&ready, 1, __ATOMIC_ACQ_REL);
  while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 3) {}
  frees_it();
  return NULL;
}

static void race(void) {
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  alarm(60);
  pthread_t racers[2];
  object = malloc(100);
  for (long i = 0; i < 2; i++) pthread_create(&racers[i], NULL, racer, (void *)i);
  while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 2) {}
  dprintf(2, "%p %ld %ld %ld\n", object, (long)getpid(), threads[0], threads[1]);
  __atomic_store_n(&ready, 3, __ATOMIC_RELEASE);
  for (int i = 0; i < 2; i++) pthread_join(racers[i], NULL);
  _exit(1);
}

// What is wrong with what it said, if anything. Who of the two is which is not known.
static const char *fault(char *seen) {
  char *rest = strchr(seen, '\n'), line[256];
  void *address;
  long allocating, one, two;
  if (!rest || sscanf(seen, "%p %ld %ld %ld", &address, &allocating, &one, &two) != 4) return "it did not come so far";
  snprintf(line, sizeof line, "\nmempool: free(%p): double free\n", address);
  if (strncmp(rest, line, strlen(line))) return "another line";
  snprintf(line, sizeof line, "\nmempool: allocated by thread %ld:\n", allocating);
  char *allocated = strstr(rest, line);
  if (!allocated) return "no backtrace of who allocated it";
  char *freed = strstr(allocated, "\nmempool: freed by thread "), *noticed = strstr(allocated, "\nmempool: noticed by thread ");
  long by = 0, late = 0;
  if (!freed || sscanf(freed, "\nmempool: freed by thread %ld", &by) != 1) return "no backtrace of who freed it";
  if (!noticed || sscanf(noticed, "\nmempool: noticed by thread %ld", &late) != 1) return "no backtrace of who came too late";
  if (by + late != one + two || (by != one && by != two)) return "other threads";
  char *name = strstr(freed, "(frees_it+");
  return name && name < noticed && strstr(noticed, "(frees_it+") ? NULL : "no function's name";
}

int main(int count, char **arguments) {
  int times = count > 1 ? atoi(arguments[1]) : 100, failed = 0;
  static char seen[1 << 16];
  for (int i = 0; i < times; i++) {
    int ends[2], status;
    if (pipe(ends)) return 2;
    pid_t child = fork();
    if (child == 0) {
      dup2(ends[1], 2);
      close(ends[0]), close(ends[1]);
      race();
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; length < sizeof seen - 1 && (got = read(ends[0], seen + length, sizeof seen - 1 - length)) > 0;) length += (size_t)got;
    seen[length] = 0;
    close(ends[0]);
    if (waitpid(child, &status, 0) != child) return 2;
    const char *why = !WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT ? "another end" : fault(seen);
    if (!why) continue;
    failed++;
    printf("FAILED  %s; status %d, saw\n%s\n", why, status, seen);
  }
  printf("%d objects freed by two at once, %d of them not reported as they should be\n", times, failed);
  return failed || !times;
}
