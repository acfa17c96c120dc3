// Accesses that nothing orders: a plain one and another, of the same bytes, one of them a write.
#include "state.h"

// Who accessed a word last, by epochs of each thread.
typedef struct shadow {
  uint32_t run;
  uint16_t plain_write;
  uint8_t plain_writer, plain_bytes;
  uint16_t plain_read[MP_MODEL_THREADS];
  uint8_t read_bytes[MP_MODEL_THREADS];  // of the word, in that epoch: fields that share a word race not
  uint16_t atomic_write[MP_MODEL_THREADS], atomic_read[MP_MODEL_THREADS];
} shadow;
static shadow shadows[WORDS];
static uint32_t run_number;

void races_restart(void) {
  if (++run_number) return;
  memset(shadows, 0, sizeof shadows);
  run_number = 1;
}

static shadow *shadow_of(size_t word) {
  shadow *shadow = shadows + word;
  if (shadow->run != run_number) {
    memset(shadow, 0, sizeof *shadow);
    shadow->run = run_number;
  }
  return shadow;
}

// Whether this thread has learnt of each thread's epoch in which it did something, but for its own.
static bool knows(const uint16_t *epochs) {
  const view *view = &M.threads[M.current].current;
  bool all = true;
  for (int i = 0; i < MP_MODEL_THREADS; i++) all &= i == M.current || epochs[i] <= view->clock[i];
  return all;
}

static bool knows_plain_reads(const shadow *shadow, unsigned bytes) {
  const view *view = &M.threads[M.current].current;
  bool all = true;
  for (int i = 0; i < MP_MODEL_THREADS; i++)
    all &= i == M.current || !(shadow->read_bytes[i] & bytes) || shadow->plain_read[i] <= view->clock[i];
  return all;
}

static bool knows_plain_write(const shadow *shadow, unsigned bytes) {
  return !(shadow->plain_bytes & bytes) || shadow->plain_writer == M.current ||
         shadow->plain_write <= M.threads[M.current].current.clock[shadow->plain_writer];
}

static void plain_word(size_t word, unsigned bytes, bool is_write, uintptr_t address) {
  shadow *shadow = shadow_of(word);
  thread *self = &M.threads[M.current];
  uint16_t epoch = self->current.clock[M.current];
  if (!knows_plain_write(shadow, bytes))
    fail_at(is_write ? "data race: a write after a write" : "data race: a read of what is being written", address);
  if (!knows(shadow->atomic_write))
    fail_at(is_write ? "data race: a plain write after an atomic one" : "data race: a plain read of an atomic write", address);
  if (is_write) {
    if (!knows_plain_reads(shadow, bytes)) fail_at("data race: a write of what is being read", address);
    if (!knows(shadow->atomic_read)) fail_at("data race: a plain write after an atomic read", address);
    if (shadow->plain_write != epoch || shadow->plain_writer != M.current) shadow->plain_bytes = 0;
    shadow->plain_write = epoch;
    shadow->plain_writer = (uint8_t)M.current;
    shadow->plain_bytes |= (uint8_t)bytes;
    // A word that is now an atomic one, too: nobody who knows of this reads what was there before.
    plain_write_of_place(word, self);
  } else {
    if (shadow->plain_read[M.current] != epoch) shadow->read_bytes[M.current] = 0;
    shadow->plain_read[M.current] = epoch;
    shadow->read_bytes[M.current] |= (uint8_t)bytes;
  }
}

void plain_access(uintptr_t address, size_t size, bool is_write) {
  size_t offset = offset_of(address);
  if (offset == SIZE_MAX) return;
  if (++M.work > WORK && (M.is_running || M.is_guarded)) fail_at("does not come to an end", 0);
  if (is_write) note_write(address, size);
  if (!M.is_running || M.current < 0) return;
  while (size) {
    size_t inside = offset % 8, count = 8 - inside < size ? 8 - inside : size;
    plain_word(offset / 8, (0xffu >> (8 - count)) << inside, is_write, address);
    offset += count;
    address += count;
    size -= count;
  }
}

void atomic_access(size_t word, unsigned bytes, bool is_write, uintptr_t address) {
  shadow *shadow = shadow_of(word);
  uint16_t epoch = M.threads[M.current].current.clock[M.current];
  if (!knows_plain_write(shadow, bytes)) fail_at("data race: an atomic access after a plain write", address);
  if (is_write && !knows_plain_reads(shadow, bytes)) fail_at("data race: an atomic write of what is being read", address);
  if (is_write && keeps_order(word) && !knows(shadow->atomic_read))
    fail_at("a write is not ordered after a read that must come before it", address);
  (is_write ? shadow->atomic_write : shadow->atomic_read)[M.current] = epoch;
}
