// Random replacement: threads replace random objects in their shares of a table, without an order that an allocator could use.
//
//   --objects N         the whole table; each thread has its share
//   --sizes LEAST-MOST  without it 8 B to 32 KiB, each doubling half as often
//
// With one size the table fills slabs of one class to the last item, and after each free there is one free item in all of them:
// an allocator that looks for it slab by slab shows it (the classic worst case of sequential search; Wilson and others, "Dynamic
// storage allocation: a survey and critical review", 1995).
#include "workload.h"

enum { replacements = 24000000 };

// Replacing lasts from when the last table is full, which all wait for, to when the last thread has replaced its share.
static pthread_barrier_t full;
static double filled[1000], replaced[1000];

static size_t size_of(random_t *random) { return options.most ? between(random, options.least, options.most) : mixed_size(random); }

static void body(int number) {
  random_t random = (random_t)number;
  size_t slots = (size_t)options.objects / (size_t)options.threads;
  slot_t *own = table(sizeof(slot_t) * slots);
  for (size_t i = 0; i < slots; i++) fill(&own[i], size_of(&random));
  filled[number] = now();
  pthread_barrier_wait(&full);
  for (long i = scaled(replacements) / options.threads; i > 0; i--) {
    slot_t *slot = &own[below(&random, slots)];
    empty(slot);
    fill(slot, size_of(&random));
  }
  replaced[number] = now();
  for (size_t i = 0; i < slots; i++) empty(&own[i]);
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  if (options.objects < options.threads) fail("--objects N, at least as many as threads");
  pthread_barrier_init(&full, NULL, (unsigned)options.threads);
  double seconds = run_together(body), began = 0, ended = 0;
  for (int i = 0; i < options.threads; i++) {
    if (filled[i] > began) began = filled[i];
    if (replaced[i] > ended) ended = replaced[i];
  }
  char more[64];
  snprintf(more, sizeof more, ", \"replacing\": %.6f", ended - began);
  report("replace", seconds, scaled(replacements) / options.threads * options.threads, more);
}
