// Calls of libc that are cancellation points, where a thread must not be cancelled: it may hold a claim or a lock, or be about to
// end the process. malloc is no cancellation point, so nothing of this allocator is one.
#ifndef MP_CANCELLATION_H
#define MP_CANCELLATION_H

#include <pthread.h>

static inline int mp_cancellation_off(void) {
  int before = PTHREAD_CANCEL_ENABLE;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  return before;
}

static inline void mp_cancellation_back(int before) { pthread_setcancelstate(before, &before); }

#endif
