// A thousand short threads, as many alive at a time as --threads says. Each takes 4000 objects twenty-two times, frees
// three quarters at random, and leaves the rest to the next thread, which frees it: heaps are made, left and taken over all the time.
#include "workload.h"

enum { threads = 1000, objects = 4000, passes = 22 };

typedef struct {
  slot_t *slots;
  random_t random;
} lane_t;

static void *live(void *argument) {
  lane_t *lane = argument;
  for (int pass = 0; pass < passes; pass++) {
    for (int i = 0; i < objects; i++) {
      empty(&lane->slots[i]); // In the first pass, what the thread before left here.
      fill(&lane->slots[i], between(&lane->random, 8, 512));
    }
    for (int i = 0; i < objects; i++)
      if (next(&lane->random) % 4) empty(&lane->slots[i]);
  }
  return NULL;
}

static void body(int number) {
  lane_t lane = {table(sizeof(slot_t) * objects), (random_t)number};
  for (long i = scaled(threads) / options.threads; i > 0; i--) {
    pthread_t thread;
    start(&thread, live, &lane);
    pthread_join(thread, NULL);
  }
  for (int i = 0; i < objects; i++) empty(&lane.slots[i]);
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  double seconds = run_together(body);
  report("churn", seconds, scaled(threads) / options.threads * options.threads * objects * passes, "");
}
