// Floor 0 as the model has it: the same names, but each atomic operation, wait and system call is the machine's.
//
// The other headers are those that ship. Two of their functions reach for the thread block and for the processor directly; these
// get other names, and the machine's take their place.
#ifndef CMEMPOOL_SHIMS_H
#define CMEMPOOL_SHIMS_H

#include "model_atomics.h"  // instead of atomics.h

#define mp_pause mp_pause_that_ships
#define mp_thread_block_self mp_thread_block_self_that_ships
#include <bounded_wait.h>
#include <context.h>
#include <faults.h>
#include <output.h>
#include <sanitizer.h>
#include <system.h>
#include <thread_block.h>
#undef mp_pause
#undef mp_thread_block_self

void mp_pause(void);
mp_thread_block *_Nonnull mp_thread_block_self(void);

#endif
