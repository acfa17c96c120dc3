// What the original gets wrong, by the numbers of Tests/README.md: linked with this library.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include <pthread.h>

#include "check.h"

// X14: trees of its own, and roots that all threads' tracker knows.
static void *grow_and_free(void *none) {
  for (int i = 0; i < 20000; i++) {
    void *root = talloc_named_const(NULL, 10, "root"), *child = talloc_strdup(root, "child");
    void *moved = talloc_steal(NULL, child);
    root = talloc_realloc_size(NULL, root, 5000);
    if (talloc_free(moved) || talloc_free(root)) return root;
  }
  return none;
}

int main(void) {
  // X7: no bytes an element.
  void *none = talloc_array_size(NULL, 0, 1000);
  CHECK(none && talloc_get_size(none) == 0);
  talloc_free(none);

  // X2: a pool's charge comes back.
  void *top = talloc_new(NULL);
  CHECK(talloc_set_memlimit(top, 100000) == 0);
  for (int i = 0; i < 1000; i++) {
    void *pool = talloc_pool(top, 10000);
    CHECK(pool && talloc_size(pool, 500));
    talloc_free(pool);
  }

  // X4: what has left a limit is free of it.
  void *child = talloc_new(top), *grandchild = talloc_new(child), *elsewhere = talloc_new(NULL);
  talloc_steal(elsewhere, child);
  talloc_free(top);
  CHECK(talloc_size(grandchild, 200000));
  talloc_free(elsewhere);

  // X6: depth is no matter.
  top = talloc_new(NULL);
  void *last = top;
  for (int i = 1; i < 2000000; i++) last = talloc_new(last);
  CHECK(talloc_total_blocks(top) == 2000000);
  CHECK(talloc_free(top) == 0);

  // X12: a format that cannot be written leaves the string and says EILSEQ; without memory the string is as it was, too, and errno is ENOMEM.
  char *text = talloc_strdup(NULL, "kept");
  errno = 0;
  CHECK(talloc_asprintf_append(text, "%ls", L"\x7fffffff") == text && errno == EILSEQ && !strcmp(text, "kept"));
  CHECK(talloc_asprintf_append_buffer(text, "%ls", L"\x7fffffff") == text && errno == EILSEQ);
  errno = 0;
  CHECK(talloc_asprintf_append(text, "%s", "") == text && errno == 0);
  CHECK(talloc_set_memlimit(text, 1) == 0);
  CHECK(talloc_asprintf_append(text, "%s", " and longer") == NULL && errno == ENOMEM && !strcmp(text, "kept"));
  errno = 0;
  CHECK(talloc_strdup_append(text, " and longer") == NULL && errno == ENOMEM && !strcmp(text, "kept"));
  errno = 0;
  CHECK(talloc_size(NULL, 0x10000000) == NULL && errno == ENOMEM);
  CHECK(talloc_free(text) == 0);

  // X14
  talloc_enable_null_tracking();
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, grow_and_free, NULL) == 0);
  for (int i = 0; i < 4; i++) {
    void *result;
    CHECK(pthread_join(threads[i], &result) == 0 && !result);
  }
  CHECK(talloc_total_blocks(NULL) == 1 && talloc_total_size(NULL) == 0);
  return failures != 0;
}
