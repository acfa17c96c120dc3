// Every way to free or to look at an object, with every pointer that is none. The includer defines ALLOCATE(n), an object of n
// bytes, and RELEASE(p), its proper end; FREES(entry, name, call) then makes the cases of a function that is called
// `name` in reports, where `call` gives it the pointer `p`, and FREES_CASES(entry) lists them.
#ifndef FREES_H
#define FREES_H

#include "case.h"

static void *small(void) { return hide(ALLOCATE(200)); }
static void *run(void) { return hide(ALLOCATE(5000)); }
static void *span(void) { return hide(ALLOCATE(40 << 20)); }
static void *onStack(void) {
  char bytes[64];
  return hide(bytes + 16);
}
static void *freed(void *p) {
  RELEASE(p);
  return p;
}
static void *offset(void *p, size_t bytes) { return (char *)p + bytes; }

#define FREE(entry, name, call, kind, pointer, what) \
  static void entry##_##kind(void) {                 \
    void *p = pointer;                               \
    EXPECT(name "(%p): " what, p);                   \
    call;                                            \
  }

#define FREES(entry, name, call)                                                                                \
  FREE(entry, name, call, twice, freed(small()), "double free")                                                 \
  FREE(entry, name, call, twice_run, freed(run()), "double free, or never allocated")                           \
  FREE(entry, name, call, twice_span, freed(span()), "double free")                                             \
  FREE(entry, name, call, interior, offset(small(), 16), "not the start of an object")                          \
  FREE(entry, name, call, interior_byte, offset(small(), 1), "not the start of an object")                      \
  FREE(entry, name, call, interior_run, offset(run(), 512), "not the start of an object")                       \
  FREE(entry, name, call, interior_span, offset(span(), 1 << 20), "not the start of an object")                 \
  FREE(entry, name, call, never, offset(run(), 64 << 20), "double free, or never allocated")                    \
  FREE(entry, name, call, on_stack, onStack(), "not memory of this allocator")                                  \
  FREE(entry, name, call, constant, hide((void *)(uintptr_t) "text"), "not memory of this allocator")           \
  FREE(entry, name, call, number, hide((void *)8), "not memory of this allocator")                              \
  FREE(entry, name, call, top, hide((void *)(UINTPTR_MAX - 7)), "not memory of this allocator")

#define FREES_CASE(entry, kind) {#entry " " #kind, entry##_##kind}
#define FREES_CASES(entry)                                                                                        \
  FREES_CASE(entry, twice), FREES_CASE(entry, twice_run), FREES_CASE(entry, twice_span),                          \
      FREES_CASE(entry, interior), FREES_CASE(entry, interior_byte), FREES_CASE(entry, interior_run),             \
      FREES_CASE(entry, interior_span), FREES_CASE(entry, never), FREES_CASE(entry, on_stack),                    \
      FREES_CASE(entry, constant), FREES_CASE(entry, number), FREES_CASE(entry, top)

// --- Who frees first, and who second. The objects of a batch fill slabs, so that none is handed out again by chance.

enum { batch = 300 };
static void *objects[batch];

static void fillBatch(void) {
  for (int i = 0; i < batch; i++) objects[i] = hide(ALLOCATE(200));
}

static void *releaseInThread(void *p) {
  RELEASE(p);
  return NULL;
}

// The second free, here or in another thread.
static void *releaseAgain(void *p) {
  EXPECT(RELEASE_NAME "(%p): double free", p);
  RELEASE(p);
  return NULL;
}

static void local_then_local(void) { releaseAgain(freed(small())); }
static void local_then_remote(void) { runInThread(releaseAgain, freed(small())); }

static void remote_then_local(void) {
  void *p = small();
  runInThread(releaseInThread, p);
  releaseAgain(p);
}

static void remote_then_remote(void) {
  void *p = small();
  runInThread(releaseInThread, p);
  runInThread(releaseAgain, p);
}

// Many freed by another thread and collected by their owner when it needs one: most lie in its free sets then.
static void collectAll(void) {
  fillBatch();
  for (int i = 0; i < batch; i++) runInThread(releaseInThread, objects[i]);
  for (int i = 0; i < batch / 2; i++) {
    void *again = hide(ALLOCATE(200));
    for (int j = 0; j < batch; j++)
      if (objects[j] == again) objects[j] = NULL;
  }
}

static void *collected(void) {
  collectAll();
  for (int i = 0; i < batch; i++)
    if (objects[i]) return objects[i];
  abort();
}

static void remote_collected_remote(void) { runInThread(releaseAgain, collected()); }
static void remote_collected_local(void) { releaseAgain(collected()); }

// The owner is gone: its heap is abandoned.
static void *allocateInThread(void *unused) {
  (void)unused;
  return small();
}

static void abandoned_twice(void) {
  void *p = runInThread(allocateInThread, NULL), *other = runInThread(allocateInThread, NULL);
  (void)other;
  RELEASE(p);
  releaseAgain(p);
}

#define SEQUENCES_CASE(name) {"sequence " #name, name}
#define SEQUENCES_CASES                                                                                             \
  SEQUENCES_CASE(local_then_local), SEQUENCES_CASE(local_then_remote), SEQUENCES_CASE(remote_then_local),           \
      SEQUENCES_CASE(remote_then_remote), SEQUENCES_CASE(remote_collected_remote),                                  \
      SEQUENCES_CASE(remote_collected_local), SEQUENCES_CASE(abandoned_twice)

#endif
