// Random calls of both libraries, each with its own trees, and everything that can be observed compared: results, the trees with names, depths and
// references, sizes, totals, reports, the log, and in which order destructors run.
//
//   differential LIBTALLOC LIBRARY CALLS [SEED [limits]]
//
// Every object has a name of its own, by which both sides know it: o and its number. Roots are tracked, so that a walk from NULL meets all that
// lives. Left out is what the original answers with a tree that hangs below itself, and, with limits, moving and pools, of which
// the original loses count.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUNCTIONS(X) \
  X(void *, _talloc, (const void *, size_t)) \
  X(void *, talloc_named_const, (const void *, size_t, const char *)) \
  X(void *, talloc_named, (const void *, size_t, const char *, ...)) \
  X(void *, talloc_init, (const char *, ...)) \
  X(void *, _talloc_zero, (const void *, size_t, const char *)) \
  X(void *, _talloc_array, (const void *, size_t, unsigned, const char *)) \
  X(void *, _talloc_zero_array, (const void *, size_t, unsigned, const char *)) \
  X(void *, _talloc_memdup, (const void *, const void *, size_t, const char *)) \
  X(void *, talloc_pool, (const void *, size_t)) \
  X(void *, _talloc_pooled_object, (const void *, size_t, const char *, unsigned, size_t)) \
  X(void *, _talloc_realloc, (const void *, void *, size_t, const char *)) \
  X(void *, _talloc_realloc_array, (const void *, void *, size_t, unsigned, const char *)) \
  X(void *, talloc_realloc_fn, (const void *, void *, size_t)) \
  X(int, _talloc_free, (void *, const char *)) \
  X(void, talloc_free_children, (void *)) \
  X(void, _talloc_set_destructor, (const void *, int (*)(void *))) \
  X(void *, _talloc_steal_loc, (const void *, const void *, const char *)) \
  X(void *, _talloc_move, (const void *, const void *)) \
  X(void *, talloc_reparent, (const void *, const void *, const void *)) \
  X(void *, _talloc_reference_loc, (const void *, const void *, const char *)) \
  X(int, talloc_unlink, (const void *, void *)) \
  X(int, talloc_increase_ref_count, (const void *)) \
  X(size_t, talloc_reference_count, (const void *)) \
  X(const char *, talloc_set_name, (const void *, const char *, ...)) \
  X(void, talloc_set_name_const, (const void *, const char *)) \
  X(const char *, talloc_get_name, (const void *)) \
  X(void *, talloc_check_name, (const void *, const char *)) \
  X(void *, talloc_parent, (const void *)) \
  X(const char *, talloc_parent_name, (const void *)) \
  X(void *, talloc_find_parent_byname, (const void *, const char *)) \
  X(int, talloc_is_parent, (const void *, const void *)) \
  X(size_t, talloc_get_size, (const void *)) \
  X(size_t, talloc_total_size, (const void *)) \
  X(size_t, talloc_total_blocks, (const void *)) \
  X(void, talloc_report_depth_cb, (const void *, int, int, void (*)(const void *, int, int, int, void *), void *)) \
  X(void, talloc_report_depth_file, (const void *, int, int, FILE *)) \
  X(void, talloc_report_full, (const void *, FILE *)) \
  X(void, talloc_report, (const void *, FILE *)) \
  X(void, talloc_show_parents, (const void *, FILE *)) \
  X(int, talloc_set_memlimit, (const void *, size_t)) \
  X(char *, talloc_strdup, (const void *, const char *)) \
  X(char *, talloc_strndup, (const void *, const char *, size_t)) \
  X(char *, talloc_strdup_append, (char *, const char *)) \
  X(char *, talloc_strdup_append_buffer, (char *, const char *)) \
  X(char *, talloc_strndup_append, (char *, const char *, size_t)) \
  X(char *, talloc_strndup_append_buffer, (char *, const char *, size_t)) \
  X(char *, talloc_asprintf, (const void *, const char *, ...)) \
  X(char *, talloc_asprintf_append, (char *, const char *, ...)) \
  X(char *, talloc_asprintf_append_buffer, (char *, const char *, ...)) \
  X(void, talloc_asprintf_addbuf, (char **, const char *, ...)) \
  X(void, talloc_enable_null_tracking, (void)) \
  X(void *, talloc_autofree_context, (void)) \
  X(void, talloc_set_log_fn, (void (*)(const char *))) \
  X(int, talloc_version_major, (void)) \
  X(int, talloc_version_minor, (void))

enum { OBJECTS = 4096, TEXT = 1 << 20, ROUND = 5000, KNOT = 5 };

struct side {
#define FIELD(result, name, arguments) result(*name) arguments;
  FUNCTIONS(FIELD)
  void *objects[OBJECTS];
  unsigned char refuses[OBJECTS];  // how often the destructor refuses
  unsigned char moves[OBJECTS];    // whether it moves its object to the root and refuses
  unsigned char allocates[OBJECTS];
  char *text;                      // what this side has said since the last comparison
  size_t length;
};

static struct side sides[2];
static char names[OBJECTS][16];
static unsigned char lives[OBJECTS], is_string[OBJECTS], is_pool[OBJECTS], has_limit[OBJECTS];
static int live[OBJECTS], live_count;
static uint64_t state, seed;
static long call;
static char last_call[256];
static char *last_tree;  // as told of a difference

static uint64_t next(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
static int below(int bound) { return (int)(next() % (uint64_t)bound); }

// Whether the original has hung something below itself: it is lost then, with all below it, and the comparison ends. Each object is looked at
// in a process of its own, as it may have been freed.
static int has_a_knot(void) {
  for (int i = 0; i < live_count; i++) {
    pid_t child = fork();
    if (child == 0) {
      void *p = sides[0].objects[live[i]];
      int steps = 0;
      for (close(STDERR_FILENO); p && steps < 10000; steps++) p = sides[0].talloc_parent(p);
      _exit(steps == 10000 ? KNOT : 0);
    }
    int status;
    if (child > 0 && waitpid(child, &status, 0) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == KNOT) return 1;
  }
  return 0;
}

static void fail(const char *what) {
  if (has_a_knot()) _exit(KNOT);
  fprintf(stderr, "seed %llu, call %ld (%s): %s\n--- the original:\n%s\n--- here:\n%s\n--- the last tree:\n%s\n",
          (unsigned long long)seed, call, last_call, what, sides[0].text, sides[1].text, last_tree);
  _exit(1);
}

__attribute__((format(printf, 2, 3))) static void say(struct side *s, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int count = vsnprintf(s->text + s->length, TEXT - s->length, format, arguments);
  va_end(arguments);
  s->length += (size_t)count < TEXT - s->length ? (size_t)count : TEXT - s->length - 1;
}

static void compare(const char *what) {
  if (sides[0].length != sides[1].length || memcmp(sides[0].text, sides[1].text, sides[0].length)) fail(what);
  for (int i = 0; i < 2; i++) sides[i].text[sides[i].length = 0] = 0;
}

// The number in a name, -1 when it is another one.
static int number(const char *name) {
  if (!name || name[0] != 'o' || name[1] < '0' || name[1] > '9') return -1;
  return atoi(name + 1);
}

static void met(const void *pointer, int depth, int max_depth, int is_reference, void *data) {
  struct side *s = data;
  const char *name = s->talloc_get_name(pointer);
  (void)max_depth;
  say(s, "%d%s%s %zu %zu\n", depth, is_reference ? ">" : " ", name, s->talloc_get_size(pointer), s->talloc_reference_count(pointer));
  int index = number(name);
  if (s == &sides[0] && index >= 0) lives[index] = 1;
}

// All that lives, on both sides; forgets what does not.
static void walk(void) {
  memset(lives, 0, sizeof lives);
  for (int i = 0; i < 2; i++) sides[i].talloc_report_depth_cb(NULL, 0, -1, met, &sides[i]);
  if (!strcmp(sides[0].text, sides[1].text)) memcpy(last_tree, sides[0].text, sides[0].length + 1);
  compare("another tree");
  int count = 0;
  for (int i = 0; i < live_count; i++)
    if (lives[live[i]]) live[count++] = live[i];
    else sides[0].objects[live[i]] = sides[1].objects[live[i]] = NULL;
  live_count = count;
}

// By which number an object is known. The name of one that is being freed may be gone in the original, and its memory be somebody else's.
static const char *known(struct side *s, const void *pointer) {
  for (int i = 0; pointer && i < live_count; i++)
    if (s->objects[live[i]] == pointer) return names[live[i]];
  return pointer ? "another" : "nothing";
}

static int destructor(struct side *s, void *pointer) {
  int index = number(s->talloc_get_name(pointer));
  say(s, "destructor of %s, below %s\n", s->talloc_get_name(pointer), known(s, s->talloc_parent(pointer)));
  if (index < 0) return 0;
  if (s->allocates[index]) s->talloc_strdup(pointer, "child of a destructor");
  if (s->moves[index]) {
    s->moves[index] = 0;
    s->_talloc_steal_loc(NULL, pointer, "destructor");
    return -1;
  }
  if (s->refuses[index]) return s->refuses[index]--, -1;
  return 0;
}
static int destructor_0(void *pointer) { return destructor(&sides[0], pointer); }
static int destructor_1(void *pointer) { return destructor(&sides[1], pointer); }
static void log_0(const char *message) { say(&sides[0], "log: %s", message); }
static void log_1(const char *message) { say(&sides[1], "log: %s", message); }

static void fill(void *pointer, size_t size, int index) {
  for (size_t i = 0; i < size; i++) ((unsigned char *)pointer)[i] = (unsigned char)(index * 7 + i);
}
static void say_content(struct side *s, void *pointer, size_t size) {
  uint64_t sum = 0;
  for (size_t i = 0; i < size; i++) sum = sum * 31 + ((unsigned char *)pointer)[i];
  say(s, "content %llx\n", (unsigned long long)sum);
}

static int fresh(void) {
  for (int tries = 0; tries < 64; tries++) {
    int index = below(OBJECTS);
    if (!sides[0].objects[index]) return index;
  }
  return -1;
}
static int any(void) { return live_count ? live[below(live_count)] : -1; }
static void *at(struct side *s, int index) { return index < 0 ? NULL : s->objects[index]; }

static size_t some_size(void) {
  switch (below(12)) {
  case 0: return 0;
  case 1: return (size_t)below(40000);
  case 2: return (size_t)below(3000);
  case 3: return below(40) ? 1024 : below(2) ? 0x10000000 : 0xfffffff;
  default: return (size_t)below(200);
  }
}

static void *made(struct side *s, int kind, void *context, size_t size, int index, unsigned count) {
  const char *name = names[index];
  void *p;
  switch (kind) {
  case 0: case 1: case 2: case 3: p = s->talloc_named_const(context, size, name); break;
  case 4:
    p = s->_talloc(context, size);
    if (p) say(s, "%s\n", s->talloc_get_name(p)), s->talloc_set_name_const(p, name);
    break;
  case 5: p = s->_talloc_zero(context, size, name); break;
  case 6: p = s->_talloc_array(context, 1 + size % 50, count, name); break;
  case 7: p = s->_talloc_zero_array(context, 1 + size % 50, count, name); break;
  case 8: p = s->_talloc_memdup(context, size ? s->text : NULL, size < 100 ? size : 100, name); break;
  case 9: case 10:
    p = s->talloc_pool(context, size < 0x100000 ? size * 4 : size);
    if (p) say(s, "%s\n", s->talloc_get_name(p)), s->talloc_set_name_const(p, name);
    break;
  case 11: p = s->_talloc_pooled_object(context, size % 1000, name, count % 20, size % 5000); break;
  case 12: p = s->talloc_named(context, size % 5000, "%s_%d", name, index); break;
  case 13: p = s->talloc_init("%s_%d", name, index); break;
  case 14: p = s->talloc_strdup(context, name); break;
  case 15: p = s->talloc_strndup(context, name, size % 20 + 5); break;
  default: p = s->talloc_asprintf(context, "%s_%0*d", name, (int)(size % 2000), 5); break;
  }
  say(s, "%s\n", p ? "made" : "NULL");
  if (p && kind < 5) fill(p, s->talloc_get_size(p), index);
  if (p && kind == 5) say_content(s, p, size);
  return p;
}

static int limited;

static void make(int kind, int context) {
  int index = fresh();
  if (index < 0) return;
  size_t size = some_size();
  unsigned count = (unsigned)below(200);
  snprintf(last_call, sizeof last_call, "make %d, %zu bytes, below %d", kind, size, context);
  for (int i = 0; i < 2; i++) sides[i].objects[index] = made(&sides[i], kind, at(&sides[i], context), size, index, count);
  compare("another result");
  if (!sides[0].objects[index]) return;
  is_string[index] = kind >= 14;
  is_pool[index] = kind >= 9 && kind <= 11;
  has_limit[index] = 0;
  for (int i = 0; i < 2; i++) sides[i].refuses[index] = sides[i].moves[index] = sides[i].allocates[index] = 0;
  live[live_count++] = index;
}

static void set_destructor(int index) {
  int refuses = below(3) == 0, moves = below(20) == 0, allocates = below(20) == 0, none = below(6) == 0;
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    s->refuses[index] = (unsigned char)(refuses ? 1 : 0);
    s->moves[index] = (unsigned char)moves;
    s->allocates[index] = (unsigned char)allocates;
    s->_talloc_set_destructor(at(s, index), none ? NULL : i ? destructor_1 : destructor_0);
  }
}

// Whether the original would hang something below itself: an object with a reference from below, and another one, or that refuses to go.
struct search {
  const void *top;
  int found;
};
static void find_own(const void *pointer, int depth, int max_depth, int is_reference, void *data) {
  struct search *search = data;
  (void)depth, (void)max_depth;
  if (is_reference && pointer == search->top) search->found = 1;
}
static int refers_to_itself(const void *pointer) {
  struct search search = {pointer, 0};
  sides[0].talloc_report_depth_cb(pointer, 0, -1, find_own, &search);
  return search.found;
}
static void find_knots(const void *pointer, int depth, int max_depth, int is_reference, void *data) {
  struct search *search = data;
  (void)depth, (void)max_depth;
  size_t references = sides[0].talloc_reference_count(pointer);
  if (is_reference || references == 0 || !refers_to_itself(pointer)) return;
  int index = number(sides[0].talloc_get_name(pointer));
  if (references > 1 || index < 0 || sides[0].refuses[index] || sides[0].moves[index]) search->found = 1;
}
static int is_knotted(const void *pointer) {
  struct search search = {pointer, 0};
  sides[0].talloc_report_depth_cb(pointer, 0, -1, find_knots, &search);
  return search.found;
}

static void free_one(int index) {
  void *p = at(&sides[0], index);
  const char *parent = sides[0].talloc_parent_name(p);
  if (is_knotted(p)) return;
  // The original gives a root to its only referrer, wherever that is.
  if (parent && !strcmp(parent, "null_context") && refers_to_itself(p)) return;
  snprintf(last_call, sizeof last_call, "free %d", index);
  for (int i = 0; i < 2; i++) say(&sides[i], "free: %d\n", sides[i]._talloc_free(at(&sides[i], index), "here"));
  compare("another way to free");
  walk();
}

static void resize(int index) {
  if (has_limit[index]) return;  // the original forgets whose limit it is
  size_t size = some_size();
  unsigned count = (unsigned)below(300);
  int kind = below(8);
  snprintf(last_call, sizeof last_call, "realloc %d of %d, %zu bytes", kind, index, size);
  if (!size && (refers_to_itself(at(&sides[0], index)) || is_knotted(at(&sides[0], index)))) return;
  int context = any();
  // What was given up: realloc to nothing unlinks, from a parent that it may not have.
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    void *old = at(s, index), *p;
    if (kind == 0) p = s->_talloc_realloc_array(at(s, context), old, 4, count + 1, names[index]);
    else p = s->_talloc_realloc(at(s, context), old, size, names[index]);
    say(s, "realloc: %s\n", p ? "made" : "NULL");
    if (!p) continue;
    size_t now = s->talloc_get_size(p);
    s->talloc_set_name_const(p, names[index]);
    s->objects[index] = p;
    if (!is_pool[index]) memset(p, index, now);
    is_string[index] = 0;
  }
  compare("another size");
  if (!size) walk();
}

static void keep_content(int index) {  // realloc keeps what was there
  if (is_pool[index] || is_string[index] || has_limit[index]) return;
  size_t size = (size_t)below(5000) + 1;
  snprintf(last_call, sizeof last_call, "realloc of %d to %zu with content", index, size);
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    void *old = at(s, index);
    size_t before = s->talloc_get_size(old);
    fill(old, before, index);
    void *p = s->talloc_realloc_fn(NULL, old, size);
    say(s, "realloc_fn: %s\n", p ? "made" : "NULL");
    if (!p) continue;
    // Its name: the original keeps it where the last of a pool grows in place, which objects of other sizes are last.
    say_content(s, p, before < size ? before : size);
    s->talloc_set_name_const(p, names[index]);
    s->objects[index] = p;
  }
  compare("lost content");
}

static void append(int index) {
  if (!is_string[index]) return;
  int kind = below(9), width = 3 + below(300), count = below(30);
  // A string with references cannot move, and then this frees it.
  if (kind == 6 && sides[0].talloc_reference_count(at(&sides[0], index))) return;
  const char *text = below(8) ? "some text" : "";
  snprintf(last_call, sizeof last_call, "append %d to %d", kind, index);
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    char *p = at(s, index);
    switch (kind) {
    case 0: p = s->talloc_strdup_append(p, text); break;
    case 1: p = s->talloc_strdup_append_buffer(p, text); break;
    case 2: p = s->talloc_strndup_append(p, text, (size_t)count); break;
    case 3: p = s->talloc_strndup_append_buffer(p, text, (size_t)count); break;
    case 4: p = s->talloc_asprintf_append(p, "%*d", width, count); break;
    case 5: p = s->talloc_asprintf_append_buffer(p, "%s", text); break;
    case 6: s->talloc_asprintf_addbuf(&p, "%*d", width, count); break;
    case 7: p = s->talloc_strdup_append(p, NULL); break;
    default: p = s->talloc_asprintf_append(p, "%s", ""); break;
    }
    say(s, "append: %s %s\n", p ? p : "NULL", p ? s->talloc_get_name(p) : "");
    if (p) s->objects[index] = p;
  }
  compare("another string");
}

static void without_addresses(struct side *s, char *text) {
  for (char *p = text; (p = strstr(p, " 0x")); p++) {
    char *end = p + 3;
    while ((*end >= '0' && *end <= '9') || (*end >= 'a' && *end <= 'f')) end++;
    memmove(p, end, strlen(end) + 1);
  }
  say(s, "%s", text);
}

static void report(int index) {
  int kind = below(4), depth = below(3), max_depth = below(5) - 1;
  snprintf(last_call, sizeof last_call, "report %d of %d", kind, index);
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    void *p = at(s, index);
    switch (kind) {
    case 0: s->talloc_report_full(p, file); break;
    case 1: s->talloc_report(p, file); break;
    case 2: s->talloc_report_depth_file(p, depth, max_depth, file); break;
    default: s->talloc_show_parents(p, file); break;
    }
    fclose(file);
    without_addresses(s, text);
    free(text);
  }
  compare("another report");
}

static void ask(int index) {
  int other = any(), none = below(4) == 0;
  snprintf(last_call, sizeof last_call, "questions about %d and %d", index, other);
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    void *p = at(s, index), *q = at(s, other), *found;
    const char *parent = s->talloc_parent_name(p);
    say(s, "%zu %zu %zu %zu %s\n", s->talloc_get_size(p), s->talloc_total_size(none ? NULL : p), s->talloc_total_blocks(none ? NULL : p),
        s->talloc_reference_count(p), parent ? parent : "none");
    found = s->talloc_find_parent_byname(p, names[other]);
    say(s, "%d %d %d %d\n", s->talloc_is_parent(p, q), found == q && found, found != NULL,
        s->talloc_check_name(p, names[other]) == p);
    found = s->talloc_parent(p);
    say(s, "%s %d\n", found ? s->talloc_get_name(found) : "root", s->talloc_check_name(NULL, "x") == NULL);
  }
  compare("another answer");
}

static void move(int index) {
  int parent = below(8) ? any() : -1, kind = below(4), old = below(2) ? any() : -1;
  struct side *s = &sides[0];
  if (parent >= 0 && s->talloc_is_parent(at(s, parent), at(s, index))) return;
  snprintf(last_call, sizeof last_call, "move %d of %d to %d, from %d", kind, index, parent, old);
  for (int i = 0; i < 2; i++) {
    s = &sides[i];
    void *p = at(s, index), *result;
    if (kind == 0) {
      result = s->_talloc_move(at(s, parent), &p);
      say(s, "%d ", p == NULL);
      p = at(s, index);
    } else if (kind == 1) {
      void *from = old >= 0 ? at(s, old) : s->talloc_parent(p);
      result = s->talloc_reparent(from, at(s, parent), p);
    } else {
      result = s->_talloc_steal_loc(at(s, parent), p, "there");
    }
    say(s, "moved: %d\n", result == p ? 1 : result ? 2 : 0);
  }
  compare("another move");
  walk();
}

static void refer(int index) {
  int owner = below(10) ? any() : -1, kind = below(10);
  snprintf(last_call, sizeof last_call, "reference to %d from %d", index, owner);
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    if (kind == 0) say(s, "%d\n", s->talloc_increase_ref_count(at(s, index)));
    else say(s, "%d\n", s->_talloc_reference_loc(at(s, owner), at(s, index), "where it was made") == at(s, index));
  }
  compare("another reference");
}

static void unlink_one(int index) {
  int owner = below(6) ? any() : -1;
  int asks_parent = below(2);
  struct side *s = &sides[0];
  if (refers_to_itself(at(s, index)) || is_knotted(at(s, index))) return;
  snprintf(last_call, sizeof last_call, "unlink of %d from %d", index, asks_parent ? -2 : owner);
  for (int i = 0; i < 2; i++) {
    s = &sides[i];
    void *p = at(s, index);
    say(s, "unlink: %d\n", s->talloc_unlink(asks_parent ? s->talloc_parent(p) : at(s, owner), p));
  }
  compare("another unlink");
  walk();
}

static void rename_one(int index) {
  snprintf(last_call, sizeof last_call, "name of %d", index);
  for (int i = 0; i < 2; i++) {
    struct side *s = &sides[i];
    say(s, "%s\n", s->talloc_set_name(at(s, index), "%s_%x", names[index], index));
  }
  compare("another name");
}

static void free_children(int index) {
  if (is_knotted(at(&sides[0], index))) return;
  snprintf(last_call, sizeof last_call, "children of %d", index);
  for (int i = 0; i < 2; i++) sides[i].talloc_free_children(at(&sides[i], index));
  compare("another way to free children");
  walk();
}

static void limit(int index) {
  size_t limit = below(4) ? (size_t)below(60000) : 0;
  snprintf(last_call, sizeof last_call, "limit of %d: %zu", index, limit);
  has_limit[index] = 1;
  for (int i = 0; i < 2; i++) say(&sides[i], "%d\n", sides[i].talloc_set_memlimit(at(&sides[i], index), limit));
  compare("another limit");
}

static void one(void) {
  int grows = call / 400 % 2 == 0, index = any();
  if (live_count > 300) return index >= 0 ? free_one(index) : (void)0;
  if (index < 0) return make(0, -1);
  if (limited) {
    switch (below(12)) {
    case 0: return limit(index);
    case 1: return report(index);
    case 2: return free_one(index);
    case 3: case 4: return resize(index);
    case 5: return ask(index);
    case 6: return keep_content(index);
    default: return make(below(9), below(30) ? index : -1);
    }
  }
  switch (below(40)) {
  case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7: case 8: case 9:
    if (grows || below(3) == 0) return make(below(17), below(12) ? index : -1);
    return free_one(index);
  case 10: case 11: case 12: return move(index);
  case 13: case 14: case 15: return refer(index);
  case 16: case 17: return unlink_one(index);
  case 18: case 19: return set_destructor(index);
  case 20: case 21: case 22: return resize(index);
  case 23: case 24: return keep_content(index);
  case 25: case 26: case 27: return append(index);
  case 28: case 29: return report(index);
  case 30: case 31: case 32: case 33: return ask(index);
  case 34: return rename_one(index);
  case 35: return free_children(index);
  default: return free_one(index);
  }
}

static void load(struct side *s, const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
#define LOAD(result, name, arguments) \
  if (!(*(void **)&s->name = dlsym(library, #name))) exit((fprintf(stderr, "%s: no %s\n", path, #name), 1));
  FUNCTIONS(LOAD)
  s->text = calloc(1, TEXT);
  s->talloc_enable_null_tracking();
}

int main(int count, char **arguments) {
  if (count < 4) return 64;
  last_tree = calloc(1, TEXT);
  load(&sides[0], arguments[1]);
  load(&sides[1], arguments[2]);
  sides[0].talloc_set_log_fn(log_0);
  sides[1].talloc_set_log_fn(log_1);
  long calls = atol(arguments[3]);
  seed = count > 4 ? strtoull(arguments[4], NULL, 0) : (uint64_t)(uintptr_t)sides[0].text * 31 + (uint64_t)getpid();
  uint64_t first = seed;
  long knots = 0, rounds = (calls + ROUND - 1) / ROUND;
  printf("seed %llu\n", (unsigned long long)seed);
  fflush(stdout);
  for (int i = 0; i < OBJECTS; i++) snprintf(names[i], sizeof names[i], "o%d", i);
  // Each round in a process of its own, from nothing; every fourth one with limits.
  for (long done = 0; done < calls; done += ROUND) {
    limited = count > 5 || done / ROUND % 4 == 3;
    uint64_t start = seed = state = first + (uint64_t)done;
    pid_t child = fork();
    if (child == 0) {
      for (call = 0; call < ROUND; call++) one();
      walk();
      _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0) return 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == KNOT) {
      knots++;
      continue;
    }
    if (status != 0) {
      fprintf(stderr, "the round with seed %llu failed%s: status %x\n", (unsigned long long)start, limited ? ", with limits" : "", status);
      return 1;
    }
  }
  printf("%ld calls agree in %ld rounds; %ld ended before their end, where the original had a knot\n", calls, rounds, knots);
  return knots * 4 > rounds;
}
