/* Pools of one's own: a thousand of them leave address space for others; and threads that use nothing else see their idle memory go
 * back to the system without a call, as a pool's purge delay says. */
#include <mempool.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { pools = 1000, threads = 2, objects = 25000, size = 1000 };

static void fail(const char *what) {
  fprintf(stderr, "pools: %s\n", what);
  exit(1);
}

static void many(void) {
  static mp_pool_t *made[pools];
  for (int i = 0; i < pools; i++)
    if (!(made[i] = mp_pool_new(NULL)) || !mp_pool_malloc(made[i], 100)) fail("no pool");
  void *space = mmap(NULL, (size_t)1 << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) fail("no address space is left");
  munmap(space, (size_t)1 << 40);
  for (int i = 0; i < pools; i++) mp_pool_destroy(made[i]);
}

static long resident(void) {
  long all = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2) fail("no /proc/self/statm");
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

static pthread_barrier_t full, empty, end;
static mp_pool_t *pool;

static void *burst(void *unused) {
  static __thread void *own[objects];
  for (int i = 0; i < objects; i++) memset(own[i] = mp_pool_malloc(pool, size), 1, size);
  pthread_barrier_wait(&full);
  for (int i = 0; i < objects; i++) mp_pool_free(pool, own[i]);
  pthread_barrier_wait(&empty);
  pthread_barrier_wait(&end);
  return unused;
}

static void idle(void) {
  mp_pool_options_t options;
  pthread_t ids[threads];
  memset(&options, 0, sizeof options);
  options.purge_delay_ms = 100;
  if (!(pool = mp_pool_new(&options))) fail("no pool");
  pthread_barrier_init(&full, NULL, threads + 1);
  pthread_barrier_init(&empty, NULL, threads + 1);
  pthread_barrier_init(&end, NULL, threads + 1);
  for (int i = 0; i < threads; i++)
    if (pthread_create(&ids[i], NULL, burst, NULL)) fail("no thread");
  pthread_barrier_wait(&full);
  long most = resident(), now = most;
  pthread_barrier_wait(&empty);
  for (int i = 0; i < 100 && (now = resident()) > most - threads * objects * size * 8L / 10; i++) usleep(100000);
  if (now > most - threads * objects * size * 8L / 10) fail("idle memory stayed");
  pthread_barrier_wait(&end);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  mp_pool_destroy(pool);
}

int main(void) {
  many();
  idle();
  return 0;
}
