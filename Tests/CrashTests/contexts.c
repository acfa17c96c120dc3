// Misuse of contexts through talloc's functions: what was freed, what was overwritten, what never was a block. The original's lines, and SIGABRT.
#define _GNU_SOURCE
#include "case.h"

#include <talloc.h>

static void *wrong, *other;
static const char freed[] =
    "talloc: access after free error - first free may be at there\nBad talloc magic value - access after free\n";
static const char unknown[] = "Bad talloc magic value - unknown value\n";

// --- What a call gets

static void callFree(void) { talloc_free(wrong); }
static void callFreeChildren(void) { talloc_free_children(wrong); }
static void callUnlink(void) { talloc_unlink(other, wrong); }
static void callUnlinkFrom(void) { talloc_unlink(wrong, other); }
static void callRealloc(void) { hide(talloc_realloc_size(NULL, wrong, 500)); }
static void callSteal(void) { talloc_steal(other, wrong); }
static void callStealTo(void) { talloc_steal(wrong, other); }
static void callMove(void) {
  void *moved = wrong;
  talloc_move(other, &moved);
}
static void callReparent(void) { talloc_reparent(NULL, other, wrong); }
static void callReference(void) { hide(talloc_reference(other, wrong)); }
static void callReferenceFrom(void) { hide(talloc_reference(wrong, other)); }
static void callIncrease(void) { talloc_increase_ref_count(wrong); }
static void callReferenceCount(void) { talloc_reference_count(wrong); }
static void callSetDestructor(void) { _talloc_set_destructor(wrong, NULL); }
static void callSetName(void) { talloc_set_name(wrong, "%d", 1); }
static void callSetNameConst(void) { talloc_set_name_const(wrong, "name"); }
static void callGetName(void) { hide(talloc_get_name(wrong)); }
static void callCheckName(void) { hide(talloc_check_name(wrong, "name")); }
static void callParent(void) { hide(talloc_parent(wrong)); }
static void callParentName(void) { hide(talloc_parent_name(wrong)); }
static void callFindParent(void) { hide(talloc_find_parent_byname(wrong, "name")); }
static void callIsParent(void) { talloc_is_parent(wrong, other); }
static void callGetSize(void) { talloc_get_size(wrong); }
static void callTotalSize(void) { talloc_total_size(wrong); }
static void callTotalBlocks(void) { talloc_total_blocks(wrong); }
static void callReport(void) { talloc_report_full(wrong, stderr); }
static void callLimit(void) { talloc_set_memlimit(wrong, 100); }
static void callSize(void) { hide(talloc_size(wrong, 10)); }
static void callNamed(void) { hide(talloc_named(wrong, 10, "%d", 1)); }
static void callZero(void) { hide(talloc_zero_size(wrong, 10)); }
static void callArray(void) { hide(talloc_array(wrong, int, 5)); }
static void callMemdup(void) { hide(talloc_memdup(wrong, "text", 5)); }
static void callPool(void) { hide(talloc_pool(wrong, 100)); }
static void callPooled(void) { hide(talloc_pooled_object(wrong, int, 2, 100)); }
static void callStrdup(void) { hide(talloc_strdup(wrong, "text")); }
static void callFormat(void) { hide(talloc_asprintf(wrong, "%d", 1)); }
static void callAppend(void) { hide(talloc_strdup_append_buffer(wrong, "text")); }

typedef struct {
  const char *name;
  void (*call)(void);
} Call;
static const Call calls[] = {
    {"talloc_free", callFree}, {"talloc_free_children", callFreeChildren}, {"talloc_unlink", callUnlink},
    {"talloc_unlink from it", callUnlinkFrom}, {"talloc_realloc", callRealloc}, {"talloc_steal", callSteal},
    {"talloc_steal to it", callStealTo}, {"talloc_move", callMove}, {"talloc_reparent", callReparent},
    {"talloc_reference", callReference}, {"talloc_reference from it", callReferenceFrom},
    {"talloc_increase_ref_count", callIncrease}, {"talloc_reference_count", callReferenceCount},
    {"talloc_set_destructor", callSetDestructor}, {"talloc_set_name", callSetName},
    {"talloc_set_name_const", callSetNameConst}, {"talloc_get_name", callGetName}, {"talloc_check_name", callCheckName},
    {"talloc_parent", callParent}, {"talloc_parent_name", callParentName}, {"talloc_find_parent_byname", callFindParent},
    {"talloc_is_parent", callIsParent}, {"talloc_get_size", callGetSize}, {"talloc_total_size", callTotalSize},
    {"talloc_total_blocks", callTotalBlocks}, {"talloc_report_full", callReport}, {"talloc_set_memlimit", callLimit},
    {"talloc_size", callSize}, {"talloc_named", callNamed}, {"talloc_zero", callZero}, {"talloc_array", callArray},
    {"talloc_memdup", callMemdup}, {"talloc_pool", callPool}, {"talloc_pooled_object", callPooled},
    {"talloc_strdup", callStrdup}, {"talloc_asprintf", callFormat}, {"talloc_strdup_append_buffer", callAppend},
};
static const Call *current;

// --- Who commits it

static void *inThread(void *none) {
  current->call();
  return none;
}
static void byItself(void) { current->call(); }
static void byThread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, inThread, NULL)) stop("pthread_create");
  pthread_join(thread, NULL);
}
static void byChild(void) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    current->call();
    _exit(0);
  }
  if (waitpid(child, &status, 0) == child && WIFSIGNALED(status)) raise(WTERMSIG(status));
}
typedef struct {
  const char *name;
  void (*commit)(void);
} Way;
static const Way ways[] = {{"", byItself}, {", by another thread", byThread}, {", in a forked child", byChild}};
static const Way *way;

static void commit(const char *text) {
  talloc_set_log_stderr();
  other = talloc_size(NULL, 16);
  strcpy(expected, text);
  way->commit();
}

// --- What is wrong with it

static void freedAlone(void) {
  wrong = talloc_size(NULL, 100);
  _talloc_free(wrong, "there");
  commit(freed);
}
static void freedWithItsParent(void) {
  void *top = talloc_new(NULL), *parent = talloc_new(top);
  wrong = talloc_size(parent, 100);
  _talloc_free(parent, "there");
  commit(freed);
}
static void freedInAPool(void) {
  void *pool = talloc_pool(NULL, 2000), *first = talloc_size(pool, 50);
  wrong = talloc_size(pool, 100);
  hide(talloc_size(pool, 50));
  hide(first);
  _talloc_free(wrong, "there");
  commit(freed);
}
static void freedLastInAPool(void) {
  void *pool = talloc_pool(NULL, 2000);
  hide(talloc_size(pool, 50));
  wrong = talloc_size(pool, 100);
  _talloc_free(wrong, "there");
  commit(freed);
}
static void overwritten(void) {
  void *pool = talloc_pool(NULL, 2000), *first = talloc_size(pool, 48);
  wrong = talloc_size(pool, 100);
  memset(first, 0x55, 48 + 16);
  commit(unknown);
}
static void onTheStack(void) {
  _Alignas(16) char bytes[256];
  memset(bytes, 0x11, sizeof bytes);
  wrong = hide(bytes + 128);
  commit(unknown);
}
static void inABlock(void) {
  char *block = talloc_zero_size(NULL, 400);
  wrong = block + 128;
  commit(unknown);
}
static void copied(void) {
  char *block = talloc_size(NULL, 16), *copy = talloc_zero_size(NULL, 400);
  memcpy(copy + 64, block - 64, 80);
  wrong = copy + 128;
  commit(unknown);
}
typedef struct {
  const char *name;
  void (*misuse)(void);
} Object;
static const Object objects[] = {
    {"freed", freedAlone}, {"freed with its parent", freedWithItsParent}, {"freed in a pool", freedInAPool},
    {"freed, the last of a pool", freedLastInAPool}, {"overwritten", overwritten}, {"on the stack", onTheStack},
    {"in a block", inABlock}, {"a copy of a block", copied},
};

int main(int count, char **arguments) {
  beginAttempts(count, arguments);
  for (size_t i = 0; i < COUNT(calls); i++)
    for (size_t j = 0; j < COUNT(objects); j++)
      for (size_t k = 0; k < COUNT(ways); k++) {
        current = &calls[i];
        way = &ways[k];
        attempt(objects[j].misuse, "%s: %s%s", calls[i].name, objects[j].name, ways[k].name);
      }
  return endAttempts();
}
