// background: the system has no thread for what gives idle pages back. Nobody who allocates notices; those who release pages give them back
// themselves, and the process does not ask again.
//
// Compiled with DROP_IN it is about the malloc of the process.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEMAND(condition) \
  ((condition) ? (void)0 : (void)(fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), _exit(99)))

#ifdef DROP_IN
static void *allocate(size_t size) { return malloc(size); }
static void release(void *p) { free(p); }
#else
#include <mempool.h>
static void *allocate(size_t size) { return mp_malloc(size); }
static void release(void *p) { mp_free(p); }
#endif

enum { blockCount = 512, blockSize = 128 << 10 };

static _Thread_local int isAllocating;
static int refusals;

// The allocator's call comes here, too: the program is linked with -rdynamic.
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  if (isAllocating) {
    refusals++;
    return EAGAIN;
  }
  int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
      (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
  return create(thread, attributes, body, argument);
}

static long residentPages(void) {
  long total, resident;
  FILE *file = fopen("/proc/self/statm", "r");
  DEMAND(file && fscanf(file, "%ld %ld", &total, &resident) == 2);
  fclose(file);
  return resident;
}

static void *burst(void *unused) {
  static char *blocks[blockCount];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < blockCount; i++) {
      isAllocating = 1;
      errno = 7;
      blocks[i] = allocate(blockSize);
      DEMAND(errno == 7 && blocks[i]);
      isAllocating = 0;
      memset(blocks[i], i, blockSize);
    }
    for (int i = 0; i < blockCount; i++) {
      DEMAND(blocks[i][0] == (char)i && blocks[i][blockSize - 1] == (char)i);
      release(blocks[i]);
    }
  }
  return unused;
}

int main(void) {
  release(allocate(1));
  long before = residentPages(), most = blockCount * (long)blockSize / sysconf(_SC_PAGESIZE), after = 0;
  pthread_t thread;
  DEMAND(!pthread_create(&thread, NULL, burst, NULL) && !pthread_join(thread, NULL));
  // Who releases pages next sees that the others have been idle for long; a thread keeps a few blocks at hand.
  for (int attempt = 0; attempt < 100; attempt++) {
    usleep(100000);
    void *blocks[16];
    for (int i = 0; i < 16; i++) DEMAND((blocks[i] = allocate(blockSize)));
    for (int i = 0; i < 16; i++) release(blocks[i]);
    after = residentPages();
    if (after - before < most / 8) break;
  }
  if (after - before >= most / 8) fprintf(stderr, "%ld pages in memory before, %ld after, of %ld\n", before, after, most);
  DEMAND(after - before < most / 8);
  DEMAND(refusals == 1);
  printf("%d threads refused\n", refusals);
  return 0;
}
