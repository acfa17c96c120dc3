// Misuses, each committed by a process of its own: it says which line it expects, and then does what it should not. That line
// and nothing else must come on its standard error, and SIGABRT. What comes back has failed.
#ifndef CASE_H
#define CASE_H

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// The compiler must not see what is wrong with a pointer or a size.
static void *volatile hidden;
static inline void *hide(const void *p) {
  hidden = (void *)(uintptr_t)p;
  return hidden;
}
static volatile size_t huge = SIZE_MAX;

enum { lineBytes = 256 };
// Shared with the process that commits the misuse.
static char *expected;
#define EXPECT(...) (snprintf(expected, lineBytes - 1, "mempool: " __VA_ARGS__), strcat(expected, "\n"))

static int passed, failed;
// Part of the names of those to attempt; NULL: all.
static const char *chosen;

static void stop(const char *what) {
  perror(what);
  exit(2);
}

__attribute__((format(printf, 2, 3))) static void attempt(void (*commit)(void), const char *format, ...) {
  char name[lineBytes], seen[4 * lineBytes] = "";
  va_list rest;
  va_start(rest, format);
  vsnprintf(name, sizeof name, format, rest);
  va_end(rest);
  if (chosen && !strstr(name, chosen)) return;
  int ends[2], status;
  size_t count = 0;
  *expected = 0;
  fflush(stdout);
  if (pipe(ends)) stop("pipe");
  pid_t child = fork();
  if (child < 0) stop("fork");
  if (child == 0) {
    if (dup2(ends[1], 2) < 0) _exit(2);
    close(ends[0]);
    close(ends[1]);
    alarm(60);
    commit();
    _exit(1);
  }
  close(ends[1]);
  for (ssize_t got; count < sizeof seen - 1 && (got = read(ends[0], seen + count, sizeof seen - 1 - count)) > 0;)
    count += (size_t)got;
  close(ends[0]);
  if (waitpid(child, &status, 0) != child) stop("waitpid");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && *expected && !strcmp(seen, expected)) {
    passed++;
    return;
  }
  failed++;
  if (WIFSIGNALED(status)) printf("FAILED  %s: signal %d\n", name, WTERMSIG(status));
  else printf("FAILED  %s: exit status %d\n", name, WEXITSTATUS(status));
  printf("expected %ssaw      %s\n", *expected ? expected : "nothing yet\n", *seen ? seen : "nothing");
}

// The same twice: by the first thread, and by another one.
static void (*body)(void);
static void *runBody(void *unused) {
  body();
  return unused;
}
static void bodyInThread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, runBody, NULL)) stop("pthread_create");
  pthread_join(thread, NULL);
}
#define ATTEMPT(name) (attempt(name, "%s", #name), body = (name), attempt(bodyInThread, "%s, by another thread", #name))

static void beginAttempts(int count, char **arguments) {
  const struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none)) stop("setrlimit");
  expected = mmap(NULL, lineBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (expected == MAP_FAILED) stop("mmap");
  chosen = count > 1 ? arguments[1] : NULL;
}

static int endAttempts(void) {
  printf("%d misuses, %d of them not as they should be\n", passed + failed, failed);
  return failed != 0 || passed == 0;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

#endif
