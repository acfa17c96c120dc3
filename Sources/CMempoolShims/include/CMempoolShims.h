// Floor 0: what Swift cannot say itself. No policy lives here.
#ifndef CMEMPOOL_SHIMS_H
#define CMEMPOOL_SHIMS_H

#include "atomics.h"
#include "bounded_wait.h"
#include "context.h"
#include "faults.h"
#include "output.h"
#include "sanitizer.h"
#include "system.h"
#include "thread_block.h"

#endif
