#include "CMempoolShims.h"

unsigned char mp_context_storage[MP_CONTEXT_BYTES] __attribute__((aligned(64)));
