// The rest of floor 0: storage, and a system that has no threads, no clock and no memory but the machine's.
#include "state.h"

#include <stdio.h>

static const unsigned char empty_slab[MP_EMPTY_SLAB_BYTES] __attribute__((aligned(64)));

#define EMPTY_4 (void *)empty_slab, (void *)empty_slab, (void *)empty_slab, (void *)empty_slab
#define EMPTY_16 EMPTY_4, EMPTY_4, EMPTY_4, EMPTY_4
void *const mp_empty_heap[MP_EMPTY_WORDS] __attribute__((aligned(64))) = {EMPTY_16, EMPTY_16, EMPTY_16, EMPTY_16};

// These threads share, so they are the machine's to watch and to put back.
#define SHARED __attribute__((aligned(64), section("model_globals")))
unsigned char mp_process_storage[MP_PROCESS_BYTES] SHARED;
mp_word mp_map_root[MP_MAP_ROOT_WORDS] SHARED;
mp_word mp_default_wait[MP_WAIT_WORDS] SHARED;
unsigned char mp_environment_storage[MP_ENVIRONMENT_BYTES] SHARED;
mp_word mp_purger_state SHARED;
unsigned char mp_guard_storage[MP_GUARD_BYTES] SHARED;
unsigned char mp_context_storage[MP_CONTEXT_BYTES] SHARED;
const int mp_replaces_malloc = 0;

// --- Threads. Their blocks lie at the end of the memory, so that each run finds them as they were.

static int as_thread;
void mp_machine_as(int thread) { as_thread = thread; }

static mp_thread_block *block(int thread) {
  char *end = (char *)mp_machine_memory() + mp_machine_memory_size();
  return (mp_thread_block *)(end - (size_t)(MP_MODEL_THREADS - thread) * 256);
}

mp_thread_block *mp_thread_block_self(void) { return block(M.current >= 0 ? M.current : as_thread); }

// Address space that was handed out, and how much of it before the run.
static size_t reserved, reserved_before;

void mp_machine_begin(void) {
  memory_begin();
  for (int i = 0; i < MP_MODEL_THREADS; i++) block(i)->heap = block(i)->real_heap = (mp_word)mp_empty_heap;
  as_thread = 0;
  reserved = 0;
  memset(M.site_uses, 0, sizeof M.site_uses);
}

void mp_machine_ready(void) {
  reserved_before = reserved;
  memory_ready();
}
void system_restart(void) { reserved = reserved_before; }

void mp_machine_set_mutant(int mutant) { M.mutant = mutant; }
int mp_mutant(int number) { return M.mutant == number; }
void mp_machine_weaken(int site, mp_order without) {
  M.weakened = site;
  M.without = without;
}
int mp_machine_site_uses(int site) { return M.site_uses[site]; }

uint64_t mp_clock_nanoseconds(void) { return 0; }

int mp_thread_exit_register(void (*on_exit)(void *)) { return (void)on_exit, 0; }
void mp_thread_exit_arm(void) {}
int mp_background_start(void (*body)(void)) { return (void)body, -1; }
mp_word mp_thread_id(void) { return 1; }
int mp_backtrace(mp_word *frames) { return (void)frames, 0; }
void mp_backtrace_write(mp_word frame) { (void)frame; }
int mp_faults_watch(int (*is_ours)(mp_word address, int access)) { return (void)is_ours, 0; }
int mp_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  return (void)prepare, (void)parent, (void)child, 0;
}

// --- Memory

size_t mp_system_page_size(void) { return 4096; }
size_t mp_address_space_limit(void) { return SIZE_MAX; }
size_t mp_system_memory_size(void) { return SIZE_MAX; }

void *mp_pages_reserve(size_t byte_count, size_t alignment) {
  size_t start = (reserved + alignment - 1) / alignment * alignment;
  if (start + byte_count > mp_machine_memory_size() - MP_MODEL_THREADS * 256) return NULL;
  reserved = start + byte_count;
  return (char *)mp_machine_memory() + start;
}
void *mp_pages_take(size_t byte_count, size_t alignment) { return mp_pages_reserve(byte_count, alignment); }
void *mp_pages_map(size_t byte_count, size_t alignment) { return mp_pages_reserve(byte_count, alignment < 64 ? 64 : alignment); }

// Whoever uses the pages must come after this: until then a use would be a fault.
int mp_pages_commit(void *address, size_t byte_count) {
  for (size_t page = 0; page < byte_count; page += 1 << 14) plain_access((uintptr_t)address + page, 8, true);
  return 0;
}

// Whoever still uses the pages races with this.
int mp_pages_purge(void *address, size_t byte_count) {
  for (size_t page = 0; page < byte_count; page += 4096) plain_access((uintptr_t)address + page, 8, true);
  note_write((uintptr_t)address, byte_count);
  memset(address, 0, byte_count);
  return 0;
}
// The system may take it, and so it does.
int mp_pages_lend(void *address, size_t byte_count) { return mp_pages_purge(address, byte_count); }
mp_word mp_random_word(void) { return 0x9e3779b97f4a7c15; }
int mp_pages_guard(void *address, size_t byte_count) { return (void)address, (void)byte_count, -1; }
// Whoever uses the pages at that time would fault: it races with this.
int mp_pages_protect(void *address, size_t byte_count) { return (void)byte_count, plain_access((uintptr_t)address, 8, true), 0; }
int mp_pages_release(void *address, size_t byte_count) { return (void)address, (void)byte_count, 0; }
int mp_pages_lock(void *address, size_t byte_count) { return (void)address, (void)byte_count, 0; }
int mp_pages_huge(void *address, size_t byte_count, int wanted) { return (void)address, (void)byte_count, (void)wanted, 0; }
int mp_pages_resize(void *address, size_t old, size_t new) { return (void)address, (void)old, (void)new, -1; }
int mp_pages_move(void *from, size_t old, void *to, size_t new) { return (void)from, (void)old, (void)to, (void)new, -1; }
int mp_file_make(size_t byte_count) { return (void)byte_count, -1; }
int mp_file_duplicate(int descriptor) { return (void)descriptor, -1; }
size_t mp_file_size(int descriptor) { return (void)descriptor, 0; }
int mp_file_commit(int descriptor, size_t offset, size_t byte_count) {
  return (void)descriptor, (void)offset, (void)byte_count, -1;
}
int mp_file_purge(int descriptor, size_t offset, size_t byte_count) {
  return (void)descriptor, (void)offset, (void)byte_count, -1;
}
void *mp_file_map(int descriptor, size_t offset, size_t byte_count) {
  return (void)descriptor, (void)offset, (void)byte_count, NULL;
}
void mp_system_counters_read(mp_system_counters *out) { memset(out, 0, sizeof *out); }
void mp_system_usage_read(mp_system_usage *out) { memset(out, 0, sizeof *out); }

void *mp_system_malloc(size_t byte_count) { return (void)byte_count, NULL; }
void *mp_system_calloc(size_t count, size_t byte_count) { return (void)count, (void)byte_count, NULL; }
void *mp_system_memalign(size_t alignment, size_t byte_count) { return (void)alignment, (void)byte_count, NULL; }
void *mp_system_realloc(void *pointer, size_t byte_count) { return (void)pointer, (void)byte_count, NULL; }
void mp_system_free(void *pointer) { (void)pointer; }
size_t mp_system_usable_size(void *pointer) { return (void)pointer, 0; }

// --- errno, environment, output

static int error;
int mp_errno_get(void) { return error; }
void mp_errno_set(int value) { error = value; }
const char *mp_environment(const char *name) { return (void)name, NULL; }
mp_word mp_process_id(void) { return 1; }
int mp_write_all(int descriptor, const char *bytes, size_t count) { return (void)descriptor, (void)bytes, (void)count, 0; }
int mp_open_append(const char *path) { return (void)path, -1; }
void mp_close(int descriptor) { (void)descriptor; }
void mp_error_output_keep(void) {}
int mp_error_output_kept(void) { return 2; }

// What the engine says is wrong, without its newline: the run's failure, if it aborts or if a check then fails.
void mp_write_error(const char *bytes, size_t count) {
  if (count && bytes[count - 1] == '\n') count--;
  static const char name[] = "mempool: ";
  if (count > sizeof name && !memcmp(bytes, name, sizeof name - 1)) {
    bytes += sizeof name - 1;
    count -= sizeof name - 1;
  }
  snprintf(M.failure, sizeof M.failure, "%.*s", (int)count, bytes);
}

void mp_abort(void) { end_run(MP_FAILED); }
