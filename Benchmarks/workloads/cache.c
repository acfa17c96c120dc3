// Berger and others (ASPLOS 2000), cache-scratch and cache-thrash: threads write small objects many times. It is slow when
// objects of two threads share a cache line.
//
//   --mode thrash   the allocator puts them there by itself (active false sharing)
//   --mode scratch  the first objects come from one thread, side by side; each thread frees the one it was given, and an
//                   allocator that hands it out again to that thread leaves them side by side for ever (passive)
#include "workload.h"

enum { size = 8, writes = 400, rounds = 13000000 };

static void *given[1000];

static void body(int number) {
  if (given[number]) give(given[number], size);
  for (long round = scaled(rounds) / options.threads; round > 0; round--) {
    volatile unsigned char *object = take(size);
    for (int i = 0; i < writes; i++) object[i % size]++;
    // 400 writes over 8 bytes, 50 each: back to what take wrote, and 50 more.
    for (int i = 0; i < size; i += size - 1) object[i] = (unsigned char)(object[i] - writes / size);
    give((void *)object, size);
  }
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  int scratch = !strcmp(options.mode, "scratch");
  if (!scratch && strcmp(options.mode, "thrash")) fail("--mode scratch or thrash");
  if (scratch)
    for (int i = 0; i < options.threads; i++) given[i] = take(size);
  double seconds = run_together(body);
  report(scratch ? "cache-scratch" : "cache-thrash", seconds, scaled(rounds) / options.threads * options.threads, "");
}
