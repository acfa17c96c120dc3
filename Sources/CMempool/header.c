#include "mempool.h"
