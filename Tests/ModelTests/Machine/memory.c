// The memory: what ships happens in it, and for words that threads share it keeps what was there before.
//
// A load may read any message that its thread has not seen a newer one of. Acquire joins what the message's writer had released;
// read-modify-writes read the newest, and hand on what the one they read had released; full fences agree on one order. Messages
// are ordered as they were written, and nothing is done before what comes before it in its thread. Plain accesses, which the
// compiler announces as it does for ThreadSanitizer, must be ordered by all this: see races.c.
#define _GNU_SOURCE
#include "state.h"

#include <sys/mman.h>

enum { BLOCK = 1024, BLOCKS = WORDS * 8 / BLOCK };

// At the same address each time, so that runs of the checker are the same to the last step.
static unsigned char *const memory = (unsigned char *)0x200000000000;
static unsigned char before[MEMORY_BYTES + GLOBAL_BYTES];

// A word's users so far in this scenario, bit t: thread t.
typedef struct usage {
  uint8_t readers, writers;
  uint16_t place;  // plus 1; 0: not shared
  bool keeps_order, is_watched;
} usage;
static usage usages[WORDS];

static int dirty[BLOCKS], dirty_count;
static bool is_dirty[BLOCKS];

// What floor 0 keeps for the process: the linker puts it into one section.
extern unsigned char __start_model_globals[], __stop_model_globals[];
#define globals __start_model_globals
static size_t globals_size(void) { return (size_t)(__stop_model_globals - __start_model_globals); }

void *mp_machine_memory(void) { return memory; }
size_t mp_machine_memory_size(void) { return MEMORY_BYTES; }

size_t offset_of(uintptr_t address) {
  size_t offset = address - (uintptr_t)memory;
  if (offset < MEMORY_BYTES) return offset;
  offset = address - (uintptr_t)globals;
  return offset < globals_size() ? MEMORY_BYTES + offset : SIZE_MAX;
}

static unsigned char *address_of(size_t offset) {
  return offset < MEMORY_BYTES ? memory + offset : globals + (offset - MEMORY_BYTES);
}

void memory_begin(void) {
  static bool is_mapped;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  if (!is_mapped && mmap(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0) != memory)
    fail_at("no memory at the address that it must have", 0);
  is_mapped = true;
  memset(memory, 0, MEMORY_BYTES);
  if (globals_size() > GLOBAL_BYTES) fail_at("more globals than were thought of", 0);
  memset(globals, 0, globals_size());
  memset(usages, 0, sizeof usages);
  M.place_count = 0;
}

void memory_ready(void) {
  memcpy(before, memory, MEMORY_BYTES);
  memcpy(before + MEMORY_BYTES, globals, globals_size());
  memset(is_dirty, 0, sizeof is_dirty);
  dirty_count = 0;
}

void memory_restore(void) {
  for (int i = 0; i < dirty_count; i++) {
    size_t offset = (size_t)dirty[i] * BLOCK;
    size_t end = offset < MEMORY_BYTES ? MEMORY_BYTES : MEMORY_BYTES + globals_size();
    memcpy(address_of(offset), before + offset, end - offset < BLOCK ? end - offset : BLOCK);
    is_dirty[dirty[i]] = false;
  }
  dirty_count = 0;
  // Whether every write was seen: looked at now and then, as it takes longer than a run.
  static unsigned restores;
  if (restores++ % 4096) return;
  if (memcmp(before, memory, MEMORY_BYTES) || memcmp(before + MEMORY_BYTES, globals, globals_size())) {
    static const char text[] = "model: a write was not seen, so runs do not start alike\n";
    mp_write_error(text, sizeof text - 1);
    __builtin_trap();
  }
}

void memory_restart(void) {
  memory_restore();
  system_restart();
  races_restart();
  // The thread blocks: the scenario's own code, whose accesses nobody announces, writes to them.
  note_write((uintptr_t)memory + MEMORY_BYTES - MP_MODEL_THREADS * 256, MP_MODEL_THREADS * 256);
  M.work = 0;
  M.message_count = 0;
  M.heads = 0;
  for (int i = 0; i < M.place_count; i++) {
    M.places[i].first = *M.places[i].address;
    M.places[i].newest = -1;
    M.places[i].number = 0;
    M.places[i].head = 0;
  }
}

void note_write(uintptr_t address, size_t size) {
  size_t offset = offset_of(address);
  if (offset == SIZE_MAX || !size) return;
  for (size_t block = offset / BLOCK; block <= (offset + size - 1) / BLOCK; block++) {
    if (is_dirty[block]) continue;
    is_dirty[block] = true;
    dirty[dirty_count++] = (int)block;
  }
}

// --- Views

static void join(view *to, const view *from) {
  for (int i = 0; i < M.place_count; i++)
    if (to->seen[i] < from->seen[i]) to->seen[i] = from->seen[i];
  for (int i = 0; i < MP_MODEL_THREADS; i++)
    if (to->clock[i] < from->clock[i]) to->clock[i] = from->clock[i];
}

static void copy(view *to, const view *from) {
  memcpy(to->seen, from->seen, (size_t)M.place_count * sizeof to->seen[0]);
  memcpy(to->clock, from->clock, sizeof to->clock);
}

// The memory still holds the old value.
static void append(place *place, uint64_t hash, const view *view) {
  if (M.message_count == MESSAGES) fail_at("too many writes", 0);
  message *message = &M.messages[M.message_count];
  if (place->newest >= 0) M.messages[place->newest].value = *place->address;
  message->hash = hash;
  message->older = place->newest;
  message->number = ++place->number;
  if (view) copy(&message->view, view); else memset(&message->view, 0, sizeof message->view);
  place->newest = M.message_count++;
  int index = (int)(place - M.places);
  M.heads -= mix(place->head, (uint64_t)index);
  place->head = mix(place->head, hash);
  M.heads += mix(place->head, (uint64_t)index);
  message->view.seen[index] = place->number;
  place_changed(index);
}

// A word that is an atomic one, too, is now written plainly: nobody who knows of this reads what was there before.
void plain_write_of_place(size_t word, thread *self) {
  if (!usages[word].place) return;
  int index = usages[word].place - 1;
  append(&M.places[index], mix(self->hash, ++self->plain_writes), NULL);
  self->current.seen[index] = M.places[index].number;
}

bool keeps_order(size_t word) { return usages[word].keeps_order; }
void mp_machine_keep_order(void *address) { usages[offset_of((uintptr_t)address) / 8].keeps_order = true; }

void mp_machine_watch(void *address) { usages[offset_of((uintptr_t)address) / 8].is_watched = true; }

static void tell_change(size_t word, uintptr_t address, mp_word before, mp_word after) {
  if (!usages[word].is_watched || !M.run.changed || before == after) return;
  int current = M.current, work = M.work;
  M.current = -1;
  M.run.changed(current, address, before, after);
  M.current = current;
  M.work = work;
}

// --- Operations

static mp_word apply(mp_operation operation, mp_word old, mp_word expected, mp_word operand) {
  switch (operation) {
  case MP_STORE: case MP_EXCHANGE: return operand;
  case MP_SWAP: return old == expected ? operand : old;
  case MP_AND: return old & operand;
  case MP_OR: return old | operand;
  case MP_ADD: return old + operand;
  default: return old;
  }
}

static mp_word raw(mp_operation operation, mp_word *address, mp_word expected, mp_word operand) {
  mp_word old = *address;
  if (++M.work > WORK && (M.is_running || M.is_guarded)) fail_at("does not come to an end", 0);
  if (operation != MP_LOAD) {
    note_write((uintptr_t)address, sizeof *address);
    *address = apply(operation, old, expected, operand);
  }
  return old;
}

// Which place a word is, noting who uses it; -1: one that only one thread uses, or that nobody changes.
static int place_of(size_t word, mp_operation operation, mp_word *address) {
  usage *usage = usages + word;
  uint8_t self = (uint8_t)(1u << M.current);
  uint8_t readers = usage->readers | self;
  uint8_t writers = usage->writers | (operation == MP_LOAD ? 0 : self);
  if (readers != usage->readers || writers != usage->writers) {
    usage->readers = readers;
    usage->writers = writers;
    if (!usage->place && writers && (readers & (readers - 1))) {
      if (M.place_count == PLACES) fail_at("too many shared words", (uintptr_t)address);
      M.places[M.place_count].address = address;
      usage->place = (uint16_t)++M.place_count;
      start_again();
    }
  }
  return (int)usage->place - 1;
}

void mp_model_site(int number) { M.site = number; }

// The order that an operation has, without what is taken from it.
static mp_order order_of(mp_order order) {
  int site = M.site;
  M.site = 0;
  if (M.current >= 0) M.site_uses[site]++;
  return site && site == M.weakened ? order & ~M.without : order;
}

mp_word mp_model_access(mp_operation operation, mp_order order, mp_word *address, mp_word expected, mp_word operand) {
  size_t offset = offset_of((uintptr_t)address);
  order = order_of(order);
  if (offset == SIZE_MAX || !M.is_running || M.current < 0) return raw(operation, address, expected, operand);
  int index = place_of(offset / 8, operation, address);
  if (index < 0) {
    atomic_access(offset / 8, 0xff, operation != MP_LOAD, (uintptr_t)address);
    mp_word before = raw(operation, address, expected, operand);
    tell_change(offset / 8, (uintptr_t)address, before, *address);
    return before;
  }
  yield_point();
  place *place = &M.places[index];
  thread *self = &M.threads[M.current];
  self->read[index / 64] |= 1ull << (index % 64);
  int age = 0, from = place->newest;
  mp_word found = *address;
  if (operation == MP_LOAD && M.run.weak) {
    int readable = place->number - self->current.seen[index] + 1;
    if (readable > 1) age = choose_message(readable);
    for (int i = 0; i < age; i++) from = M.messages[from].older;
    if (age) found = from >= 0 ? M.messages[from].value : place->first;
  }
  bool writes = operation != MP_LOAD && !(operation == MP_SWAP && found != expected);
  atomic_access(offset / 8, 0xff, writes, (uintptr_t)address);
  self->hash = mix(mix(self->hash, offset), operation == MP_STORE ? 0 : from >= 0 ? M.messages[from].hash : 1);
  if (operation != MP_STORE) {
    uint16_t number = from >= 0 ? M.messages[from].number : 0;
    if (self->current.seen[index] < number) self->current.seen[index] = number;
    if (from >= 0) join(order & MP_ACQUIRE ? &self->current : &self->acquired, &M.messages[from].view);
  }
  if (writes) {
    bool releases = order & MP_RELEASE;
    append(place, self->hash, releases ? &self->current : &self->released);
    self->current.seen[index] = place->number;
    message *written = &M.messages[place->newest];
    // A read-modify-write goes on with what the message that it read had released.
    if (operation != MP_STORE && from >= 0) join(&written->view, &M.messages[from].view);
    if (releases) self->current.clock[M.current]++;
    note_write((uintptr_t)address, sizeof *address);
    *address = apply(operation, found, expected, operand);
  }
  record(operation, order, (uintptr_t)address, expected, operand, found, age);
  if (writes) tell_change(offset / 8, (uintptr_t)address, found, *address);
  return found;
}

void mp_model_fence(mp_order order, int is_sequential) {
  if (!M.is_running || M.current < 0) return;
  yield_point();
  thread *self = &M.threads[M.current];
  join(&self->current, &self->acquired);
  if (is_sequential) {
    for (int i = 0; i < M.place_count; i++) {
      uint16_t *mine = &self->current.seen[i], *all = &M.sequential.seen[i];
      if (*mine < *all) *mine = *all; else *all = *mine;
    }
    uint64_t earlier = M.sequential_hash;
    M.sequential_hash = mix(M.sequential_hash, self->hash);
    self->hash = mix(self->hash, earlier);
  }
  self->hash = mix(self->hash, 2);
  copy(&self->released, &self->current);
  self->current.clock[M.current]++;
  record(MP_FENCE, order, (uintptr_t)is_sequential, 0, 0, 0, 0);
}

// Halves and quarters of words have no history: one thread writes them, others may look.
static void part(uintptr_t address, size_t size, bool is_write) {
  size_t offset = offset_of(address);
  if (offset == SIZE_MAX) return;
  if (++M.work > WORK && (M.is_running || M.is_guarded)) fail_at("does not come to an end", 0);
  if (is_write) note_write(address, size);
  if (M.is_running && M.current >= 0) atomic_access(offset / 8, (0xffu >> (8 - size)) << offset % 8, is_write, address);
}

uint32_t mp_load32_relaxed(const uint32_t *address) {
  part((uintptr_t)address, sizeof *address, false);
  return *address;
}
void mp_store32_relaxed(uint32_t *address, uint32_t value) {
  part((uintptr_t)address, sizeof *address, true);
  *address = value;
}
uint16_t mp_load16_relaxed(const uint16_t *address) {
  part((uintptr_t)address, sizeof *address, false);
  return *address;
}
void mp_store16_relaxed(uint16_t *address, uint16_t value) {
  part((uintptr_t)address, sizeof *address, true);
  *address = value;
}
uint16_t mp_compare_and_swap16_relaxed(uint16_t *address, uint16_t expected, uint16_t desired) {
  part((uintptr_t)address, sizeof *address, true);
  uint16_t seen = *address;
  if (seen == expected) *address = desired;
  return seen;
}

void mp_model_write(void *address, mp_word value) {
  plain_access((uintptr_t)address, sizeof value, true);
  *(mp_word *)address = value;
}
mp_word mp_model_read(const void *address) {
  plain_access((uintptr_t)address, sizeof(mp_word), false);
  return *(const mp_word *)address;
}

int mp_machine_shared_words(void) { return M.place_count; }
