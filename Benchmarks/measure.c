// Runs a program with a library preloaded and says how long it took and how much memory it had at its peak.
//
//   measure RESULT SECONDS LIBRARY PROGRAM [ARGUMENT…]
//
// RESULT is a file that one line of JSON goes to; SECONDS is how long the program may take; LIBRARY may be empty. The peak is the largest
// ru_maxrss of the program and of all that it waited for. This is a program of its own, and linked statically, because a process
// starts with the peak of the one that started it: started by an interpreter, nothing would be smaller than the interpreter.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void end_child(int signal) {
  (void)signal;
  kill(-child, SIGKILL);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

int main(int count, char **arguments) {
  if (count < 5) {
    fputs("usage: measure RESULT SECONDS LIBRARY PROGRAM [ARGUMENT…]\n", stderr);
    return 64;
  }
  const char *library = arguments[3];
  double started = now();
  child = fork();
  if (child == 0) {
    setpgid(0, 0);
    if (*library) setenv("LD_PRELOAD", library, 1);
    execvp(arguments[4], arguments + 4);
    perror(arguments[4]);
    _exit(127);
  }
  if (child < 0) {
    perror("fork");
    return 71;
  }
  setpgid(child, child);
  // On time-out, and when whoever measures is interrupted, the program goes with all that it started.
  int ends[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
  for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) sigaction(ends[i], &(struct sigaction){.sa_handler = end_child}, NULL);
  alarm((unsigned)atoi(arguments[2]));
  int status;
  struct rusage usage;
  while (wait4(child, &status, 0, &usage) < 0) continue;
  double took = now() - started;
  kill(-child, SIGKILL);
  FILE *result = fopen(arguments[1], "w");
  if (!result) {
    perror(arguments[1]);
    return 73;
  }
  fprintf(result, "{\"seconds\": %.6f, \"user\": %.6f, \"system\": %.6f, \"peak_KiB\": %ld, \"status\": %d, \"signal\": %d}\n", took,
          seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  return fclose(result) ? 73 : 0;
}
