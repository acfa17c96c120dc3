// Allocation before and after everything: in .preinit_array, in constructors, from dlsym, in exit handlers and destructors.
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static char *before, *constructed, *atexitObject, *late;

static char *filled(size_t size) {
  char *p = malloc(size);
  if (p) memset(p, 0x5a, size);
  return p;
}

static int isFilled(const char *p, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (p[i] != 0x5a) return 0;
  return 1;
}

static void preinit(void) {
  before = filled(1000);
  free(filled(100));
}
__attribute__((section(".preinit_array"), used)) static void (*const preinitEntry)(void) = preinit;

__attribute__((constructor(101))) static void construct(void) {
  // dlerror allocates its message; dlsym may ask for memory itself.
  CHECK(dlsym(RTLD_DEFAULT, "no such symbol") == NULL && dlerror() != NULL);
  void *(*byName)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
  constructed = byName ? byName(5000) : NULL;
  if (constructed) memset(constructed, 0x5a, 5000);
}

static void atExit(void) {
  CHECK(isFilled(atexitObject, 100000));
  free(atexitObject);
  late = filled(3000);
  if (failures) _Exit(1);
}

__attribute__((destructor(101))) static void destruct(void) {
  CHECK(isFilled(late, 3000));
  free(late);
  free(before);
  free(filled(200000));
  if (failures) _Exit(1);
}

int main(void) {
  CHECK(before && isFilled(before, 1000));
  CHECK(constructed && isFilled(constructed, 5000));
  free(constructed);
  atexitObject = filled(100000);
  atexit(atExit);
  for (int i = 0; i < 1000; i++) CHECK(dlsym(RTLD_DEFAULT, i % 2 ? "free" : "nothing of this name") != (void *)1);
  dlerror();
  return failures != 0;
}
