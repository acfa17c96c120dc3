// Storage of the process-wide bounded wait: zero means the defaults. Floor 2 says what is in it.
#ifndef MP_BOUNDED_WAIT_H
#define MP_BOUNDED_WAIT_H

#include "atomics.h"

enum { MP_WAIT_WORDS = 8 };
extern mp_word mp_default_wait[MP_WAIT_WORDS] __attribute__((visibility("hidden")));
MP_INLINE void *_Nonnull mp_default_wait_address(void) { return mp_default_wait; }

#endif
