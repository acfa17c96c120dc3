// Every function of mempool.h does what its comment says. What aborts is in Tests/CrashTests.
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

// The compiler must not see how large these are.
static volatile size_t huge = SIZE_MAX, half = (size_t)PTRDIFF_MAX + 1;

static void sharedPool(void) {
  CHECK(mempool_init() == 0);
  CHECK(mempool_init() == 0);
  for (size_t size = 0; size < 3000000; size += 1 + size / 5) {
    char *p = mp_malloc(size);
    CHECK(p && (uintptr_t)p % (size < 16 ? 8 : 16) == 0 && mp_get_size(p) >= size);
    memset(p, 7, size);
    char *zero = mp_calloc(size, 1);
    size_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += (size_t)zero[i];
    CHECK(sum == 0);
    p = mp_realloc(p, size * 2);
    for (size_t i = 0; i < size; i++) sum += p[i] != 7;
    CHECK(sum == 0);
    p = mp_realloc(p, size / 3);
    for (size_t i = 0; i < size / 3; i++) sum += p[i] != 7;
    CHECK(sum == 0);
    mp_free(p);
    mp_free(zero);
  }
  void *first = mp_malloc(0), *second = mp_malloc(0);
  CHECK(first && second && first != second);
  CHECK((first = mp_realloc(first, 0)) != NULL && first != second);
  mp_free(first);
  mp_free(second);
  void *p = mp_realloc(NULL, 100);
  CHECK(p != NULL);
  mp_free(p);
  for (size_t alignment = 1; alignment <= 1 << 22; alignment *= 2) {
    CHECK((p = mp_memalign(alignment, 100)) != NULL && (uintptr_t)p % alignment == 0);
    mp_free(p);
  }
  CHECK(FAILS(ENOMEM, mp_try_malloc(huge)));
  CHECK(FAILS(ENOMEM, mp_try_malloc(half)));
  CHECK((p = mp_try_malloc(10)) != NULL);
  errno = 77;
  mp_free(p);
  mp_free(NULL);
  CHECK(errno == 77);
  CHECK(mp_get_size(NULL) == 0);
}

static void floors(void) {
  short kinds[] = {FRAG_COMMON, FRAG_SLAB, FRAG_HEAP};
  char *runs[300];
  for (int i = 0; i < 300; i++) {
    size_t size = (size_t)i * (size_t)i * 20 + 1;
    runs[i] = mp_frag_alloc(size, kinds[i % 3]);
    CHECK(runs[i] && (uintptr_t)runs[i] % 256 == 0 && mp_get_size(runs[i]) >= size && mp_get_size(runs[i]) < size + 256 + size / 8);
    memset(runs[i], i, size);
  }
  for (int i = 0; i < 300; i++) {
    size_t size = (size_t)i * (size_t)i * 20 + 1;
    CHECK(runs[i][0] == (char)i && runs[i][size - 1] == (char)i);
    if (i % 2) mp_frag_free(runs[i]);
    else mp_free(runs[i]);
  }
  mp_frag_free(NULL);
  CHECK(FAILS(EINVAL, mp_frag_alloc(0, FRAG_COMMON)));
  CHECK(FAILS(EINVAL, mp_frag_alloc(100, 9)));
  CHECK(FAILS(ENOMEM, mp_frag_alloc(huge, FRAG_COMMON)));
  for (size_t size = half; size > (size_t)1 << 50; size /= 2) CHECK(FAILS(ENOMEM, mp_frag_alloc(size - 1, FRAG_COMMON)));
  for (size_t size = 0; size <= MP_HEAP_MAX; size += 5) {
    char *p = mp_heap_alloc(size);
    CHECK(p && mp_get_size(p) >= size);
    memset(p, 1, size);
    if (size % 2) mp_heap_free(p);
    else mp_free(p);
  }
  mp_heap_free(NULL);
  CHECK(FAILS(EINVAL, mp_heap_alloc(MP_HEAP_MAX + 1)));
}

struct item {
  double number;
  char text[52];
};

static mp_cache_t sharedCache;

static void *cacheChurn(void *unused) {
  (void)unused;
  struct item *items[300];
  for (int round = 0; round < 100; round++) {
    for (int i = 0; i < 300; i++) {
      items[i] = mp_cache_alloc(&sharedCache);
      memset(items[i], i, sizeof(struct item));
    }
    for (int i = 0; i < 300; i++) {
      CHECK(items[i]->text[0] == (char)i && items[i]->text[51] == (char)i);
      mp_cache_free(&sharedCache, items[i]);
    }
  }
  return mp_cache_alloc(&sharedCache);
}

static void caches(void) {
  mp_cache_init(&sharedCache, struct item);
  struct item *item = mp_cache_alloc(&sharedCache);
  CHECK((uintptr_t)item % sizeof(double) == 0);
  mp_cache_free(&sharedCache, item);
  mp_cache_free(&sharedCache, NULL);
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, cacheChurn, NULL) == 0);
  for (int i = 0; i < 8; i++) {
    void *left = NULL;
    pthread_join(threads[i], &left);
    mp_cache_free(&sharedCache, left);
  }
  mp_cache_destroy(&sharedCache);

  // Made again at the same address, for each size; arrays, which go back together.
  for (size_t size = 1; size <= 5000; size = size * 3 / 2 + 1) {
    mp_cache_init_impl(&sharedCache, "a name of more than the thirty-one bytes that are kept", size);
    for (unsigned count = 1; count <= 200; count = count * 2 + 1) {
      char *arrays[10];
      int taken = 0;
      errno = 0;
      while (taken < 10 && (arrays[taken] = mp_cache_alloc_array(&sharedCache, count)) != NULL) {
        memset(arrays[taken], taken, size * count);
        taken++;
      }
      CHECK(taken == 10 || (taken == 0 && errno == EINVAL && count > 1));
      for (int i = 0; i < taken; i++) {
        CHECK(arrays[i][0] == i && arrays[i][size * count - 1] == i);
        mp_cache_free_array(&sharedCache, arrays[i], count);
      }
    }
    CHECK(FAILS(EINVAL, mp_cache_alloc_array(&sharedCache, 0)));
    CHECK(FAILS(EINVAL, mp_cache_alloc_array(&sharedCache, 4000000000u)));
    mp_cache_destroy(&sharedCache);
  }
}

static void bitmaps(void) {
  atomic_t cells[4] = {0};
  CHECK(mp_bitmap_cell_alloc(cells, 3, MP_BITMAP_BITS) == 0);
  CHECK(mp_bitmap_cell_alloc(cells, 62, 64) == -1);
  CHECK(mp_bitmap_cell_alloc(cells, 61, 64) == 3 && cells[0] == ~(atomic_t)0);
  CHECK(mp_bitmap_alloc(cells, 250, 64) == 64);
  CHECK(mp_bitmap_alloc(cells, 250, 58) == 128 && mp_bitmap_alloc(cells, 250, 58) == 192);
  CHECK(mp_bitmap_alloc(cells, 250, 7) == -1 && mp_bitmap_alloc(cells, 250, 6) == 186);
  CHECK(mp_bitmap_alloc(cells, 250, 1) == -1);
  mp_bitmap_free(cells, 64, 0);
  mp_bitmap_free(cells, 64, 64);
  CHECK(mp_bitmap_alloc_cells(cells, 250, 2) == 0 && mp_bitmap_alloc_cells(cells, 250, 1) == -1);
  mp_bitmap_free_cells(cells, 128, 0);
  CHECK(cells[0] == 0 && cells[1] == 0);
}

static void fill(mp_pool_t *pool, size_t size, size_t limit) {
  void **chain = NULL;
  size_t count = 0;
  for (void **p; count < limit && (p = mp_pool_malloc(pool, size)) != NULL; count++) {
    memset(p, 3, size);
    *p = chain;
    chain = p;
  }
  CHECK(count > 0);
  while (chain) {
    void **next = *chain;
    mp_pool_free(pool, chain);
    chain = next;
  }
}

static void pools(void) {
  mp_pool_options_t options = {0};
  static char buffer[4 << 20];
  for (int kind = 0; kind < 5; kind++) {
    memset(&options, 0, sizeof options);
    if (kind == 1) options.size = 64 << 20;
    if (kind == 2) options.backing = MP_BACKING_FIXED, options.size = 16 << 20, options.flags = MP_POOL_PREFAULT;
    if (kind == 3) options.backing = MP_BACKING_BUFFER, options.start = buffer, options.size = sizeof buffer;
    if (kind == 4) options.backing = MP_BACKING_PASS_THROUGH;
    mp_pool_t *pool = mp_pool_new(kind == 0 ? NULL : &options);
    CHECK(pool != NULL);
    if (!pool) continue;
    char *p = mp_pool_malloc(pool, 100);
    CHECK(p && mp_pool_get_size(pool, p) >= 100);
    memset(p, 5, 100);
    CHECK((p = mp_pool_realloc(pool, p, 20000)) != NULL && p[99] == 5);
    char *q = mp_pool_calloc(pool, 10, 100);
    CHECK(q && q[0] == 0 && q[999] == 0);
    char *r = mp_pool_memalign(pool, 4096, 10);
    CHECK(r && (uintptr_t)r % 4096 == 0);
    CHECK(FAILS(EINVAL, mp_pool_memalign(pool, 24, 10)));
    CHECK(FAILS(ENOMEM, mp_pool_calloc(pool, huge, 2)));
    CHECK(FAILS(ENOMEM, mp_pool_malloc(pool, huge)));
    CHECK(FAILS(ENOMEM, mp_pool_realloc(pool, q, half)));
    mp_pool_free(pool, p);
    mp_pool_free(pool, q);
    mp_pool_free(pool, r);
    mp_pool_free(pool, NULL);
    fill(pool, 1000, 100000);
    fill(pool, 10000, 10000);
    mp_pool_purge(pool);
    fill(pool, 1000, 100000);
    mp_pool_destroy(pool);
  }
  options = (mp_pool_options_t){.backing = MP_BACKING_FIXED};
  CHECK(FAILS(EINVAL, mp_pool_new(&options)));
  options = (mp_pool_options_t){.backing = MP_BACKING_BUFFER, .size = 100};
  CHECK(FAILS(EINVAL, mp_pool_new(&options)));
  options = (mp_pool_options_t){.backing = (mp_backing_t)17};
  CHECK(FAILS(EINVAL, mp_pool_new(&options)));
  options = (mp_pool_options_t){.flags = 1u << 31};
  CHECK(FAILS(EINVAL, mp_pool_new(&options)));
  options = (mp_pool_options_t){.backing = MP_BACKING_FIXED, .size = half - 1};
  CHECK(FAILS(ENOMEM, mp_pool_new(&options)));

  // Full and falling back: every object is served and can be freed.
  options = (mp_pool_options_t){.backing = MP_BACKING_FIXED, .size = 4 << 20, .exhaustion = MP_EXHAUSTION_SYSTEM,
                                .max_retries = MP_NONE};
  mp_pool_t *pool = mp_pool_new(&options);
  CHECK(pool != NULL);
  void *objects[2000];
  for (int i = 0; i < 2000; i++) CHECK((objects[i] = mp_pool_malloc(pool, 5000)) != NULL);
  mp_stats_t stats;
  mp_pool_stats_read(pool, &stats);
  CHECK(stats.fallback_count > 0 && stats.fallback_live_count == stats.fallback_count);
  for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
    void *p = mp_pool_memalign(pool, alignment, 5000);
    CHECK(p && (uintptr_t)p % alignment == 0);
    mp_pool_free(pool, p);
  }
  for (int i = 0; i < 2000; i++) mp_pool_free(pool, objects[i]);
  mp_pool_stats_read(pool, &stats);
  CHECK(stats.fallback_live_count == 0);
  mp_pool_destroy(pool);
  mp_pool_destroy(NULL);
}

static void statistics(void) {
  mp_stats_t before, after;
  mp_stats_read(&before);
  void *p = mp_malloc(10 << 20);
  mp_stats_read(&after);
  CHECK(after.allocated_bytes >= before.allocated_bytes + (10 << 20));
  CHECK(after.requested_bytes >= before.requested_bytes + (10 << 20));
  CHECK(after.heap_count >= after.owned_heap_count && after.owned_heap_count >= 1);
  mp_free(p);

  char text[16384];
  for (int json = 0; json < 2; json++) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(mp_stats_print(ends[1], json) == 0);
    ssize_t count = read(ends[0], text, sizeof text - 1);
    CHECK(count > 0);
    text[count > 0 ? count : 0] = 0;
    CHECK(strstr(text, "allocated_bytes") != NULL && (text[0] == '{') == json);
    close(ends[0]);
    close(ends[1]);
  }
  CHECK(mp_stats_print(-1, 0) == -1);
}

struct three {
  char bytes[3];
};

static mp_cache_t early;

static void cachesBesideEachOther(void) {
  mp_cache_t odd, words;
  memset(&odd, 0xa5, sizeof odd);
  mp_cache_init(&odd, struct three);
  mp_cache_init(&words, uint64_t);
  char *items[10000];
  for (int i = 0; i < 10000; i++) CHECK((items[i] = memset(mp_cache_alloc(&odd), i, 3)) != NULL);
  uint64_t *word = mp_cache_alloc(&words);
  CHECK((uintptr_t)word % 8 == 0);
  size_t wrong = 0;
  for (int i = 0; i < 10000; i++) wrong += items[i][0] != (char)i || items[i][1] != (char)i || items[i][2] != (char)i;
  CHECK(wrong == 0);
  errno = 77;
  for (int i = 0; i < 10000; i++) mp_cache_free(&odd, items[i]);
  mp_cache_free(&odd, NULL);
  mp_cache_free_array(&odd, NULL, 5);
  mp_cache_free(&words, word);
  CHECK(errno == 77);
  mp_cache_destroy(&odd);

  CHECK(FAILS(EINVAL, mp_cache_alloc_array(&words, 0)));
  CHECK(FAILS(EINVAL, mp_cache_alloc_array(&words, UINT32_MAX)));
  CHECK(FAILS(EINVAL, mp_cache_alloc_array(&words, 16384 / 8 + 1)));
  for (unsigned count = 1; count <= 16384 / 8; count += 1 + count / 3) {
    uint64_t *array = mp_cache_alloc_array(&words, count);
    CHECK(array != NULL);
    memset(array, 1, count * sizeof *array);
    mp_cache_free_array(&words, array, count);
  }
  mp_cache_destroy(&words);
  mp_cache_destroy(&early);
}

static atomic_t forkIsOver;

static void *cacheLoad(void *cache) {
  void *items[200];
  while (!__atomic_load_n(&forkIsOver, __ATOMIC_RELAXED)) {
    for (int i = 0; i < 200; i++) items[i] = memset(mp_cache_alloc(cache), i, 40);
    for (int i = 0; i < 200; i++) mp_cache_free(cache, items[i]);
    void *array = mp_cache_alloc_array(cache, 100);
    mp_cache_free_array(cache, array, 100);
  }
  return NULL;
}

// What the other threads lease, or are about to take, does not matter to the child: it finds room, and nobody else's items.
static void cacheAndFork(void) {
  mp_cache_t cache;
  pthread_t threads[4];
  mp_cache_init_impl(&cache, "forked", 40);
  char *kept = memset(mp_cache_alloc(&cache), 77, 40);
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, cacheLoad, &cache) == 0);
  for (int round = 0; round < 100; round++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(30);
      char *items[1000];
      size_t wrong = 0;
      for (int i = 0; i < 1000; i++) items[i] = memset(mp_cache_alloc(&cache), i, 40);
      for (int i = 0; i < 1000; i++) wrong += items[i][0] != (char)i || items[i][39] != (char)i;
      for (int i = 0; i < 1000; i++) mp_cache_free(&cache, items[i]);
      wrong += kept[0] != 77 || kept[39] != 77;
      mp_cache_free(&cache, kept);
      void *array = mp_cache_alloc_array(&cache, 400);
      mp_cache_free_array(&cache, array, 400);
      _exit(wrong != 0);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  }
  __atomic_store_n(&forkIsOver, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK(kept[0] == 77);
  mp_cache_free(&cache, kept);
  mp_cache_destroy(&cache);
}

static void __attribute__((constructor)) beforeMain(void) {
  mp_cache_init_impl(&early, "a name that is much longer than what is kept of it", 5000);
  void *item = mp_cache_alloc(&early);
  CHECK((uintptr_t)item % 8 == 0);
  mp_cache_free(&early, item);
}

static void *freeOne(void *p) {
  mp_free(p);
  return mp_malloc(100);
}

static void threadsAndFork(void) {
  for (int i = 0; i < 200; i++) {
    pthread_t thread;
    void *result = NULL;
    CHECK(pthread_create(&thread, NULL, freeOne, mp_malloc((size_t)i * 50)) == 0);
    pthread_join(thread, &result);
    mp_free(result);
  }
  char *p = mp_malloc(100);
  strcpy(p, "from the parent");
  pid_t child = fork();
  if (child == 0) {
    int wrong = strcmp(p, "from the parent");
    mp_free(p);
    mp_free(mp_malloc(1000));
    _exit(wrong ? 1 : 0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  mp_free(p);
}

int main(void) {
  sharedPool();
  floors();
  caches();
  cachesBesideEachOther();
  cacheAndFork();
  bitmaps();
  pools();
  statistics();
  threadsAndFork();
  mempool_fini();
  mp_free(mp_malloc(1000));
  mempool_fini();
  return failures != 0;
}
