// What the compiler calls before each access to memory, as it would ThreadSanitizer: the engine is compiled with
// -sanitize=thread and linked with this. Atomic operations of the engine's do not come here; they are the machine's already.
#include "state.h"

void __tsan_init(void) {}
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
// An access to a whole value, of which the parts are announced as well.
void __tsan_external_write(void *address, void *caller, void *tag) { (void)address, (void)caller, (void)tag; }

#define ACCESSES(size)                                                                             \
  void __tsan_read##size(void *address) { plain_access((uintptr_t)address, size, false); }           \
  void __tsan_write##size(void *address) { plain_access((uintptr_t)address, size, true); }           \
  void __tsan_unaligned_read##size(void *address) { plain_access((uintptr_t)address, size, false); } \
  void __tsan_unaligned_write##size(void *address) { plain_access((uintptr_t)address, size, true); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void *__tsan_memcpy(void *to, const void *from, size_t size) {
  plain_access((uintptr_t)from, size, false);
  plain_access((uintptr_t)to, size, true);
  return memcpy(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, size_t size) {
  plain_access((uintptr_t)from, size, false);
  plain_access((uintptr_t)to, size, true);
  return memmove(to, from, size);
}
void *__tsan_memset(void *to, int byte, size_t size) {
  plain_access((uintptr_t)to, size, true);
  return memset(to, byte, size);
}

// The Swift runtime's own, in code that is compiled into the engine: not of words that threads share here.
unsigned long __tsan_atomic64_load(const unsigned long *address, int order) {
  (void)order;
  return __atomic_load_n(address, __ATOMIC_ACQUIRE);
}
void __tsan_atomic64_store(unsigned long *address, unsigned long value, int order) {
  (void)order;
  __atomic_store_n(address, value, __ATOMIC_RELEASE);
}
