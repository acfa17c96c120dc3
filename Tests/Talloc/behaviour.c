// What a program sees of talloc: run on the original and on this library, and what it prints compared.
//
//   behaviour PART
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

struct thing { int number; char text[60]; };

static void log_line(const char *message) { printf("log: %s", message); }
static void abort_line(const char *reason) {
  printf("abort: %s\n", reason);
  fflush(stdout);
  _Exit(3);
}
static void abort_and_return(const char *reason) { printf("abort: %s\n", reason); }

static int refused;
static int say(struct thing *thing) {
  printf("destructor of %s\n", talloc_get_name(thing));
  return 0;
}
static int refuse(struct thing *thing) {
  printf("%s refuses\n", talloc_get_name(thing));
  return refused-- > 0 ? -1 : 0;
}
static int free_itself(struct thing *thing) {
  printf("free within: %d\n", talloc_free(thing));
  return 0;
}

static void tree(void) {
  void *top = talloc_new(NULL), *one = talloc_named(top, 10, "one %d", 1), *two = talloc_size(top, 20), *three = talloc(one, struct thing);
  talloc_report_full(top, stdout);
  talloc_report(top, stdout);
  talloc_report_depth_file(top, 1, 2, stdout);
  talloc_show_parents(three, stdout);
  talloc_show_parents(NULL, stdout);
  printf("%zu %zu %d %d %d\n", talloc_total_size(top), talloc_total_blocks(top), talloc_is_parent(three, top), talloc_is_parent(top, three),
         talloc_parent(three) == one);
  // What is only compared need not be a block.
  _Alignas(16) char none[256] = {0};
  printf("%d %d\n", talloc_is_parent(three, none + 128), talloc_reparent(none + 128, two, three) == NULL);
  talloc_steal(two, one);
  talloc_report_full(top, stdout);
  void *moved = talloc_move(NULL, &one);
  printf("%d %d\n", one == NULL, talloc_parent(moved) == NULL);
  printf("%d %d %d\n", talloc_free(moved), talloc_free(NULL), talloc_free(top));
  printf("%p %zu %zu %zu\n", talloc_parent(NULL), talloc_get_size(NULL), talloc_total_size(NULL), talloc_total_blocks(NULL));
  printf("%d %d %d\n", talloc_memdup(NULL, NULL, 5) == NULL, talloc_array(NULL, int, 0x10000000 / 4) == NULL, talloc_size(NULL, 0x10000000) == NULL);
}

static void names(void) {
  void *top = talloc_init("top %s", "level");
  struct thing *thing = talloc_zero(top, struct thing);
  printf("%s %s %s\n", talloc_get_name(top), talloc_get_name(thing), talloc_parent_name(thing));
  printf("%s\n", talloc_set_name(thing, "%d things", 5));
  talloc_free_children(thing);
  printf("%s %zu\n", talloc_get_name(thing), talloc_total_blocks(thing));
  talloc_set_name_const(thing, "constant");
  printf("%d %d\n", talloc_check_name(thing, "constant") == thing, talloc_check_name(thing, "other") == NULL);
  printf("%d %d\n", talloc_find_parent_byname(thing, "top level") == top, talloc_find_parent_bytype(thing, int) == NULL);
  printf("%s %s\n", talloc_get_name(talloc_pool(top, 100)), talloc_get_name(talloc_new(top)));
  talloc_free(top);
}

static void strings(void) {
  void *top = talloc_new(NULL);
  char *s = talloc_strdup(top, "abc");
  printf("%s %s %zu\n", s, talloc_get_name(s), talloc_get_size(s));
  s = talloc_strdup_append(s, "def");
  s = talloc_strndup_append(s, "ghijk", 2);
  s = talloc_asprintf_append(s, "%05d", 42);
  printf("%s %zu %s\n", s, talloc_get_size(s), talloc_get_name(s));
  s[2] = 0;
  s = talloc_strdup_append_buffer(s, "x");
  printf("%s|%s\n", s, s + 3);
  s = talloc_strdup_append(s, "y");
  printf("%s %zu\n", s, talloc_get_size(s));
  s = talloc_strndup(top, "abcdef", 4);
  talloc_asprintf_addbuf(&s, "-%s-", "x");
  printf("%s\n", s);
  char *none = NULL;
  talloc_asprintf_addbuf(&none, "%d", 1);
  printf("%d %d %s\n", none == NULL, talloc_strdup(top, NULL) == NULL, talloc_strdup_append(NULL, "new"));
  s = talloc_asprintf(top, "%0*d", 3000, 7);
  printf("%zu\n", talloc_get_size(s));
  talloc_report_full(top, stdout);
  talloc_free(top);
}

static void pools(void) {
  void *pool = talloc_pool(NULL, 10 * 1024), *blocks[10];
  for (int i = 0; i < 10; i++) blocks[i] = talloc_size(pool, 1024);
  char *start = pool, *end = start + 10 * 1024 + 80;
  int inside = 0;
  for (int i = 0; i < 10; i++) inside += (char *)blocks[i] > start && (char *)blocks[i] < end;
  size_t overhead = (size_t)((char *)blocks[1] - (char *)blocks[0]) - 1024;
  int equal = 1;
  for (int i = 1; i < 8; i++) equal &= (char *)blocks[i + 1] - (char *)blocks[i] == (char *)blocks[1] - (char *)blocks[0];
  printf("%d inside, overhead %s, equal %d, aligned %d\n", inside, overhead >= 16 && overhead <= 112 ? "as expected" : "wrong", equal,
         (size_t)blocks[3] % 16 == 0);
  printf("%zu %zu %d\n", talloc_get_size(pool), talloc_total_size(pool), talloc_realloc_size(NULL, pool, 100) == NULL);
  talloc_free(pool);
  struct thing *thing = talloc_pooled_object(NULL, struct thing, 3, 100);
  char *first = talloc_strdup(thing, "first"), *second = talloc_strdup(first, "second");
  printf("%s %zu %s %s\n", talloc_get_name(thing), talloc_get_size(thing), first, second);
  talloc_report_full(thing, stdout);
  talloc_free(thing);
  // Who grows at the end of a pool keeps its name.
  pool = talloc_pool(NULL, 1000);
  first = talloc_strdup(pool, "first");
  second = talloc_realloc_fn(NULL, talloc_named_const(pool, 10, "last"), 300);
  printf("%s\n", talloc_get_name(second));
  second = talloc_realloc_fn(NULL, second, 2000);
  printf("%s\n", talloc_get_name(second));
  talloc_free(pool);
  // The last object of a pool that was freed takes all of it.
  pool = talloc_pool(NULL, 1024);
  first = talloc_size(pool, 100);
  second = talloc_size(pool, 100);
  memset(second, 'x', 100);
  talloc_steal(NULL, second);
  printf("%d\n", talloc_free(pool));
  char *grown = talloc_realloc_size(NULL, second, 900);
  printf("%d %c%c\n", grown == first, grown[0], grown[99]);
  talloc_free(grown);
}

static void references(void) {
  talloc_set_log_fn(log_line);
  void *top = talloc_new(NULL), *other = talloc_named_const(top, 0, "other");
  struct thing *thing = talloc(top, struct thing);
  printf("%d %zu\n", talloc_reference(other, thing) == thing, talloc_reference_count(thing));
  talloc_reference(top, thing);
  talloc_report_full(top, stdout);
  printf("%d\n", talloc_free(thing));
  printf("%d\n", talloc_steal(other, thing) == thing);
  printf("%d\n", talloc_unlink(top, thing));
  printf("%d %d\n", talloc_unlink(top, thing), talloc_realloc_size(NULL, thing, 500) == NULL);
  printf("%d %zu\n", talloc_increase_ref_count(thing), talloc_reference_count(thing));
  talloc_report_full(top, stdout);
  talloc_free(other);
  talloc_report_full(top, stdout);
  printf("%d\n", talloc_parent(thing) == NULL);
  struct thing *root = talloc(NULL, struct thing);
  talloc_reference(top, root);
  printf("%d %d\n", talloc_free(root), talloc_parent(root) == top);
  printf("%d\n", talloc_reparent(top, NULL, root) == root);
  printf("%d %d\n", talloc_reparent(top, NULL, root) == NULL, talloc_free(root));
  talloc_free(top);
}

static void destructors(void) {
  void *top = talloc_named_const(NULL, 0, "top");
  struct thing *parent = talloc(top, struct thing), *last = NULL;
  talloc_set_name_const(parent, "parent");
  for (int i = 0; i < 3; i++) {
    last = talloc(parent, struct thing);
    talloc_set_name(last, "child %d", i);
    talloc_set_destructor(last, i == 1 ? refuse : say);
  }
  talloc_set_destructor(parent, say);
  refused = 1;
  printf("%d\n", talloc_free(parent));
  talloc_report_full(top, stdout);
  struct thing *own = talloc(top, struct thing);
  talloc_set_destructor(own, free_itself);
  printf("%d\n", talloc_free(own));
  own = talloc(top, struct thing);
  refused = 1;
  talloc_set_destructor(own, refuse);
  printf("%d %d\n", talloc_free(own), talloc_free(own));
  talloc_free(top);
}

// The name is the newest child. The original frees it first, and this reads what was freed: differential.c compares no such names.
static int say_parent(struct thing *thing) {
  printf("below %s\n", talloc_parent_name(thing));
  return 0;
}
static void late_name(void) {
  void *parent = talloc_new(NULL);
  struct thing *child = talloc(parent, struct thing);
  talloc_set_name(parent, "parent %d", 1);
  talloc_set_destructor(child, say_parent);
  talloc_free(parent);
}

static void limits(void) {
  void *top = talloc_named_const(NULL, 0, "top"), *inner = talloc_named_const(top, 0, "inner");
  printf("%d %d\n", talloc_set_memlimit(top, 5000), talloc_set_memlimit(inner, 2000));
  printf("%d %d\n", talloc_size(inner, 2000) == NULL, talloc_size(top, 5000) == NULL);
  void *block = talloc_size(inner, 1000);
  talloc_set_name_const(block, "block");
  talloc_report_full(top, stdout);
  printf("%d\n", talloc_realloc_size(NULL, block, 2000) == NULL);
  block = talloc_realloc_size(NULL, block, 1500);
  talloc_set_name_const(block, "block");
  talloc_report_full(top, stdout);
  void *pool = talloc_pool(top, 1000);
  talloc_size(pool, 100);
  talloc_set_name_const(pool, "pool");
  printf("%d\n", talloc_size(top, 3000) == NULL);
  printf("%d\n", talloc_set_memlimit(inner, 0));
  printf("%d\n", talloc_size(inner, 1000) != NULL);
  talloc_free(top);
}

static void tracking(void) {
  void *before = talloc_named_const(NULL, 5, "before");
  talloc_enable_null_tracking();
  void *after = talloc_named_const(NULL, 7, "after"), *child = talloc_named_const(after, 1, "child");
  talloc_report_full(NULL, stdout);
  printf("%zu %zu %s %d\n", talloc_total_size(NULL), talloc_total_blocks(NULL), talloc_parent_name(after), talloc_parent(before) == NULL);
  talloc_steal(NULL, child);
  talloc_report(NULL, stdout);
  talloc_disable_null_tracking();
  printf("%d %zu\n", talloc_parent(after) == NULL, talloc_total_blocks(NULL));
  talloc_free(after);
  talloc_free(before);
  talloc_free(child);
}

static void types(void) {
  talloc_set_log_fn(log_line);
  talloc_set_abort_fn(abort_and_return);
  struct thing *thing = talloc(NULL, struct thing);
  printf("%d %d\n", talloc_get_type(thing, struct thing) == thing, talloc_get_type(thing, int) == NULL);
  printf("%d\n", talloc_get_type_abort(thing, struct thing) == thing);
  void *none = _talloc_get_type_abort(thing, "struct other", "here");
  printf("%p\n", none);
  none = _talloc_get_type_abort(NULL, "struct other", "here");
  printf("%p %d.%d\n", none, talloc_version_major(), talloc_version_minor());
  talloc_set_type(thing, int);
  printf("%s\n", talloc_get_name(thing));
}

static void fill(void) {
  void *pool = talloc_pool(NULL, 1000);
  unsigned char *block = talloc_size(pool, 20);
  memset(block, 1, 20);
  unsigned char *next = talloc_size(pool, 20);
  talloc_free(block);
  printf("%x %x %d\n", block[0], block[19], next != NULL);
  talloc_free(pool);
}

static int end(const char *part) {
  talloc_set_log_stderr();
  talloc_set_abort_fn(abort_line);
  void *pool = talloc_pool(NULL, 1000);
  int *one = talloc(pool, int), *two = talloc(pool, int);
  if (!strcmp(part, "double-free")) {
    _talloc_free(one, "the first");
    return _talloc_free(one, "the second");
  } else if (!strcmp(part, "use-after-free")) {
    _talloc_free(two, "the free");
    return talloc_size(two, 5) != NULL;
  } else if (!strcmp(part, "overwritten")) {
    memset(one, 0, 32);
    return talloc_free(two);
  } else if (!strcmp(part, "overwritten-in-a-pool")) {
    memset(one, 0, 32);
    return talloc_free(pool);
  } else if (!strcmp(part, "freed-in-a-pool")) {
    _talloc_free(one, "the free");
    return talloc_get_name(one) != NULL;
  } else if (!strcmp(part, "abort-hook")) {
    return talloc_get_type_abort(one, char) != NULL;
  }
  return 64;
}

int main(int count, char **arguments) {
  const char *part = count > 1 ? arguments[1] : "";
#define PART(name) if (!strcmp(part, #name)) return name(), 0;
  PART(tree) PART(names) PART(strings) PART(pools) PART(references) PART(destructors) PART(limits) PART(tracking) PART(types) PART(fill) PART(late_name)
  if (!strcmp(part, "leaks") || !strcmp(part, "leaks-in-full")) {
    if (part[5]) talloc_enable_leak_report_full(); else talloc_enable_leak_report();
    talloc_size(talloc_named_const(NULL, 9, "leaked"), 5);
    return 0;
  }
  if (!strcmp(part, "autofree")) {
    void *context = talloc_autofree_context();
    struct thing *thing = talloc(context, struct thing);
    talloc_set_destructor(thing, say);
    printf("%s %d\n", talloc_get_name(context), context == talloc_autofree_context());
    return 0;
  }
  return end(part);
}
