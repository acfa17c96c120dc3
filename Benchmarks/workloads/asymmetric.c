// One thread only frees: the others replace random objects in their tables, and what they take out goes to it in batches. An
// allocator must bring the memory back to the threads that need it, and keep up with the one that never asks for any.
#include "channel.h"

enum { batch_size = 256, slots = 4096 };

typedef struct {
  slot_t slots[batch_size];
} batch_t;

static channel_t channel = CHANNEL_INITIALIZER;

static long batches_of_one(void) { return scaled(120000) / (options.threads - 1); }

static void body(int number) {
  random_t random = (random_t)number;
  if (number == 0) {
    for (long i = batches_of_one() * (options.threads - 1); i > 0; i--) {
      batch_t *batch = receive_from(&channel);
      for (int j = 0; j < batch_size; j++) empty(&batch->slots[j]);
      free(batch);
    }
    return;
  }
  slot_t *own = table(sizeof(slot_t) * slots);
  for (int i = 0; i < slots; i++) fill(&own[i], even_size(&random, 4, 9));
  for (long i = batches_of_one(); i > 0; i--) {
    batch_t *batch = take(sizeof(batch_t));
    for (int j = 0; j < batch_size; j++) {
      slot_t *slot = &own[below(&random, slots)];
      batch->slots[j] = *slot;
      fill(slot, even_size(&random, 4, 9));
    }
    send_on(&channel, batch);
  }
  for (int i = 0; i < slots; i++) empty(&own[i]);
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  if (options.threads < 2) fail("--threads 2 at least");
  double seconds = run_together(body);
  report("asymmetric", seconds, batches_of_one() * (options.threads - 1) * batch_size, "");
}
