#include "CMempoolShims.h"

mp_word mp_default_wait[MP_WAIT_WORDS] __attribute__((aligned(64)));
