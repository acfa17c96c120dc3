// What a sanitizer that is linked into the process is to know: which memory nobody may touch. Nothing where there is none.
#ifndef MP_SANITIZER_H
#define MP_SANITIZER_H

#include "atomics.h"
#include <stddef.h>

extern void __asan_poison_memory_region(const volatile void *_Nonnull start, size_t byte_count) __attribute__((weak));
extern void __asan_unpoison_memory_region(const volatile void *_Nonnull start, size_t byte_count) __attribute__((weak));

MP_INLINE int mp_sanitizer_watches(void) { return __asan_poison_memory_region != NULL; }
MP_INLINE void mp_sanitizer_poison(const void *_Nonnull start, size_t byte_count) {
  if (__asan_poison_memory_region) __asan_poison_memory_region(start, byte_count);
}
MP_INLINE void mp_sanitizer_unpoison(const void *_Nonnull start, size_t byte_count) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(start, byte_count);
}

#endif
