// Output to a file that somebody named, and where the process keeps what it read from its environment.
#ifndef MP_OUTPUT_H
#define MP_OUTPUT_H

#include "atomics.h"
#include <stddef.h>

// None of these allocates; each keeps errno but mp_open_append, which returns -1 and sets it.
int mp_write_all(int descriptor, const char *_Nonnull bytes, size_t count);    // 0, or -1 when not all could be written
int mp_open_append(const char *_Nonnull path);                                 // made if it is not there; not inherited
void mp_close(int descriptor);
mp_word mp_process_id(void);
// Standard error as it is now, under a number of its own, for the very end of the process: many programs close theirs first.
void mp_error_output_keep(void);
int mp_error_output_kept(void);  // that number, while it is still the same file; 2 otherwise

// Storage of the environment's record (Pool/Environment.swift); zero until it is read.
enum { MP_ENVIRONMENT_BYTES = 2048 };
extern unsigned char mp_environment_storage[MP_ENVIRONMENT_BYTES] __attribute__((visibility("hidden")));
MP_INLINE void *_Nonnull mp_environment_address(void) { return mp_environment_storage; }

#endif
