// A misuse, committed by a process of its own, and what must come of it.
#ifndef OBSERVE_H
#define OBSERVE_H

#include "../CrashTests/case.h"

typedef enum {
  NOTHING,  // exit status 0, and nothing on standard error
  ZERO,     // the same, and the program says that it read zeroes where something was before
  STALE,    // the same, and the program says that it read what it should not have seen
  LINE,     // the line that it expects, nothing else, and SIGABRT
  FAULT,    // SIGSEGV, and nothing on standard error
  REPORT,   // a line, the backtraces of who allocated the object and who is noticed, and SIGABRT or SIGSEGV
  OTHER     // what must never come
} Outcome;

enum { sampled = 4, columns };

typedef struct {
  const char *name;
  void (*commit)(void);
  Outcome outcome[columns];  // at levels 0 to 3, and of a sampled object
  const char *report;        // what a report's first line says
} Case;

static const char *const outcomeNames[] = {
    "nothing", "zeroes", "what was there before", "a line and SIGABRT", "SIGSEGV", "a report of sampled guards", "anything else"};

static const char readsZeroes[] = "reads zeroes\n", readsStale[] = "reads what was there\n";

// Whether there is all that a report has; its first line must say `what`.
static int isReport(const char *seen, const char *what) {
  const char *end = strchr(seen, '\n'), *said = what ? strstr(seen, what) : NULL;
  return !strncmp(seen, "mempool: ", 9) && said && said < end && strstr(end, "\nmempool: allocated by thread ") &&
         strstr(end, "\nmempool: noticed by thread ");
}

static Outcome outcomeOf(const char *seen, int status, const char *what) {
  if (status == 0 && !*seen) return NOTHING;
  if (status == 0 && !strcmp(seen, readsZeroes)) return ZERO;
  if (status == 0 && !strcmp(seen, readsStale)) return STALE;
  if (status == SIGABRT && *expected && !strcmp(seen, expected)) return LINE;
  if (status == SIGSEGV && !*seen) return FAULT;
  return (status == SIGABRT || status == SIGSEGV) && isReport(seen, what) ? REPORT : OTHER;
}

// What came of it, which should be `outcome`.
__attribute__((format(printf, 4, 5), unused)) static Outcome observe(
    void (*commit)(void), Outcome outcome, const char *what, const char *format, ...) {
  char name[lineBytes], seen[1 << 14] = "";
  va_list rest;
  va_start(rest, format);
  vsnprintf(name, sizeof name, format, rest);
  va_end(rest);
  if (chosen && !strstr(name, chosen)) return outcome;
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
  seen[count] = 0;
  close(ends[0]);
  if (waitpid(child, &status, 0) != child) stop("waitpid");
  Outcome found = outcomeOf(seen, status, what);
  if (found == outcome) {
    passed++;
    return found;
  }
  failed++;
  printf("FAILED  %s: expected %s\n", name, outcomeNames[outcome]);
  if (WIFSIGNALED(status)) printf("        signal %d", WTERMSIG(status));
  else printf("        exit status %d", WEXITSTATUS(status));
  printf(", and saw %s\n", *seen ? seen : "nothing");
  if (outcome == LINE) printf("        expected %s\n", expected);
  return found;
}

#endif
