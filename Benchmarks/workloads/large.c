// Blocks of 64 KiB to 32 MiB, each magnitude as often as any other, six a thread, replaced at random; each page is written.
#include "workload.h"

enum { slots = 6, replacements = 2000 };

static void body(int number) {
  random_t random = (random_t)number;
  slot_t own[slots] = {0};
  for (long i = scaled(replacements) / options.threads; i > 0; i--) {
    slot_t *slot = &own[below(&random, slots)];
    empty(slot);
    fill(slot, even_size(&random, 16, 25));
  }
  for (int i = 0; i < slots; i++) empty(&own[i]);
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  double seconds = run_together(body);
  report("large", seconds, scaled(replacements) / options.threads * options.threads, "");
}
