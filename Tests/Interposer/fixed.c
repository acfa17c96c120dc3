// In fixed mode no system call for memory follows the start: from the moment that all threads stand at the barrier, the kernel
// kills the process at the first one. On an allocator that grows or gives back, it does. Usage: fixed MEGABYTES
#define _GNU_SOURCE
#include "check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { threadCount = 4, slotCount = 512 };
static pthread_barrier_t barrier;
static char *volatile slots[slotCount];
static size_t largest;

#define REFUSE(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static int forbidMemoryCalls(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      REFUSE(mmap), REFUSE(munmap), REFUSE(mremap), REFUSE(mprotect), REFUSE(madvise), REFUSE(brk), REFUSE(mlock),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

static void churn(unsigned seed) {
  for (int i = 0; i < 60000; i++) {
    seed = seed * 1103515245 + 12345;
    unsigned slot = seed >> 12 & (slotCount - 1);
    size_t size = seed % 101 == 0 ? seed % largest : seed % 11 == 0 ? seed % 20000 : seed % 1000;
    char *p = malloc(size + 1);
    if (p) p[0] = p[size] = (char)slot;
    char *old = __atomic_exchange_n(&slots[slot], p, __ATOMIC_ACQ_REL);  // most were allocated by another thread
    if (old && seed % 7 == 0) {
      char *grown = realloc(old, size * 2 + 1);
      if (grown) old = grown;
    }
    free(old);
  }
}

static void *work(void *seed) {
  churn((unsigned)(uintptr_t)seed);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  churn((unsigned)(uintptr_t)seed + 99);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

int main(int count, char **arguments) {
  // All slots together, half of them large at once, fill a small segment now and then: that must fail without a call, too.
  largest = (size_t)(count > 1 ? atoi(arguments[1]) : 64) << 14;
  pthread_barrier_init(&barrier, NULL, threadCount + 1);
  pthread_t threads[threadCount];
  for (uintptr_t i = 0; i < threadCount; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
  pthread_barrier_wait(&barrier);
  int refused = forbidMemoryCalls();
  CHECK(refused == 0);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < slotCount; i++) free(slots[i]);
  static const char done[] = "done\n";
  CHECK(write(1, done, sizeof done - 1) == sizeof done - 1);
  _exit(failures != 0);  // threads that end give their stacks back
}
