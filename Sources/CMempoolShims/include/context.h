// What contexts share in the whole process.
#ifndef MP_CONTEXT_H
#define MP_CONTEXT_H

#include "atomics.h"

// Storage of the record (Families/Context/ContextProcess.swift); zero until it is used.
enum { MP_CONTEXT_BYTES = 128 };
extern unsigned char mp_context_storage[MP_CONTEXT_BYTES] __attribute__((visibility("hidden")));
MP_INLINE void *_Nonnull mp_context_address(void) { return mp_context_storage; }

#endif
