// Batches of 10,000 objects, freed last in first out (a stack of calls) or first in first out (a queue of requests).
#include "workload.h"

enum { batch_size = 10000, batches = 7000 };

static int fifo;

static void body(int number) {
  random_t random = (random_t)number;
  slot_t *slots = table(sizeof(slot_t) * batch_size);
  for (long batch = scaled(batches) / options.threads; batch > 0; batch--) {
    for (int i = 0; i < batch_size; i++) fill(&slots[i], between(&random, 8, 256));
    for (int i = 0; i < batch_size; i++) empty(&slots[fifo ? i : batch_size - 1 - i]);
  }
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  fifo = !strcmp(options.mode, "fifo");
  if (!fifo && strcmp(options.mode, "lifo")) fail("--mode lifo or fifo");
  double seconds = run_together(body);
  report(options.mode, seconds, scaled(batches) / options.threads * options.threads * batch_size, "");
}
