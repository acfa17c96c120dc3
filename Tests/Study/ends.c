// Programs that end, or go on, in ways that a recorder may stumble over. The first word says which; each exits with 3.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile place;
static atomic_int has_begun;
static pthread_key_t key;

static void allocate(size_t size, int times) {
  for (int i = 0; i < times; i++) {
    place = malloc(size);
    free(place);
  }
}

// Whoever is cancelled is so at the next point where that may be; a block of the trace is full long before the one here.
static void *until_cancelled(void *unused) {
  has_begun = 1;
  for (;;) {
    allocate(64, 20000);
    pthread_testcancel();
  }
  return unused;
}

static void cancelled(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, until_cancelled, NULL);
  while (!has_begun) sched_yield();
  pthread_cancel(thread);
  pthread_join(thread, NULL);
}

static void leave(int signal) {
  (void)signal;
  exit(3);
}

static void alarmed(int microseconds) {
  signal(SIGALRM, leave);
  struct itimerval once = {.it_value.tv_usec = microseconds};
  setitimer(ITIMER_REAL, &once, NULL);
  for (;;) allocate(64, 1000);
}

// Closes everything, and has a file of its own by every number.
static void closed(const char *path) {
  for (int number = 3; number < 1024; number++) close(number);
  int own = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
  for (int number = 3; number < 1024; number++)
    if (number != own) dup2(own, number);
  if (write(own, "mine\n", 5) != 5) abort();
  allocate(64, 50000);
}

static void destroy(void *object) {
  free(object);
  allocate(4243, 1);
}

static void *with_key(void *unused) {
  pthread_setspecific(key, malloc(4242));
  return unused;
}

static void keyed(void) {
  pthread_t thread;
  pthread_key_create(&key, destroy);
  pthread_create(&thread, NULL, with_key, NULL);
  pthread_join(thread, NULL);
}

// _Fork calls no handlers.
static void forked(void) {
  allocate(64, 100);
  pid_t child = _Fork();
  if (child == 0) {
    allocate(777, 20000);
    exit(0);
  }
  waitpid(child, NULL, 0);
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  if (!strcmp(what, "cancelled")) cancelled();
  else if (!strcmp(what, "alarmed")) alarmed(atoi(words[2]));
  else if (!strcmp(what, "closed")) closed(words[2]);
  else if (!strcmp(what, "keyed")) keyed();
  else if (!strcmp(what, "forked")) forked();
  else return 64;
  return 3;
}
