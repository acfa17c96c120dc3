// Bursts of work with rests between: what a server does at night. Of the rests, only the processor time counts that somebody takes to give memory
// back. What they leave in memory is told: Private_Dirty after the last one.
#include "workload.h"

enum { bursts = 3, bytes_in_all = 430 << 20 };

static pthread_barrier_t burst_ends, rest_ends;

static void body(int number) {
  random_t random = (random_t)number;
  size_t budget = (size_t)scaled(bytes_in_all) / (size_t)options.threads, capacity = budget / 64;
  slot_t *slots = table(sizeof(slot_t) * capacity);
  for (int burst = 0; burst < bursts; burst++) {
    size_t count = 0;
    for (size_t bytes = 0; bytes < budget && count < capacity; bytes += slots[count++].size) fill(&slots[count], mixed_size(&random));
    for (size_t i = 0; i < count; i++) {
      size_t other = below(&random, count);
      slot_t slot = slots[i];
      slots[i] = slots[other];
      slots[other] = slot;
    }
    for (size_t i = 0; i < count; i++) empty(&slots[i]);
    pthread_barrier_wait(&burst_ends);
    pthread_barrier_wait(&rest_ends);
  }
}

static double rested; // Seconds in which nobody worked for the program.
static long after_rest;

static void *idle(void *none) {
  for (int burst = 0; burst < bursts; burst++) {
    pthread_barrier_wait(&burst_ends);
    double started = now(), worked = processor_seconds();
    rest(2.5 * options.scale); // Longer than allocators keep idle memory: the next burst pays for what went back.
    worked = processor_seconds() - worked;
    if (burst == bursts - 1) after_rest = private_dirty();
    rested += now() - started - worked;
    pthread_barrier_wait(&rest_ends);
  }
  return none;
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  pthread_barrier_init(&burst_ends, NULL, (unsigned)options.threads + 1);
  pthread_barrier_init(&rest_ends, NULL, (unsigned)options.threads + 1);
  pthread_t clock;
  start(&clock, idle, NULL);
  double seconds = run_together(body);
  pthread_join(clock, NULL);
  char more[64];
  snprintf(more, sizeof more, ", \"after_rest_KiB\": %ld", after_rest);
  report("bursts", seconds - rested, bursts * scaled(bytes_in_all), more);
}
