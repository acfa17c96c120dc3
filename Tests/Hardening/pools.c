// Hardened pools of one's own: what a level finds on each kind of memory. Guard pages need memory that comes from the system as
// it is needed; a fixed pool makes no system call, and a caller's buffer is the caller's.
#include "observe.h"

#include <mempool.h>

enum { small = 24, large = 100000, bufferBytes = 8 << 20 };

static mp_pool_t *pool;

static void make(mp_backing_t backing, unsigned level) {
  mp_pool_options_t options = {.backing = backing, .flags = level * MP_POOL_ZEROING};
  if (backing != MP_BACKING_ELASTIC) options.size = bufferBytes;
  if (backing == MP_BACKING_BUFFER) options.start = mmap(NULL, bufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!(pool = mp_pool_new(&options))) stop("mp_pool_new");
}

static void overflowSmall(void) {
  char *p = hide(mp_pool_malloc(pool, small));
  EXPECT("mp_pool_free(%p): written behind its end", (void *)p);
  p[small] = (char)~p[small];
  mp_pool_free(pool, p);
}

static void overflowLarge(void) {
  char *p = hide(mp_pool_malloc(pool, large));
  EXPECT("mp_pool_realloc(%p): written behind its end", (void *)p);
  p[large + 3] = (char)~p[large + 3];
  hide(mp_pool_realloc(pool, p, 10));
}

static void nextPage(void) {
  volatile char *p = hide(mp_pool_malloc(pool, large));
  p[(large + 4096) & ~4095] = p[(large + 4096) & ~4095];
}

static void writeAfterFree(void) {
  char *p = hide(mp_pool_malloc(pool, small));
  mp_pool_free(pool, p);
  EXPECT("mp_pool_malloc(%p): written after it was freed", (void *)p);
  p[1] = 1;
  for (int i = 0; i < 1000; i++) {
    char *q = hide(mp_pool_malloc(pool, small));
    for (int j = 0; j < small; j++)
      if (q[j]) return;
    mp_pool_free(pool, q);
  }
}

static void doubleFreeLater(void) {
  void *p = hide(mp_pool_malloc(pool, small));
  mp_pool_free(pool, p);
  EXPECT("mp_pool_free(%p): double free", p);
  hide(mp_pool_malloc(pool, small));
  mp_pool_free(pool, p);
}

static const Case cases[] = {
    {"overflow, small", overflowSmall, {NOTHING, NOTHING, LINE, LINE}},
    {"overflow, large", overflowLarge, {NOTHING, NOTHING, LINE, LINE}},
    {"overflow, large: to the next page", nextPage, {NOTHING, NOTHING, NOTHING, FAULT}},
    {"write after free", writeAfterFree, {NOTHING, LINE, LINE, LINE}},
    {"double free, after another malloc", doubleFreeLater, {NOTHING, NOTHING, LINE, LINE}},
};

int main(int count, char **arguments) {
  static const struct { mp_backing_t backing; const char *name; } backings[] = {
      {MP_BACKING_ELASTIC, "elastic"}, {MP_BACKING_FIXED, "fixed"}, {MP_BACKING_BUFFER, "in a buffer"}};
  beginAttempts(count, arguments);
  for (size_t b = 0; b < COUNT(backings); b++)
    for (unsigned level = 0; level <= 3; level++) {
      make(backings[b].backing, level);
      for (size_t i = 0; i < COUNT(cases); i++) {
        Outcome outcome = cases[i].outcome[level];
        if (outcome == FAULT && backings[b].backing != MP_BACKING_ELASTIC) outcome = NOTHING;
        observe(cases[i].commit, outcome, NULL, "%s, level %u: %s", backings[b].name, level, cases[i].name);
      }
    }
  mp_pool_options_t options = {.flags = 16};
  if (mp_pool_new(&options)) return 1;
  return endAttempts();
}
