// Growth by realloc: vectors that grow by half up to 1 MiB, and lines that grow by a few bytes up to 4 KiB, many at a time.
#include "workload.h"

enum { vectors = 64, lines = 64, steps = 6000000 };

typedef struct {
  unsigned char *bytes;
  size_t count;
} buffer_t;

static void grow(buffer_t *buffer, size_t count, size_t bound) {
  if (count > bound) {
    free(buffer->bytes);
    *buffer = (buffer_t){0};
    return;
  }
  unsigned char *bytes = realloc(buffer->bytes, count);
  if (!bytes) fail("realloc returned NULL");
  if (buffer->count && (bytes[0] != 1 || bytes[buffer->count - 1] != 1)) fail("realloc lost what was in the object");
  memset(bytes + buffer->count, 1, count - buffer->count);
  *buffer = (buffer_t){bytes, count};
}

static void body(int number) {
  random_t random = (random_t)number;
  buffer_t buffers[vectors + lines] = {0};
  for (long i = scaled(steps) / options.threads; i > 0; i--) {
    size_t which = below(&random, vectors + lines);
    buffer_t *buffer = &buffers[which];
    if (which < vectors && i % 8 == 0) grow(buffer, buffer->count + buffer->count / 2 + 16, 1 << 20);
    else if (which >= vectors) grow(buffer, buffer->count + between(&random, 1, 32), 4096);
  }
  for (int i = 0; i < vectors + lines; i++) free(buffers[i].bytes);
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  double seconds = run_together(body);
  report("realloc", seconds, scaled(steps) / options.threads * options.threads, "");
}
