// Compact pools in C: each function does what mempool.h says. What aborts is in Tests/CrashTests.
#include "check.h"

#include <errno.h>
#include <mempool.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { objects = 2000 };

static void fill(mp_compact_t *pool, mp_handle_t handle, size_t size, int mark) {
  unsigned char *p = mp_compact_map(pool, handle);
  CHECK(p && mp_compact_size(pool, handle) == size);
  memset(p, mark, size);
  mp_compact_unmap(pool, handle);
}

static int holds(mp_compact_t *pool, mp_handle_t handle, size_t size, int mark) {
  unsigned char *p = mp_compact_map(pool, handle);
  size_t same = 0;
  while (same < size && p[same] == (unsigned char)mark) same++;
  mp_compact_unmap(pool, handle);
  return same == size;
}

static size_t sizeOf(int i) { return i % 50 ? 1 + (size_t)i * 7919 % 4092 : 1 + (size_t)i * 101; }

static void use(unsigned flags, size_t alignment) {
  static mp_handle_t handles[objects];
  mp_compact_t *pool = mp_compact_new(flags);
  CHECK(pool && mp_compact_total_bytes(pool) == 0);
  size_t live = 0;
  for (int i = 0; i < objects; i++) {
    CHECK(mp_compact_alloc(pool, sizeOf(i), 0, &handles[i]) == 0 && handles[i].page != 0);
    fill(pool, handles[i], sizeOf(i), i);
    CHECK((uintptr_t)mp_compact_map(pool, handles[i]) % alignment == 0);
    mp_compact_unmap(pool, handles[i]);
    live += sizeOf(i);
  }
  mp_compact_stats_t stats;
  mp_compact_stats(pool, &stats);
  CHECK(stats.live_objects == objects && stats.live_bytes == live && stats.total_bytes == mp_compact_total_bytes(pool));
  CHECK(stats.total_bytes >= live && stats.total_bytes < live + live / 8 && stats.peak_bytes == stats.total_bytes);
  for (int i = 0; i < objects; i += 2) {
    CHECK(holds(pool, handles[i], sizeOf(i), i));
    errno = 77;
    CHECK(mp_compact_free(pool, handles[i]) == 0 && errno == 77);
  }
  size_t before = mp_compact_total_bytes(pool), packed = mp_compact_pack(pool);
  CHECK(flags & MP_COMPACT_MOVABLE ? packed > before / 5 : packed == 0);
  CHECK(before - mp_compact_total_bytes(pool) == packed);
  before = mp_compact_total_bytes(pool);
  for (int i = 0; i < objects; i += 2) {
    errno = 0;
    if (mp_compact_alloc(pool, 1 + sizeOf(i) % 50, MP_COMPACT_NOGROW, &handles[i])) {
      CHECK(errno == ENOMEM && handles[i].page == 0 && handles[i].offset == 0);
    }
    CHECK(mp_compact_total_bytes(pool) == before);
  }
  for (int i = 0; i < objects; i++) {
    CHECK(i % 2 == 0 || holds(pool, handles[i], sizeOf(i), i));
    CHECK(mp_compact_free(pool, handles[i]) == 0);
  }
  CHECK(mp_compact_total_bytes(pool) == 0 && mp_compact_trim(pool) == 0);
  // Live objects go with their pool.
  for (int i = 0; i < objects; i++) CHECK(mp_compact_alloc(pool, sizeOf(i), 0, &handles[i]) == 0);
  mp_compact_destroy(pool);
}

// --- What names no live object: nothing comes of freeing it

static int refused(mp_compact_t *pool, mp_handle_t handle) {
  mp_compact_stats_t before, after;
  mp_compact_stats(pool, &before);
  errno = 0;
  int result = mp_compact_free(pool, handle);
  mp_compact_stats(pool, &after);
  return result == -1 && errno == EINVAL && !memcmp(&before, &after, sizeof before);
}
static mp_handle_t at(mp_handle_t handle, int by) {
  handle.offset += (uint32_t)by;
  return handle;
}

static void wrongHandles(unsigned flags) {
  // In each order in which the middle one of five and its neighbours can be freed.
  static const char *const orders[] = {"2", "12", "21", "23", "32", "132", "213", "321", "123", "231", "312"};
  for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
    mp_compact_t *pool = mp_compact_new(flags);
    mp_handle_t all[5];
    for (int i = 0; i < 5; i++) {
      CHECK(mp_compact_alloc(pool, 100, 0, &all[i]) == 0);
      fill(pool, all[i], 100, 0);
    }
    for (const char *next = orders[k]; *next; next++) CHECK(mp_compact_free(pool, all[*next - '0']) == 0);
    for (const char *next = orders[k]; *next; next++) CHECK(refused(pool, all[*next - '0']));
    CHECK(refused(pool, at(all[0], 1)) && refused(pool, at(all[0], 8)) && refused(pool, at(all[0], 4096)));
    mp_handle_t never = {12345, 8}, none = {UINT32_MAX, UINT32_MAX}, low = {1, 4};
    CHECK(refused(pool, never) && refused(pool, none) && refused(pool, low));
    CHECK(holds(pool, all[0], 100, 0) && holds(pool, all[4], 100, 0));
    mp_handle_t large;
    CHECK(mp_compact_alloc(pool, 500000, 0, &large) == 0 && refused(pool, at(large, 16)));
    CHECK(mp_compact_free(pool, large) == 0 && refused(pool, large));
    CHECK(mp_compact_free(pool, all[0]) == 0 && mp_compact_free(pool, all[4]) == 0);
    for (int i = 1; i < 4; i++)
      if (!strchr(orders[k], '0' + i)) CHECK(mp_compact_free(pool, all[i]) == 0);
    for (int i = 0; i < 5; i++) CHECK(refused(pool, all[i]));
    CHECK(mp_compact_total_bytes(pool) == 0);
    mp_compact_destroy(pool);
  }
}

static void errors(void) {
  mp_handle_t handle = {1, 1};
  CHECK(!mp_compact_new(1u << 20) && errno == EINVAL);
  mp_compact_t *pool = mp_compact_new(0);
  CHECK(mp_compact_alloc(pool, 0, 0, &handle) == -1 && errno == EINVAL && !handle.page && !handle.offset);
  errno = 0;
  CHECK(mp_compact_alloc(pool, SIZE_MAX, 0, &handle) == -1 && errno == EINVAL);
  errno = 0;
  CHECK(mp_compact_alloc(pool, 10, 2, &handle) == -1 && errno == EINVAL);
  errno = 0;
  CHECK(mp_compact_alloc(pool, 10, MP_COMPACT_NOGROW, &handle) == -1 && errno == ENOMEM);
  CHECK(mp_compact_free(pool, handle) == 0);
  errno = 0;
  CHECK(mp_compact_descriptor(pool) == -1 && errno == EINVAL);
  CHECK(!mp_compact_attach(0) && errno == EINVAL);
  mp_compact_destroy(pool);
  mp_compact_destroy(NULL);

  mp_compact_options_t options;
  memset(&options, 0, sizeof options);
  options.limit = 1 << 20;
  options.reserve_pages = MP_NONE;
  options.shards = 1;
  CHECK((pool = mp_compact_new_in(NULL, &options)) != NULL);
  int count = 0;
  while (mp_compact_alloc(pool, 4092, 0, &handle) == 0) count++;
  CHECK(errno == ENOMEM && count >= 250 && count <= 256 && mp_compact_total_bytes(pool) <= 1 << 20);
  CHECK(mp_compact_alloc(pool, 2 << 20, 0, &handle) == -1 && errno == EINVAL);
  mp_compact_destroy(pool);
  options.shards = 65;
  CHECK(!mp_compact_new_in(NULL, &options) && errno == EINVAL);
  // More than any size can be, also as a signed number.
  options.shards = 0;
  options.limit = SIZE_MAX;
  errno = 0;
  CHECK(!mp_compact_new_in(NULL, &options) && errno == EINVAL);
  options.limit = 0;
  options.window = SIZE_MAX;
  options.flags = MP_COMPACT_FILE;
  CHECK((pool = mp_compact_new_in(NULL, &options)) != NULL && mp_compact_alloc(pool, 100, 0, &handle) == 0);
  mp_compact_destroy(pool);

  mp_pool_t *memory = mp_pool_new(NULL);
  CHECK((pool = mp_compact_new_in(memory, NULL)) != NULL && mp_compact_alloc(pool, 100, 0, &handle) == 0);
  mp_compact_destroy(pool);
  mp_pool_destroy(memory);
}

// Another process attaches to the file, and gets handles through a pipe.
static void shared(void) {
  int ends[2], back[2];
  CHECK(pipe(ends) == 0 && pipe(back) == 0);
  mp_compact_t *pool = mp_compact_new(MP_COMPACT_FILE);
  int descriptor = mp_compact_descriptor(pool);
  CHECK(descriptor >= 0);
  pid_t child = fork();
  if (child == 0) {
    mp_compact_t *attached = mp_compact_attach(descriptor);
    mp_handle_t handle;
    int wrong = !attached || mp_compact_alloc(attached, 10, 0, &handle) != -1;
    for (int i = 0; !wrong && read(ends[0], &handle, sizeof handle) == (ssize_t)sizeof handle && handle.page; i++) {
      if (mp_compact_size(attached, handle) != sizeOf(i) || !holds(attached, handle, sizeOf(i), i)) wrong = 1;
      if (mp_compact_free(attached, handle) != -1 || errno != EINVAL) wrong = 1;
      fill(attached, handle, sizeOf(i), i + 1);
      if (write(back[1], &wrong, sizeof wrong) != sizeof wrong) wrong = 1;
    }
    mp_compact_destroy(attached);
    _exit(wrong);
  }
  for (int i = 0; i < objects; i++) {
    mp_handle_t handle;
    int answer = 1, status = mp_compact_alloc(pool, sizeOf(i), 0, &handle);
    CHECK(status == 0);
    fill(pool, handle, sizeOf(i), i);
    CHECK(write(ends[1], &handle, sizeof handle) == (ssize_t)sizeof handle);
    CHECK(read(back[0], &answer, sizeof answer) == (ssize_t)sizeof answer && answer == 0);
    CHECK(holds(pool, handle, sizeOf(i), i + 1));
    if (i % 3) CHECK(mp_compact_free(pool, handle) == 0);
  }
  mp_handle_t end = {0, 0};
  CHECK(write(ends[1], &end, sizeof end) == (ssize_t)sizeof end);
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  mp_compact_destroy(pool);
}

static mp_compact_t *common;
static void *churn(void *number) {
  mp_handle_t handles[100];
  unsigned seed = (unsigned)(uintptr_t)number;
  for (int round = 0; round < 200; round++) {
    for (int i = 0; i < 100; i++) {
      size_t size = 1 + (size_t)(rand_r(&seed) % 4092);
      CHECK(mp_compact_alloc(common, size, 0, &handles[i]) == 0);
      fill(common, handles[i], size, i);
    }
    for (int i = 0; i < 100; i++) {
      CHECK(holds(common, handles[i], mp_compact_size(common, handles[i]), i));
      CHECK(mp_compact_free(common, handles[i]) == 0);
    }
  }
  return NULL;
}

static void threads(unsigned flags) {
  pthread_t ids[8];
  common = mp_compact_new(flags);
  for (uintptr_t i = 0; i < 8; i++) CHECK(pthread_create(&ids[i], NULL, churn, (void *)i) == 0);
  for (int i = 0; i < 8; i++) pthread_join(ids[i], NULL);
  CHECK(mp_compact_total_bytes(common) == 0);
  mp_compact_destroy(common);
}

int main(void) {
  use(0, 4);
  use(MP_COMPACT_ALIGN8, 8);
  use(MP_COMPACT_ALIGN16, 16);
  use(MP_COMPACT_MOVABLE, 4);
  use(MP_COMPACT_FILE, 4);
  use(MP_COMPACT_FILE | MP_COMPACT_MOVABLE | MP_COMPACT_ALIGN16, 16);
  wrongHandles(0);
  wrongHandles(MP_COMPACT_MOVABLE);
  wrongHandles(MP_COMPACT_FILE);
  errors();
  shared();
  threads(0);
  threads(MP_COMPACT_MOVABLE);
  return 0;
}
