// checks NAME: one misuse of malloc and free, then what a program may notice of it. checks --list: the names.
//
// Exit status 0: nothing came of it. 3: the same memory was handed out twice, or what the program said. Else the allocator ended it.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { harmed = 3, count = 1000 };

static void *volatile hidden;
static void *hide(void *p) {
  hidden = p;
  return hidden;
}
static void *take(size_t size) {
  void *p = hide(malloc(size));
  if (!p) exit(2);
  memset(p, 1, size);
  return p;
}

// Whether two of the objects that are taken now are the same.
static int compare(const void *one, const void *other) {
  uintptr_t a = *(const uintptr_t *)one, b = *(const uintptr_t *)other;
  return (a > b) - (a < b);
}
static int twice(size_t size) {
  static uintptr_t taken[count];
  for (int i = 0; i < count; i++) taken[i] = (uintptr_t)take(size);
  qsort(taken, count, sizeof taken[0], compare);
  for (int i = 1; i < count; i++)
    if (taken[i - 1] == taken[i]) return harmed;
  return 0;
}

static int freed_twice(size_t size) {
  take(size);
  void *p = take(size);
  free(p);
  free(hide(p));
  return twice(size);
}
static int at_once(void) { return freed_twice(64); }
static int at_once_8_kib(void) { return freed_twice(8192); }
static int at_once_200_kib(void) { return freed_twice(200000); }

// Others are freed in between, as in a program.
static int later(void) {
  void *objects[count];
  for (int i = 0; i < count; i++) objects[i] = take(64);
  for (int i = 0; i < count; i += 2) free(objects[i]);
  free(hide(objects[count / 2]));
  return twice(64);
}

static void *free_it(void *p) {
  free(p);
  return NULL;
}
static void run(void *(*body)(void *), void *argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, argument)) exit(2);
  pthread_join(thread, NULL);
}
static int by_another(void) {
  void *p = take(64);
  free(p);
  run(free_it, p);
  return twice(64);
}
static int by_two_others(void) {
  void *p = take(64);
  run(free_it, p);
  run(free_it, p);
  return twice(64);
}

static int inside(void) {
  free(hide((char *)take(64) + 16));
  return twice(64);
}
static int inside_8_kib(void) {
  free(hide((char *)take(8192) + 4096));
  return twice(8192);
}
static int misaligned(void) {
  free(hide((char *)take(64) + 8));
  return twice(64);
}
static int on_the_stack(void) {
  char bytes[256] = {0};
  free(hide(bytes + 64));
  return twice(64);
}
static int of_mmap(void) {
  char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  free(hide(p + 4096));
  return twice(64);
}
static int resized(void) {
  void *p = take(64);
  free(p);
  hide(realloc(hide(p), 500));
  return twice(64);
}

// Where allocators keep their lists in free objects, who writes there says what malloc returns next.
static char victim[256] __attribute__((aligned(64)));
static int written(void) {
  void *objects[count];
  for (int i = 0; i < count; i++) objects[i] = take(64);
  for (int i = 0; i < count; i += 2) free(objects[i]);
  for (int i = 0; i < count; i += 2)
    for (int word = 0; word < 8; word++) ((void **)objects[i])[word] = victim;
  for (int i = 0; i < 2 * count; i++) {
    char *p = hide(malloc(64));
    if (p >= victim && p < victim + sizeof victim) return harmed;
    if (p) memset(p, 1, 64);
  }
  return 0;
}
// A string that is longer than its object, into the next one and whatever lies between.
static int overflowed(void) {
  char *objects[count];
  for (int i = 0; i < count; i++) objects[i] = take(64);
  for (int i = 0; i < count; i += 2) memset(hide(objects[i]), 0x41, 88);
  for (int i = 0; i < count; i++) free(objects[i]);
  return twice(64);
}

static const struct {
  const char *name;
  int (*body)(void);
} all[] = {
    {"64 bytes, freed twice at once", at_once},
    {"the same, others freed in between", later},
    {"the same, by another thread", by_another},
    {"the same, by two other threads", by_two_others},
    {"8 KiB, freed twice", at_once_8_kib},
    {"200 KB, freed twice", at_once_200_kib},
    {"resized after it was freed", resized},
    {"16 bytes behind an object's start, freed", inside},
    {"4 KiB behind an object's start, freed", inside_8_kib},
    {"a misaligned pointer, freed", misaligned},
    {"an address of the stack, freed", on_the_stack},
    {"an address of a mapping, freed", of_mmap},
    {"free objects written to", written},
    {"objects written beyond by 24 bytes", overflowed},
};

int main(int arguments, char **argument) {
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (arguments == 2 && !strcmp(argument[1], "--list")) puts(all[i].name);
    if (arguments == 2 && !strcmp(argument[1], all[i].name)) return all[i].body();
  }
  return arguments == 2 && !strcmp(argument[1], "--list") ? 0 : 64;
}
