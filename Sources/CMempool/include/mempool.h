#ifndef MEMPOOL_H
#define MEMPOOL_H
#include <stddef.h>
int mempool_init(void);
#endif
