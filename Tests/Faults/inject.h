// The allocator's calls for memory, counted and made to fail. A program's own mmap and the others come before libc's, for the
// libraries that it loads too; what libc calls inside itself (stacks of threads, its own heap) does not come by here.
#ifndef INJECT_H
#define INJECT_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
  long calls;     // while on
  long from;      // the first that fails, counted from 1
  long to;        // the last
  long every;     // of these only each so manieth fails; 0: all
  long failed;    // were made to fail, or refused by the kernel
  long mapped;    // bytes of address space that the allocator has
  long kept;      // bytes that it wanted to give back, and was refused
  int on;
  int onlyMaps;   // calls that take no address space never fail
} inject;

static void injectFrom(long from, long to) {
  inject.calls = inject.failed = inject.kept = inject.every = 0;
  inject.from = from;
  inject.to = to;
  inject.on = 1;
}

static void injectNothing(void) { inject.on = 0; }

static long add(long *word, long value) { return __atomic_add_fetch(word, value, __ATOMIC_RELAXED); }

// Whether this call has to fail.
static int refused(int maps) {
  if (!inject.on || (inject.onlyMaps && !maps)) return 0;
  long call = add(&inject.calls, 1);
  if (call < inject.from || call > inject.to || (inject.every && call % inject.every)) return 0;
  add(&inject.failed, 1);
  errno = ENOMEM;
  return 1;
}

static long counted(long result) {
  if (result == -1 && inject.on) add(&inject.failed, 1);
  return result;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  if (refused(1)) return MAP_FAILED;
  long result = counted(syscall(SYS_mmap, address, size, protection, flags, file, offset));
  if (result != -1) add(&inject.mapped, (long)size);
  return (void *)result;
}

int munmap(void *address, size_t size) {
  if (refused(0)) {
    add(&inject.kept, (long)size);
    return -1;
  }
  long result = counted(syscall(SYS_munmap, address, size));
  if (!result) add(&inject.mapped, -(long)size);
  return (int)result;
}

int madvise(void *address, size_t size, int advice) {
  return refused(0) ? -1 : (int)counted(syscall(SYS_madvise, address, size, advice));
}

int mprotect(void *address, size_t size, int protection) {
  return refused(0) ? -1 : (int)counted(syscall(SYS_mprotect, address, size, protection));
}

int mlock(const void *address, size_t size) { return refused(0) ? -1 : (int)counted(syscall(SYS_mlock, address, size)); }

void *mremap(void *old, size_t oldSize, size_t newSize, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  void *to = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
  va_end(rest);
  if (refused(1)) {
    // The kernel may have unmapped the place by the time that it refuses: every other time it has.
    if (to && inject.calls % 2) {
      syscall(SYS_munmap, to, newSize);
      add(&inject.mapped, -(long)newSize);
    }
    return MAP_FAILED;
  }
  long result = counted(syscall(SYS_mremap, old, oldSize, newSize, flags, to));
  if (result != -1) add(&inject.mapped, to ? -(long)oldSize : (long)newSize - (long)oldSize);
  return (void *)result;
}

#endif
