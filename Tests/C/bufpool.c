/* Buffer pools and regions, as an embedded program uses them: a small file system that opens, lists and closes, in 4 KiB of stack, without
 * one call of the system's allocator; and what it does when memory runs out at each of its allocations in turn. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <mempool.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every way to memory that libc has, counted. */
static int systemCalls;
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);
void *malloc(size_t size) {
  systemCalls++;
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  systemCalls++;
  return __libc_calloc(count, size);
}
void *realloc(void *p, size_t size) {
  systemCalls++;
  return __libc_realloc(p, size);
}
void free(void *p) {
  if (p) systemCalls++;
  __libc_free(p);
}

#define FAILS(error, call) (errno = 0, (call) == NULL && errno == (error))
static volatile size_t huge = SIZE_MAX;

/* --- Memory with guard bytes around it */

enum { most = 4096, guard = 64 };
typedef struct {
  unsigned char before[guard], bytes[most], after[guard];
} Buffer;

static void arm(Buffer *buffer, size_t size) {
  memset(buffer, 0xa5, sizeof *buffer);
  memset(buffer->bytes, 0x5a, size);
}
static int intact(const Buffer *buffer, size_t size) {
  for (size_t i = 0; i < guard; i++)
    if (buffer->before[i] != 0xa5 || buffer->after[i] != 0xa5) return 0;
  for (size_t i = size; i < most; i++)
    if (buffer->bytes[i] != 0xa5) return 0;
  return 1;
}

/* --- A file system: nodes, chains of block numbers that grow by realloc, handles, and a listing */

enum { files = 12, blocksOfFile = 9, steps = 1 + files * (1 + blocksOfFile) + 1 + files };
typedef struct {
  char name[12];
  unsigned number, size;
  unsigned short *chain;
  unsigned chainLength;
} Node;
typedef struct {
  Node *nodes[files];
  char **names;
  unsigned nameCount;
} Disk;

/* Each step is an allocation. */
static int step;
static void *ask(mp_bufpool_t *pool, void *p, size_t size) {
  step++;
  return mp_bufpool_realloc(pool, p, size);
}

static int openDisk(mp_bufpool_t *pool, Disk **result) {
  Disk *disk = ask(pool, NULL, sizeof *disk);
  if (!disk) return 0;
  memset(disk, 0, sizeof *disk);
  *result = disk;
  for (unsigned i = 0; i < files; i++) {
    Node *node = ask(pool, NULL, sizeof *node);
    if (!node) return 0;
    memset(node, 0, sizeof *node);
    disk->nodes[i] = node;
    snprintf(node->name, sizeof node->name, "file%u", i);
    node->number = i;
    for (unsigned k = 0; k < blocksOfFile; k++) {
      unsigned short *longer = ask(pool, node->chain, (k + 1) * 4 * sizeof *longer);
      if (!longer) return 0;
      node->chain = longer;
      for (unsigned j = 0; j < 4; j++) longer[4 * k + j] = (unsigned short)(i * 100 + 4 * k + j);
      node->chainLength = 4 * (k + 1);
    }
  }
  return 1;
}

static int listDisk(mp_bufpool_t *pool, Disk *disk) {
  disk->names = ask(pool, NULL, files * sizeof *disk->names);
  if (!disk->names) return 0;
  for (unsigned i = 0; i < files; i++) {
    char *name = ask(pool, NULL, strlen(disk->nodes[i]->name) + 1);
    if (!name) return 0;
    disk->names[i] = strcpy(name, disk->nodes[i]->name);
    disk->nameCount = i + 1;
  }
  return 1;
}

/* Also of a disk that was opened or listed in part. 0 when something in it is not what was written. */
static int closeDisk(mp_bufpool_t *pool, Disk *disk) {
  int right = 1;
  if (!disk) return 1;
  for (unsigned i = 0; i < disk->nameCount; i++) {
    right = right && !strcmp(disk->names[i], disk->nodes[i]->name);
    right = right && !mp_bufpool_free(pool, disk->names[i]);
  }
  right = right && !mp_bufpool_free(pool, disk->names);
  for (unsigned i = 0; i < files && disk->nodes[i]; i++) {
    Node *node = disk->nodes[i];
    for (unsigned k = 0; k < node->chainLength; k++) right = right && node->chain[k] == i * 100 + k;
    right = right && !mp_bufpool_free(pool, node->chain) && !mp_bufpool_free(pool, node);
  }
  return right && !mp_bufpool_free(pool, disk);
}

/* What the workload came to in so much memory: the number of the allocation that failed, 0 when none did, -1 when there is no pool. */
static int work(size_t size, size_t blockSize) {
  Buffer buffer;
  mp_bufpool_stats_t stats;
  Disk *disk = NULL;
  arm(&buffer, size);
  int before = systemCalls;
  mp_bufpool_t *pool = mp_bufpool_init(buffer.bytes, size, blockSize, 0);
  if (!pool) {
    CHECK(intact(&buffer, size));
    return -1;
  }
  step = 0;
  errno = 0;
  int done = openDisk(pool, &disk) && listDisk(pool, disk), failed = done ? 0 : step;
  CHECK(done || errno == ENOMEM);
  CHECK(mp_bufpool_check(pool) == 0);
  CHECK(closeDisk(pool, disk));
  mp_bufpool_stats(pool, &stats);
  CHECK(stats.objects == 0 && stats.blocks_used == 0 && stats.fallbacks == 0);
  CHECK(stats.memory_size == size && stats.block_size == (blockSize ? blockSize : 8));
  CHECK(stats.overhead <= 208 + (stats.block_count + 3) / 4);
  CHECK(stats.overhead + stats.block_count * stats.block_size <= size);
  CHECK(systemCalls == before);
  CHECK(mp_bufpool_check(pool) == 0 && intact(&buffer, size));
  return failed;
}

static void workload(void) {
  CHECK(work(most, 16) == 0 && step == steps);
  CHECK(work(most, 0) == 0 && step == steps);
  /* Less and less memory, byte by byte: each allocation fails in its turn, from the last to the first, and everything that was
   * allocated before it is right, and freed. Every one of them needs memory that none before it needed. */
  size_t size = most;
  int last = steps + 1, failed;
  for (; (failed = work(size, 0)) != -1; size--) {
    if (!failed) continue;
    CHECK(failed == last || failed == last - 1);
    last = failed;
  }
  CHECK(last == 1 && size >= 176);
}

/* Every allocation of the workload fails in its turn, whatever room there is: the pool is the fallback of one that is full, and counts. */
static int allowed;
static void *upTo(void *pool, void *p, size_t size) {
  if (size && allowed-- <= 0) return NULL;
  return mp_bufpool_realloc(pool, p, size);
}
static void eachInTurn(void) {
  for (int i = 0; i <= steps; i++) {
    Buffer tiny;
    static Buffer large[3];
    mp_bufpool_stats_t stats;
    Disk *disk = NULL;
    arm(&tiny, 220);
    mp_bufpool_t *below = mp_bufpool_init(large, sizeof large, 16, 0), *pool = mp_bufpool_init(tiny.bytes, 220, 8, 0);
    mp_allocator_t counted = {upTo, below};
    CHECK(below && pool);
    while (mp_bufpool_alloc(pool, 1)) continue;
    CHECK(mp_bufpool_set_fallback(pool, &counted) == 0);
    step = 0;
    allowed = i;
    int done = openDisk(pool, &disk) && listDisk(pool, disk);
    CHECK(done ? i == steps : step == i + 1);
    CHECK(closeDisk(pool, disk));
    mp_bufpool_stats(pool, &stats);
    CHECK(stats.blocks_used == stats.block_count && (stats.fallbacks > 0) == (i > 0));
    CHECK(mp_bufpool_check(pool) == 0 && mp_bufpool_check(below) == 0);
    mp_bufpool_stats(below, &stats);
    CHECK(stats.objects == 0);
    CHECK(intact(&tiny, 220));
  }
}

/* The original's: a pool of 1200 bytes and blocks of 256, and a file that is to be a megabyte long. */
static void truncateToAMegabyte(void) {
  Buffer buffer;
  arm(&buffer, 1200);
  mp_bufpool_t *pool = mp_bufpool_init(buffer.bytes, 1200, 256, 0);
  mp_bufpool_stats_t stats;
  char *chain = NULL, *longer;
  size_t length = 0;
  errno = 0;
  while ((longer = mp_bufpool_realloc(pool, chain, length + 6))) {
    chain = longer;
    memset(chain + length, 1, 6);
    length += 6;
    if (length > 1000000) break;
  }
  CHECK(!longer && errno == ENOMEM && length >= 3 * 256 - 6);
  for (size_t i = 0; i < length; i++) CHECK(chain[i] == 1);
  CHECK(mp_bufpool_free(pool, chain) == 0);
  mp_bufpool_stats(pool, &stats);
  CHECK(stats.blocks_used == 0 && intact(&buffer, 1200));
}

/* Random calls: of two live objects none lies over the other, and what was written to one is there as long as it lives. */
static void shadow(void) {
  enum { most_live = 40 };
  Buffer buffer;
  struct {
    unsigned char *start;
    size_t size;
    unsigned char tag;
  } live[most_live];
  int count = 0;
  unsigned seed = 1;
  arm(&buffer, 1500);
  mp_bufpool_t *pool = mp_bufpool_init(buffer.bytes, 1500, 8, 0);
  for (int round = 0; round < 100000; round++) {
    size_t size = 1 + (size_t)(rand_r(&seed) % 60);
    int at = count ? rand_r(&seed) % count : 0, what = rand_r(&seed) % 3;
    if (count && (what == 0 || count == most_live)) {
      CHECK(mp_bufpool_free(pool, live[at].start) == 0);
      live[at] = live[--count];
      continue;
    }
    if (!count || what == 1) at = count;
    size_t alignment = (size_t)1 << rand_r(&seed) % 8;
    unsigned char *p = at == count ? mp_bufpool_memalign(pool, alignment, size) : mp_bufpool_realloc(pool, live[at].start, size);
    if (!p) continue;
    CHECK(at != count || (uintptr_t)p % alignment == 0);
    if (at == count) {
      count++;
    } else {
      for (size_t i = 0; i < size && i < live[at].size; i++) CHECK(p[i] == live[at].tag);
    }
    live[at].start = p, live[at].size = size, live[at].tag = (unsigned char)round;
    memset(p, live[at].tag, size);
    for (int k = 0; k < count; k++)
      for (size_t i = 0; i < live[k].size; i += live[k].size > 1 ? live[k].size - 1 : 1) CHECK(live[k].start[i] == live[k].tag);
  }
  CHECK(mp_bufpool_check(pool) == 0 && intact(&buffer, 1500));
}

/* --- Each function */

static void arguments(void) {
  static Buffer buffer;
  CHECK(FAILS(EINVAL, mp_bufpool_init(NULL, 4096, 8, 0)));
  CHECK(FAILS(EINVAL, mp_bufpool_init(&buffer, 100, 8, 0)));
  CHECK(FAILS(EINVAL, mp_bufpool_init(&buffer, 4096, 8, 2)));
  CHECK(FAILS(EINVAL, mp_bufpool_init(&buffer, 4096, 4096, 0)));
  CHECK(FAILS(EINVAL, mp_bufpool_init(&buffer, huge, 8, 0)));
  CHECK(mp_bufpool_memory(huge, 8) == 0 && mp_bufpool_memory(0, 8) == 0 && mp_bufpool_memory(10, 0) == mp_bufpool_memory(10, 8));
  mp_bufpool_t *pool = mp_bufpool_init(&buffer, mp_bufpool_memory(100, 16), 16, 0);
  mp_bufpool_stats_t stats;
  mp_bufpool_stats(pool, &stats);
  CHECK(stats.block_count >= 100);
  char *p = mp_bufpool_alloc(pool, 100), *q = mp_bufpool_calloc(pool, 5, 5);
  CHECK(p && (uintptr_t)p % 16 == 0 && mp_bufpool_get_size(pool, p) == 112 && mp_bufpool_get_size(pool, NULL) == 0);
  for (int i = 0; i < 25; i++) CHECK(q[i] == 0);
  CHECK(FAILS(ENOMEM, mp_bufpool_alloc(pool, huge)));
  CHECK(FAILS(ENOMEM, mp_bufpool_calloc(pool, huge, 2)));
  CHECK(FAILS(ENOMEM, mp_bufpool_alloc(pool, 1601)));
  CHECK(FAILS(EINVAL, mp_bufpool_memalign(pool, 24, 1)));
  void *aligned = mp_bufpool_memalign(pool, 128, 1);
  CHECK(aligned && (uintptr_t)aligned % 128 == 0);
  CHECK(FAILS(EINVAL, mp_bufpool_realloc(pool, p + 16, 8)));
  CHECK(FAILS(EINVAL, mp_bufpool_realloc(pool, &stats, 8)));
  CHECK((errno = 0, mp_bufpool_free(pool, p + 1)) == -1 && errno == EINVAL);
  CHECK((errno = 0, mp_bufpool_get_size(pool, p + 1)) == 0 && errno == EINVAL);
  errno = 77;
  CHECK(mp_bufpool_realloc(pool, q, 0) == NULL && errno == 77);
  CHECK(mp_bufpool_free(pool, NULL) == 0 && mp_bufpool_free(pool, p) == 0 && errno == 77);
  CHECK(mp_bufpool_free(pool, p) == -1 && errno == EINVAL);
  CHECK(mp_bufpool_owns(pool, p) && !mp_bufpool_owns(pool, &stats) && !mp_bufpool_owns(pool, NULL));
  CHECK(mp_bufpool_realloc(pool, NULL, 10) != NULL);
  mp_bufpool_drain(pool);
  mp_bufpool_stats(pool, &stats);
  CHECK(stats.objects == 0 && stats.blocks_used == 0);
  int ends[2];
  char text[4096];
  CHECK(pipe(ends) == 0 && mp_bufpool_print(pool, ends[1]) == 0);
  ssize_t count = read(ends[0], text, sizeof text - 1);
  text[count > 0 ? count : 0] = 0;
  CHECK(strstr(text, "block size") && strstr(text, "\n......"));
  CHECK(mp_bufpool_print(pool, -1) == -1);
  close(ends[0]);
  close(ends[1]);
}

static void fallbacks(void) {
  static Buffer buffer, other;
  mp_bufpool_stats_t stats;
  mp_bufpool_t *pool = mp_bufpool_init(&buffer, 1000, 16, MP_BUFPOOL_FALLBACK);
  mp_allocator_t region = mp_region_allocator(mp_region_init(&other, sizeof other)), self = mp_bufpool_allocator(pool);
  int before = systemCalls;
  char *p = mp_bufpool_alloc(pool, 100);
  CHECK(p && systemCalls == before);
  char *q = mp_bufpool_realloc(pool, p, 10000);
  CHECK(q && !mp_bufpool_owns(pool, q) && systemCalls == before + 1 && (uintptr_t)q % 16 == 0);
  mp_bufpool_stats(pool, &stats);
  CHECK(stats.fallbacks == 1 && stats.objects == 0);
  CHECK((errno = 0, mp_bufpool_set_fallback(pool, &region)) == -1 && errno == EBUSY);
  CHECK((errno = 0, mp_bufpool_free(pool, p)) == -1 && errno == EINVAL);
  CHECK(mp_bufpool_free(pool, q) == 0);
  CHECK((errno = 0, mp_bufpool_free(pool, q)) == -1 && errno == EINVAL);
  CHECK((errno = 0, mp_bufpool_set_fallback(pool, &self)) == -1 && errno == EINVAL);
  CHECK(mp_bufpool_set_fallback(pool, &region) == 0);
  before = systemCalls;
  q = mp_bufpool_alloc(pool, 2000);
  CHECK(q > (char *)&other && q < (char *)(&other + 1) && systemCalls == before);
  CHECK(FAILS(ENOMEM, mp_bufpool_alloc(pool, 3000)));
  mp_bufpool_drain(pool);
  mp_allocator_t shared = mp_pool_allocator(NULL), system = mp_system_allocator();
  CHECK(mp_bufpool_set_fallback(pool, &shared) == 0 && (q = mp_bufpool_alloc(pool, 50000)) && mp_bufpool_free(pool, q) == 0);
  CHECK(mp_bufpool_set_fallback(pool, &system) == 0 && (q = mp_bufpool_alloc(pool, 50000)) && mp_bufpool_free(pool, q) == 0);
  CHECK(mp_bufpool_set_fallback(pool, NULL) == 0 && FAILS(ENOMEM, mp_bufpool_alloc(pool, 50000)));
  p = self.resize(self.state, NULL, 10);
  CHECK(mp_bufpool_owns(pool, p) && (p = self.resize(self.state, p, 20)) && self.resize(self.state, p, 0) == NULL);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int refuse;
static int lock(void *m) { return refuse ? 1 : pthread_mutex_lock(m); }
static void unlock(void *m) { pthread_mutex_unlock(m); }

static mp_bufpool_t *lockedPool;
static void *churn(void *unused) {
  char *own[16] = {0};
  for (unsigned i = 0; i < 50000; i++) {
    unsigned k = (i * 7) % 16;
    if (own[k]) {
      for (unsigned j = 1; j < 1 + k; j++)
        if (own[k][j] != own[k][0]) return &mutex;
      if (mp_bufpool_free(lockedPool, own[k])) return &mutex;
    }
    if ((own[k] = mp_bufpool_alloc(lockedPool, 1 + k))) memset(own[k], (int)(i % 100), 1 + k);
  }
  for (int k = 0; k < 16; k++) mp_bufpool_free(lockedPool, own[k]);
  return unused;
}

static void locks(void) {
  static Buffer buffer;
  mp_bufpool_stats_t stats;
  pthread_t threads[4];
  lockedPool = mp_bufpool_init(&buffer, 1000, 8, 0);
  mp_bufpool_set_lock(lockedPool, lock, unlock, &mutex);
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, churn, NULL) == 0);
  for (int i = 0; i < 4; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    CHECK(wrong == NULL);
  }
  mp_bufpool_stats(lockedPool, &stats);
  CHECK(stats.objects == 0 && mp_bufpool_check(lockedPool) == 0);
  void *p = mp_bufpool_alloc(lockedPool, 10);
  refuse = 1;
  CHECK(FAILS(EBUSY, mp_bufpool_alloc(lockedPool, 10)));
  CHECK(FAILS(EBUSY, mp_bufpool_realloc(lockedPool, p, 100)));
  CHECK((errno = 0, mp_bufpool_free(lockedPool, p)) == -1 && errno == EBUSY);
  CHECK((errno = 0, mp_bufpool_drain(lockedPool), errno) == EBUSY);
  CHECK((errno = 0, mp_bufpool_stats(lockedPool, &stats), errno) == EBUSY && stats.block_count == 0);
  CHECK(mp_bufpool_print(lockedPool, 1) == -1);
  refuse = 0;
  mp_bufpool_set_lock(lockedPool, NULL, NULL, NULL);
  CHECK(mp_bufpool_free(lockedPool, p) == 0);
}

static void regions(void) {
  Buffer buffer;
  arm(&buffer, 1000);
  CHECK(FAILS(EINVAL, mp_region_init(NULL, 1000)));
  CHECK(FAILS(EINVAL, mp_region_init(buffer.bytes, 40)));
  mp_region_t *region = mp_region_init(buffer.bytes, 1000);
  size_t capacity = mp_region_capacity(region);
  CHECK(region && capacity >= 1000 - 63 && mp_region_mark(region) == 0);
  char *p = mp_region_memalign(region, 1, 5), *q = mp_region_memalign(region, 1, 5), *r = mp_region_alloc(region, 20);
  CHECK(p && q == p + 5 && (uintptr_t)r % 16 == 0 && mp_region_owns(region, q) && !mp_region_owns(region, r + 20));
  size_t mark = mp_region_mark(region);
  CHECK(FAILS(EINVAL, mp_region_memalign(region, 3, 1)));
  CHECK(FAILS(ENOMEM, mp_region_alloc(region, capacity)));
  CHECK(FAILS(ENOMEM, mp_region_alloc(region, huge)));
  CHECK(FAILS(ENOMEM, mp_region_calloc(region, huge, 2)));
  q = mp_region_memalign(region, 1, capacity - mark);
  CHECK(q != NULL);
  memset(q, 1, capacity - mark);
  CHECK(intact(&buffer, 1000) && mp_region_mark(region) == capacity);
  CHECK(mp_region_reset(region, mark) == 0 && mp_region_peak(region) == capacity);
  CHECK((errno = 0, mp_region_reset(region, mark + 1)) == -1 && errno == EINVAL);
  q = mp_region_calloc(region, 10, 10);
  for (int i = 0; i < 100; i++) CHECK(q[i] == 0);
  CHECK(mp_region_reset(region, 0) == 0 && mp_region_mark(region) == 0);
}

static void books(void) {
  static Buffer buffer;
  mp_bufpool_t *pool = mp_bufpool_init(&buffer, sizeof buffer, 16, 0);
  mp_allocator_t pages = mp_bufpool_allocator(pool);
  mp_bufpool_stats_t stats;
  mp_book_t book;
  char *pieces[5], *again;
  CHECK((errno = 0, mp_book_init(&book, 0, 4, NULL)) == -1 && errno == EINVAL);
  CHECK((errno = 0, mp_book_init(&book, huge, 4, NULL)) == -1 && errno == EINVAL);
  CHECK(mp_book_init(&book, 64, 4, &pages) == 0 && mp_book_pages(&book) == 0);
  for (int i = 0; i < 5; i++) CHECK((pieces[i] = mp_book_alloc(&book)) != NULL);
  CHECK(mp_book_pages(&book) == 2 && mp_book_pieces(&book) == 5);
  for (int i = 0; i < 3; i++) CHECK(mp_book_free(&book, pieces[i]) == 0);
  CHECK((again = mp_book_alloc(&book)) != NULL && mp_book_owns(&book, again) && !mp_book_owns(&book, &book));
  CHECK((errno = 0, mp_book_free(&book, again + 1)) == -1 && errno == EINVAL);
  CHECK((errno = 0, mp_book_free(&book, &book)) == -1 && errno == EINVAL);
  CHECK(mp_book_free(&book, NULL) == 0);
  CHECK(mp_book_add_page(&book) == 0 && mp_book_pages(&book) == 3 && mp_book_vacuum(&book) == 1);
  CHECK(mp_book_vacuum_auto(&book, 1) == 0 && mp_book_vacuum_auto(&book, 0) == 1 && mp_book_vacuum_auto(&book, 1) == 0);
  while (mp_book_alloc(&book)) continue;
  CHECK(errno == ENOMEM && (errno = 0, mp_book_add_page(&book)) == -1 && errno == ENOMEM);
  mp_book_close(&book);
  mp_bufpool_stats(pool, &stats);
  CHECK(stats.objects == 0 && mp_book_pages(&book) == 0 && mp_book_pieces(&book) == 0);
  CHECK(mp_book_init(&book, 6, 100, NULL) == 0 && mp_book_alloc(&book) != NULL);
  mp_book_close(&book);
}

int main(void) {
  workload();
  books();
  eachInTurn();
  truncateToAMegabyte();
  shadow();
  arguments();
  fallbacks();
  locks();
  regions();
  return failures != 0;
}
