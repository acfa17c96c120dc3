// Grow, free 90 % at random, grow again with other sizes to as many bytes as before (Robson, "Worst case fragmentation of first fit
// and best fit storage allocation strategies", 1977, in the spirit; the sizes are random here). What was freed lies in
// pieces between what stayed: peak memory shows how much of it could be used again.
#include "workload.h"

enum { cycles = 5, bytes_in_all = 360 << 20 };

static const struct {
  size_t least, most;
} sizes[cycles] = {{16, 256}, {300, 1500}, {32, 96}, {2000, 6000}, {16, 700}};

static void body(int number) {
  random_t random = (random_t)number;
  size_t budget = (size_t)scaled(bytes_in_all) / (size_t)options.threads, capacity = budget / 16, count = 0, bytes = 0;
  slot_t *slots = table(sizeof(slot_t) * capacity);
  for (int cycle = 0; cycle < cycles; cycle++) {
    while (bytes < budget && count < capacity) {
      fill(&slots[count], between(&random, sizes[cycle].least, sizes[cycle].most));
      bytes += slots[count++].size;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
      if (cycle + 1 < cycles && below(&random, 10) == 0) {
        slots[kept++] = slots[i];
      } else {
        bytes -= slots[i].size;
        empty(&slots[i]);
      }
    }
    count = kept;
  }
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  double seconds = run_together(body);
  char more[64];
  snprintf(more, sizeof more, ", \"live_KiB\": %ld", scaled(bytes_in_all) / 1024);
  report("fragmentation", seconds, scaled(bytes_in_all), more);
}
