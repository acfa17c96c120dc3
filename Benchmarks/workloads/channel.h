// A bounded queue of pointers between threads, under a mutex: how workloads hand objects on, many at a time.
#ifndef CHANNEL_H
#define CHANNEL_H
#include "workload.h"

enum { channel_capacity = 32 };

typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t room, work;
  void *items[channel_capacity];
  unsigned head, count;
} channel_t;

#define CHANNEL_INITIALIZER {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0}

static inline void send_on(channel_t *channel, void *item) {
  pthread_mutex_lock(&channel->lock);
  while (channel->count == channel_capacity) pthread_cond_wait(&channel->room, &channel->lock);
  channel->items[(channel->head + channel->count++) % channel_capacity] = item;
  pthread_cond_signal(&channel->work);
  pthread_mutex_unlock(&channel->lock);
}

static inline void *receive_from(channel_t *channel) {
  pthread_mutex_lock(&channel->lock);
  while (channel->count == 0) pthread_cond_wait(&channel->work, &channel->lock);
  void *item = channel->items[channel->head++ % channel_capacity];
  channel->head %= channel_capacity;
  channel->count--;
  pthread_cond_signal(&channel->room);
  pthread_mutex_unlock(&channel->lock);
  return item;
}

#endif
