// Larson and Krishnan, "Memory allocation for long-running server applications" (ISMM 1998): a server's threads replace random
// objects in their tables; after a while each ends and hands its table to a new thread, which frees what its predecessor took.
#include "workload.h"

#include <semaphore.h>

enum { slots = 5000, replacements = 40000 };

typedef struct {
  slot_t *slots;
  random_t random;
  long generations;
} lane_t;

static sem_t ended;

static void *serve(void *argument) {
  lane_t *lane = argument;
  for (int i = 0; i < replacements; i++) {
    slot_t *slot = &lane->slots[below(&lane->random, slots)];
    empty(slot);
    fill(slot, between(&lane->random, 8, 1000));
  }
  if (--lane->generations == 0) {
    sem_post(&ended);
    return NULL;
  }
  pthread_t successor;
  start(&successor, serve, lane);
  pthread_detach(successor);
  return NULL;
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  long generations = scaled(900 / options.threads);
  lane_t *lanes = table(sizeof(lane_t) * (size_t)options.threads);
  sem_init(&ended, 0, 0);
  double started = now();
  for (int i = 0; i < options.threads; i++) {
    lanes[i] = (lane_t){table(sizeof(slot_t) * slots), (random_t)i, generations};
    for (int j = 0; j < slots; j++) fill(&lanes[i].slots[j], between(&lanes[i].random, 8, 1000));
    pthread_t first;
    start(&first, serve, &lanes[i]);
    pthread_detach(first);
  }
  for (int i = 0; i < options.threads; i++) sem_wait(&ended);
  for (int i = 0; i < options.threads; i++)
    for (int j = 0; j < slots; j++) empty(&lanes[i].slots[j]);
  report("larson", now() - started, generations * options.threads * replacements, "");
}
