// What stays after a burst, when the program calls nothing more: Private_Dirty with 8 MiB of live objects, then after a burst of 128 MiB
// has been freed, at once and after --scale times 10 idle seconds.
//
//   --mode own      each thread frees its own burst; with --threads 1 the main thread does all, and there is no other
//   --mode exited   the threads exit, and the main thread frees it
//   --mode blocked  the threads wait, allocating nothing, and the main thread frees it: items of 4 KiB to 32 KiB
#include "workload.h"

enum { kept_bytes = 8 << 20, burst_bytes = 128 << 20 };

// The objects hold their own list: a table of them would count as the program's memory.
typedef struct object {
  struct object *next;
  size_t size;
} object_t;

static object_t *kept[1000], *burst[1000];
static int blocked, exited, alone;
static pthread_barrier_t step;

static void pile_up(object_t **pile, size_t bytes, random_t *random, int at_least_a_page) {
  for (size_t all = 0; all < bytes; all += (*pile)->size) {
    size_t size = at_least_a_page ? even_size(random, 12, 15) : mixed_size(random);
    if (size < sizeof(object_t)) size = sizeof(object_t);
    object_t *object = take(size);
    *object = (object_t){*pile, size};
    *pile = object;
  }
}

static void free_all(object_t *pile) {
  while (pile) {
    object_t *object = pile;
    pile = object->next;
    free(object);
  }
}

static long before, at_peak;

static void meet(void) {
  if (!alone) pthread_barrier_wait(&step);
}

// Between two meetings the main thread reads what there is, and the others do nothing.
static void *body(void *argument) {
  int number = (int)(intptr_t)argument;
  random_t random = (random_t)number;
  pile_up(&kept[number], kept_bytes / (size_t)options.threads, &random, 0);
  meet(); // The live objects are there.
  if (alone) before = private_dirty();
  meet();
  pile_up(&burst[number], burst_bytes / (size_t)options.threads, &random, blocked);
  meet(); // The burst is there.
  if (alone) at_peak = private_dirty();
  meet();
  if (!exited && !blocked) free_all(burst[number]);
  if (exited || alone) return NULL;
  meet(); // The burst is freed.
  meet();
  return NULL;
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  blocked = !strcmp(options.mode, "blocked");
  exited = !strcmp(options.mode, "exited");
  if (!blocked && !exited && strcmp(options.mode, "own")) fail("--mode own, exited or blocked");
  alone = !blocked && !exited && options.threads == 1;
  pthread_barrier_init(&step, NULL, (unsigned)options.threads + 1);
  pthread_t threads[1000];
  long threads_at_work = 0;
  if (alone) {
    body(0);
    threads_at_work = threads_now();
  } else {
    for (int i = 0; i < options.threads; i++) start(&threads[i], body, (void *)(intptr_t)i);
    meet();
    before = private_dirty();
    meet();
    meet();
    at_peak = private_dirty();
    threads_at_work = threads_now();
    meet();
  }
  if (exited)
    for (int i = 0; i < options.threads; i++) pthread_join(threads[i], NULL);
  if (exited || blocked)
    for (int i = 0; i < options.threads; i++) free_all(burst[i]);
  if (!exited) meet(); // The burst is freed. Nothing is called from here on.
  long at_once = private_dirty();
  rest(10 * options.scale);
  long after = private_dirty(), lazy = lazily_freed();
  if (!exited && !alone) {
    meet();
    for (int i = 0; i < options.threads; i++) pthread_join(threads[i], NULL);
  }
  char more[240];
  int length = snprintf(more, sizeof more,
                        ", \"threads_at_work\": %ld, \"before_KiB\": %ld, \"burst_KiB\": %ld, \"freed_KiB\": %ld, \"after_KiB\": %ld",
                        threads_at_work, before, at_peak, at_once, after);
  if (lazy >= 0) snprintf(more + length, sizeof more - (size_t)length, ", \"lazy_KiB\": %ld", lazy);
  report("after-burst", 10 * options.scale, 0, more);
}
