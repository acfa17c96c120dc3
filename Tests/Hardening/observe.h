// A misuse, committed by a process of its own, and what must come of it.
#ifndef OBSERVE_H
#define OBSERVE_H

#include "../CrashTests/case.h"

typedef enum {
  NOTHING,  // exit status 0, and nothing on standard error
  STALE,    // the same, and the program says that it read what it should not have seen
  LINE,     // the line that it expects, nothing else, and SIGABRT
  FAULT     // SIGSEGV, and nothing on standard error
} Outcome;

typedef struct {
  const char *name;
  void (*commit)(void);
  Outcome outcome[4];  // at levels 0 to 3
} Case;

static const char *const outcomeNames[] = {"nothing", "what was there before", "a line and SIGABRT", "SIGSEGV"};

__attribute__((format(printf, 3, 4), unused)) static void observe(
    void (*commit)(void), Outcome outcome, const char *format, ...) {
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
    _exit(0);
  }
  close(ends[1]);
  for (ssize_t got; count < sizeof seen - 1 && (got = read(ends[0], seen + count, sizeof seen - 1 - count)) > 0;)
    count += (size_t)got;
  close(ends[0]);
  if (waitpid(child, &status, 0) != child) stop("waitpid");
  const char *line = outcome == LINE ? expected : outcome == STALE ? "reads what was there\n" : "";
  int signal = outcome == LINE ? SIGABRT : outcome == FAULT ? SIGSEGV : 0;
  if (!strcmp(seen, line) && (outcome != LINE || *line) && status == signal) {
    passed++;
    return;
  }
  failed++;
  printf("FAILED  %s: expected %s\n", name, outcomeNames[outcome]);
  if (WIFSIGNALED(status)) printf("        signal %d", WTERMSIG(status));
  else printf("        exit status %d", WEXITSTATUS(status));
  printf(", and saw %s\n", *seen ? seen : "nothing");
  if (outcome == LINE) printf("        expected %s\n", line);
}

#endif
