// last-thread exit: threads take and give back memory, and the main thread calls pthread_exit: the process must end by itself.
// last-thread alone: they end, and then the process must have one thread again: unshare and others ask for that.
#include "tasks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { objects = 100, size = 100000 };

static int most;

static void *work(void *unused) {
  void *slots[objects];
  for (int i = 0; i < objects; i++) memset(slots[i] = malloc(size), 1, size);
  for (int i = 0; i < objects; i++) free(slots[i]);
  if (tasks() > most) most = tasks();
  return unused;
}

int main(int count, char **arguments) {
  pthread_t thread;
  free(malloc(10));
  if (count < 2 || pthread_create(&thread, NULL, work, NULL)) return 2;
  if (!strcmp(arguments[1], "exit")) {
    pthread_detach(thread);
    pthread_exit(NULL);
  }
  pthread_join(thread, NULL);
  for (int i = 0; i < 100 && tasks() > 1; i++) usleep(100000);
  printf("%d threads, at most %d\n", tasks(), most);
  return tasks() != 1;
}
