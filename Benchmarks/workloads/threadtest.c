// Berger, McKinley, Blumofe and Wilson, "Hoard: a scalable memory allocator for multithreaded applications" (ASPLOS 2000),
// threadtest: each thread takes its share of 100,000 objects of 64 bytes and frees them all, over and over. Nothing is shared.
#include "workload.h"

enum { all_objects = 100000, size = 64, rounds = 2000 };

static void body(int number) {
  (void)number;
  int share = all_objects / options.threads;
  void **objects = table(sizeof(void *) * (size_t)share);
  for (long round = scaled(rounds); round > 0; round--) {
    for (int i = 0; i < share; i++) objects[i] = take(size);
    for (int i = 0; i < share; i++) give(objects[i], size);
  }
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  double seconds = run_together(body);
  report("threadtest", seconds, scaled(rounds) * (all_objects / options.threads) * options.threads, "");
}
