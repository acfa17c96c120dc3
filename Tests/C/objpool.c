// Every function of mempool.h's object pools does what its comment says. What aborts is in Tests/CrashTests.
#include "check.h"

#include <errno.h>
#include <mempool.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILS(error, call) (errno = 0, (call) == NULL && errno == (error))

static volatile size_t huge = SIZE_MAX;

static mp_objpool_stats_t stats(const mp_objpool_t *pool) {
  mp_objpool_stats_t seen;
  memset(&seen, 0xff, sizeof seen);
  mp_objpool_stats(pool, &seen);
  return seen;
}

enum { count = 100, more = 130 };
static void *objects[more];

static void *release(void *nothing) {
  for (int i = 0; i < more; i++) mp_objpool_put(objects[i]);
  return nothing;
}

static void whatIsCounted(mp_objpool_t *pool, int prepared) {
  CHECK(pool != NULL);
  for (int i = 0; i < more; i++) {
    CHECK((objects[i] = mp_objpool_get(pool)) != NULL && (uintptr_t)objects[i] % 16 == 0);
    memset(objects[i], i, 56);
  }
  for (int i = 0; i < more; i++)
    for (int j = 0; j < 56; j++) CHECK(((unsigned char *)objects[i])[j] == (unsigned char)i);
  mp_objpool_stats_t seen = stats(pool);
  CHECK(!strcmp(seen.name, "counted") && seen.item_size == 56);
  CHECK(seen.hot == (uint64_t)prepared && seen.cold == 0 && seen.max_hot == (uint64_t)prepared);
  CHECK(seen.allocations == more && seen.misses == (uint64_t)(more - prepared));
  CHECK(seen.fallback == seen.misses && seen.max_fallback == seen.misses);
  errno = 0;
  CHECK(mp_objpool_destroy(pool) == -1 && errno == EBUSY);
  // By another thread, which knows nothing of the pool.
  pthread_t thread;
  CHECK(!pthread_create(&thread, NULL, release, NULL) && !pthread_join(thread, NULL));
  seen = stats(pool);
  CHECK(seen.hot == 0 && seen.cold == (uint64_t)prepared && seen.max_hot == (uint64_t)prepared);
  CHECK(seen.fallback == 0 && seen.max_fallback == (uint64_t)(more - prepared) && seen.allocations == more);
  for (int i = 0; i < more; i++) {
    char *zeroed = mp_objpool_get0(pool);
    CHECK(zeroed != NULL);
    for (int j = 0; j < 56; j++) CHECK(zeroed[j] == 0);
    memset(zeroed, 1, 56);
    objects[i] = zeroed;
  }
  errno = 77;
  release(NULL);
  mp_objpool_put(NULL);
  CHECK(errno == 77);
  CHECK(mp_objpool_named("counted") == pool);
  CHECK(mp_objpool_destroy(pool) == 0);
  CHECK(mp_objpool_named("counted") == NULL);
}

static void arguments(void) {
  CHECK(FAILS(EINVAL, mp_objpool_new(0, 1, "none")) && FAILS(EINVAL, mp_objpool_new(1, 0, "none")));
  CHECK(FAILS(EINVAL, mp_objpool_new(MP_OBJPOOL_ITEM_MAX + 1, 1, "none")) && FAILS(EINVAL, mp_objpool_new(huge, 1, "none")));
  CHECK(FAILS(EINVAL, mp_objpool_new_with(1, 1, "none", 4)));
  CHECK(FAILS(ENOMEM, mp_objpool_new(16, huge, "none")) && FAILS(ENOMEM, mp_objpool_new(16, huge / 4, "none")) && FAILS(ENOMEM, mp_objpool_new(1 << 20, (size_t)1 << 43, "none")));
  CHECK(mp_objpool_named("none") == NULL);
  CHECK(mp_objpool_destroy(NULL) == 0);
  mp_objpool_abandon(NULL);
  mp_objpool_t *nameless = mp_objpool_new(1, 1, NULL);
  CHECK(nameless != NULL && *stats(nameless).name == 0 && mp_objpool_destroy(nameless) == 0);
  mp_objpool_t *largest = mp_objpool_new(MP_OBJPOOL_ITEM_MAX, 2, "largest");
  for (int i = 0; i < 3; i++) CHECK((objects[i] = mp_objpool_get0(largest)) != NULL);
  for (int i = 0; i < 3; i++) mp_objpool_put(objects[i]);
  CHECK(mp_objpool_destroy(largest) == 0);
}

static void abandoned(void) {
  mp_objpool_t *pool = mp_objpool_new(64, 2, "abandoned");
  for (int i = 0; i < 4; i++) objects[i] = mp_objpool_get(pool);
  mp_objpool_abandon(pool);
  CHECK(mp_objpool_named("abandoned") == NULL);
  for (int i = 0; i < 4; i++) memset(objects[i], i, 64), mp_objpool_put(objects[i]);
}

static void printed(void) {
  mp_objpool_t *one = mp_objpool_new(64, 2, "one"), *two = mp_objpool_new(32, 3, "two");
  char text[8192];
  int ends[2];
  CHECK(!pipe(ends));
  CHECK(mp_objpool_print(NULL, ends[1], 0) == 0);
  ssize_t got = read(ends[0], text, sizeof text - 1);
  CHECK(got > 0);
  text[got] = 0;
  CHECK(strstr(text, "object pool \"one\"\n") && strstr(text, "object pool \"two\"\n") && strstr(text, "  max_fallback "));
  CHECK(mp_objpool_print("two", ends[1], 1) == 0);
  CHECK((got = read(ends[0], text, sizeof text - 1)) > 0);
  text[got] = 0;
  static const char start[] = "{\"object_pools\":[{\"name\":\"two\",\"item_size\":32,\"item_stride\":32,\"count\":3,\"hot\":0,\"cold\":3,";
  CHECK(!strncmp(text, start, sizeof start - 1) && !strcmp(text + got - 4, "}]}\n"));
  close(ends[0]), close(ends[1]);
  CHECK(mp_objpool_print(NULL, -1, 1) == -1);
  CHECK(mp_objpool_destroy(one) == 0 && mp_objpool_destroy(two) == 0);
}

static void swept(void) {
  mp_objpool_t *pool = mp_objpool_new(1000, 1000, "swept");
  mp_stats_t before, after;
  enum { burst = 60000 };
  void **many = calloc(burst, sizeof *many);
  mp_objpool_sweep(NULL);
  mp_stats_read(&before);
  for (int i = 0; i < burst; i++) CHECK((many[i] = mp_objpool_get0(pool)) != NULL);
  for (int i = 0; i < burst; i++) mp_objpool_put(many[i]);
  free(many);
  mp_objpool_sweep(pool);
  mp_stats_read(&after);
  // What was prepared has been touched meanwhile.
  CHECK(after.committed_bytes <= before.committed_bytes + 1000 * 1008 / 10 * 11);
  CHECK(mp_objpool_sweep_every(1) == 0 && mp_objpool_sweep_every(1000000000) == 0 && mp_objpool_sweep_every(0) == 0);
  CHECK(mp_objpool_sweep_every(0) == 0);
  CHECK(mp_objpool_destroy(pool) == 0);
}

static void forked(void) {
  mp_objpool_t *pool = mp_objpool_new(64, 2, "forked");
  for (int i = 0; i < 4; i++) objects[i] = mp_objpool_get(pool);
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    for (int i = 0; i < 4; i++) mp_objpool_put(objects[i]);
    for (int i = 0; i < 4; i++) mp_objpool_put(mp_objpool_get(pool));
    _exit(mp_objpool_destroy(pool) == 0 && mp_objpool_sweep_every(5) == 0 && mp_objpool_sweep_every(0) == 0 ? 0 : 1);
  }
  int status;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(stats(pool).hot == 2 && stats(pool).fallback == 2);
  for (int i = 0; i < 4; i++) mp_objpool_put(objects[i]);
  CHECK(mp_objpool_destroy(pool) == 0);
}

int main(void) {
  whatIsCounted(mp_objpool_new(56, count, "counted"), count);
  whatIsCounted(mp_objpool_new_with(56, count, "counted", MP_OBJPOOL_SYSTEM), count);
  whatIsCounted(mp_objpool_new_with(56, count, "counted", MP_OBJPOOL_PASS_THROUGH), 0);
  arguments();
  abandoned();
  printed();
  swept();
  forked();
  mempool_fini();
  return failures != 0;
}
