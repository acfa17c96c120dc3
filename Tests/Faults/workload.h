// The scripted workload: sizes of every kind, resizing, another thread, purging. A call that fails must be one in which the
// system refused something, and must say ENOMEM; whatever was live before it must be as it was.
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "inject.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The allocator that is under test; set by each program.
typedef struct {
  void *(*allocate)(size_t);
  void *(*zeroed)(size_t, size_t);
  void *(*aligned)(size_t, size_t);
  void *(*resize)(void *, size_t);
  void (*release)(void *);
  void (*purge)(void);
  size_t largest;  // nothing above this is asked for
  size_t step;     // 1, or what is copied is so much smaller, and of the large and the late ones there are so many fewer
} Allocator;

// Ends the process, which the parent takes for a failure. Allocates nothing.
#define DEMAND(condition)                                                                                      \
  do {                                                                                                         \
    if (condition) break;                                                                                      \
    char line_[200];                                                                                           \
    int length_ = snprintf(line_, sizeof line_, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);      \
    if (write(2, line_, (size_t)length_) < 0) _exit(98);                                                       \
    _exit(99);                                                                                                 \
  } while (0)

enum { blockCount = 1200 };
typedef struct {
  unsigned char *bytes;
  size_t size;
} Block;

// Both ends of a block hold its number and size.
static void mark(Block *block, size_t number) {
  size_t edge = block->size < 64 ? block->size : 64;
  memset(block->bytes, (int)(number * 7 + block->size), edge);
  memset(block->bytes + block->size - edge, (int)(number * 7 + block->size), edge);
}

static int isMarked(const Block *block, size_t number, size_t size) {
  size_t edge = block->size < 64 ? block->size : 64;
  unsigned char byte = (unsigned char)(number * 7 + block->size);
  for (size_t i = 0; i < edge && i < size; i++)
    if (block->bytes[i] != byte) return 0;
  for (size_t i = block->size - edge; i < block->size && i < size; i++)
    if (block->bytes[i] != byte) return 0;
  return 1;
}

typedef struct {
  const Allocator *with;
  Block blocks[blockCount];
  size_t count;
  int mustSucceed;
  int isUnseen;  // libc asks the system by itself
  long refusals;
} Work;

// After a call that returned nothing: the system must have refused something since `failedBefore`.
static void excused(Work *work, long failedBefore) {
  DEMAND(errno == ENOMEM);
  DEMAND(!work->mustSucceed);
  DEMAND(work->isUnseen || inject.failed > failedBefore);
  work->refusals++;
}

static void *keep(Work *work, void *bytes, size_t size, long failedBefore) {
  if (!bytes) {
    excused(work, failedBefore);
    return NULL;
  }
  DEMAND(work->count < blockCount);
  Block *block = &work->blocks[work->count];
  *block = (Block){bytes, size};
  mark(block, work->count++);
  return bytes;
}

static void allocateOne(Work *work, size_t size, int how) {
  long before = inject.failed;
  if (size > work->with->largest) size = work->with->largest;
  errno = 0;
  if (how == 0) keep(work, work->with->allocate(size), size, before);
  if (how == 1) {
    char *bytes = work->with->zeroed(1, size);
    for (size_t i = 0; bytes && i < size; i += i < 4096 ? 1 : i < 1 << 20 ? 4093 : 300007) DEMAND(bytes[i] == 0);
    keep(work, bytes, size, before);
  }
  if (how == 2) {
    char *bytes = work->with->aligned(4096, size);
    DEMAND((uintptr_t)bytes % 4096 == 0);
    keep(work, bytes, size, before);
  }
}

static void resizeOne(Work *work, size_t number, size_t size) {
  Block *block = &work->blocks[number];
  if (number >= work->count || !block->bytes) return;
  if (size > work->with->largest) size = work->with->largest;
  long before = inject.failed;
  errno = 0;
  unsigned char *bytes = work->with->resize(block->bytes, size);
  if (!bytes) {
    excused(work, before);
    DEMAND(isMarked(block, number, block->size));
    return;
  }
  block->bytes = bytes;
  DEMAND(isMarked(block, number, size));
  block->size = size;
  mark(block, number);
}

// Frees keep errno, whatever the system says to what they give back.
static void releaseOne(Work *work, size_t number) {
  Block *block = &work->blocks[number];
  if (!block->bytes) return;
  DEMAND(isMarked(block, number, block->size));
  errno = 77;
  work->with->release(block->bytes);
  DEMAND(errno == 77);
  block->bytes = NULL;
}

static void *anotherThread(void *argument) {
  Work *work = argument;
  for (size_t number = 0; number < work->count; number += 3) releaseOne(work, number);
  for (size_t i = 0; i < 60; i += work->with->step) allocateOne(work, 20 + i * i * 4, i % 3 == 0);
  return NULL;
}

static void perform(Work *work) {
  static const size_t sizes[] = {1,      16,     100,     1000,    3840,    5000,     20000,    70000,
                                 300000, 900000, 1500000, 3000000, 9000000, 34000000, 33000000, 40000000};
  enum { sizeCount = sizeof sizes / sizeof *sizes };
  work->count = 0;
  for (size_t i = 0; i < sizeCount; i++) allocateOne(work, sizes[i], (int)(i % 3));
  // More slabs and pages than one step of growth, or one small reservation, has.
  for (size_t i = 0; i < 300; i++) allocateOne(work, 500 + i * 4, 0);
  for (size_t i = 0; i < 60; i += work->with->step) allocateOne(work, 60000 + i * 3000, i % 7 == 1);
  // From class to run, from run to span, spans that grow, move and shrink.
  resizeOne(work, 3, 10000);
  resizeOne(work, 9, 1800000 / work->with->step);
  resizeOne(work, 9, 35000000);
  resizeOne(work, 13, 50000000);
  resizeOne(work, 13, 80000000);
  resizeOne(work, 14, 4000);
  resizeOne(work, 15, 1100000 / work->with->step);
  pthread_t thread;
  // Its stack is libc's, which asks the system by itself, and an address-space limit may be in the way.
  if (!pthread_create(&thread, NULL, anotherThread, work)) DEMAND(!pthread_join(thread, NULL));
  else DEMAND(!work->mustSucceed);
  for (size_t i = 0; i < work->count; i += 2) releaseOne(work, i);
  work->with->purge();
  for (size_t i = 0; i < 200; i += work->with->step) allocateOne(work, i * 40 + 1, (int)(i % 3));
  for (size_t i = 0; i < work->count; i++) releaseOne(work, i);
  work->with->purge();
}

#endif
