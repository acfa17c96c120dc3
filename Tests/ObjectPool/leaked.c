// A pool that passes through hides nothing from tools that watch malloc: one object is lost, another one is kept.
#include <mempool.h>
#include <string.h>

void *volatile kept;

__attribute__((noinline)) static void lose(mp_objpool_t *pool) { memset(mp_objpool_get(pool), 1, 40); }
__attribute__((noinline)) static void keep(mp_objpool_t *pool) { memset(kept = mp_objpool_get(pool), 1, 40); }
__attribute__((noinline)) static void forget(void) {
  volatile char stack[4096];
  for (int i = 0; i < 4096; i++) stack[i] = 0;
}

int main(void) {
  mp_objpool_t *pool = mp_objpool_new_with(40, 10, "passes through", MP_OBJPOOL_PASS_THROUGH);
  lose(pool), keep(pool), forget();
  return 0;
}
