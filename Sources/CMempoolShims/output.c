#define _GNU_SOURCE
#include "CMempoolShims.h"
#include "cancellation.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

unsigned char mp_environment_storage[MP_ENVIRONMENT_BYTES] __attribute__((aligned(64)));

int mp_write_all(int descriptor, const char *bytes, size_t count) {
  int saved = errno, cancellation = mp_cancellation_off();
  while (count) {
    ssize_t written = write(descriptor, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    bytes += written;
    count -= (size_t)written;
  }
  mp_cancellation_back(cancellation);
  if (count) return -1;  // with write's errno
  errno = saved;
  return 0;
}

int mp_open_append(const char *path) {
  int descriptor, cancellation = mp_cancellation_off();
  do descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  while (descriptor < 0 && errno == EINTR);
  mp_cancellation_back(cancellation);
  return descriptor;
}

void mp_close(int descriptor) {
  int saved = errno, cancellation = mp_cancellation_off();
  close(descriptor);
  mp_cancellation_back(cancellation);
  errno = saved;
}

mp_word mp_process_id(void) { return (mp_word)getpid(); }

// A number that programs do not count on and shells do not use.
enum { KEPT_FROM = 300 };
static int kept = STDERR_FILENO;
static struct stat kept_file;

void mp_error_output_keep(void) {
  int saved = errno;
  if (!fstat(STDERR_FILENO, &kept_file)) {
    int descriptor = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, KEPT_FROM);
    if (descriptor >= 0) kept = descriptor;
  }
  errno = saved;
}

int mp_error_output_kept(void) {
  // Daemons close every number there is, and what is opened later must not get our lines.
  struct stat now;
  int saved = errno;
  int same = kept != STDERR_FILENO && !fstat(kept, &now) && now.st_dev == kept_file.st_dev && now.st_ino == kept_file.st_ino;
  errno = saved;
  return same ? kept : STDERR_FILENO;
}
