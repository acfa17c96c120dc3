// A program of misuses, one a run: `program` lists their names, `program NAME` commits one.
//
// A case prints the line that it expects on standard output before it does what it should not. The runner compares that with
// the first line on standard error and asks for SIGABRT. A case that comes back has failed.
#ifndef CASE_H
#define CASE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  const char *name;
  void (*commit)(void);
} Case;

// The compiler must not see what is wrong with a pointer or a size.
static void *volatile hidden;
static inline void *hide(void *p) {
  hidden = p;
  return hidden;
}
static volatile size_t huge = SIZE_MAX;

#define EXPECT(...) (printf("mempool: " __VA_ARGS__), putchar('\n'), fflush(stdout))

static inline void *runInThread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  void *result = NULL;
  if (pthread_create(&thread, NULL, body, argument)) abort();
  pthread_join(thread, &result);
  return result;
}

static inline int runCases(const Case *cases, size_t count, int argumentCount, char **arguments) {
  for (size_t i = 0; i < count; i++) {
    if (argumentCount < 2) puts(cases[i].name);
    else if (!strcmp(arguments[1], cases[i].name)) {
      cases[i].commit();
      puts("came back");
      return 1;
    }
  }
  return argumentCount < 2 ? 0 : 2;
}

#endif
