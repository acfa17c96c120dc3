// Lever and Boreham, "malloc() performance in a multithreaded Linux environment" (USENIX 2000), with the batches of later
// versions: half of the threads take objects, the other half frees them, 128 at a time. Every free is a remote one.
#include "channel.h"

enum { batch_size = 128 };

typedef struct {
  slot_t slots[batch_size];
} batch_t;

static channel_t channel = CHANNEL_INITIALIZER;

static void body(int number) {
  long batches = scaled(120000) / (options.threads / 2);
  random_t random = (random_t)number;
  for (long i = 0; i < batches; i++) {
    if (number % 2 == 0) {
      batch_t *batch = take(sizeof(batch_t));
      for (int j = 0; j < batch_size; j++) fill(&batch->slots[j], even_size(&random, 4, 9));
      send_on(&channel, batch);
    } else {
      batch_t *batch = receive_from(&channel);
      for (int j = 0; j < batch_size; j++) empty(&batch->slots[j]);
      free(batch);
    }
  }
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  if (options.threads % 2) fail("--threads must be even");
  double seconds = run_together(body);
  report("producer-consumer", seconds, scaled(120000) * (batch_size + 1), "");
}
