// The functions that take a format. Swift cannot declare them; what they call is Swift again.
#include "internal.h"

#include <string.h>

#define WITH_ARGUMENTS(result, call) \
  va_list arguments;                 \
  va_start(arguments, format);       \
  result call;                       \
  va_end(arguments)

// A string of no name yet; NULL when there is no memory or the format is none.
static char *formatted(const void *context, const char *format, va_list arguments) {
  char text[1024];
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(text, sizeof text, format, again);
  va_end(again);
  if (length < 0) return NULL;
  char *string = _talloc(context, (size_t)length + 1);
  if (!string) return NULL;
  if ((size_t)length < sizeof text) memcpy(string, text, (size_t)length + 1);
  else vsnprintf(string, (size_t)length + 1, format, arguments);
  return string;
}

// A string is its own name.
char *mempool_talloc_format(const void *context, const char *format, va_list arguments) {
  char *string = formatted(context, format, arguments);
  if (string) talloc_set_name_const(string, string);
  return string;
}

char *talloc_vasprintf(const void *context, const char *format, va_list arguments) {
  return mempool_talloc_format(context, format, arguments);
}

char *talloc_asprintf(const void *context, const char *format, ...) {
  WITH_ARGUMENTS(char *string =, mempool_talloc_format(context, format, arguments));
  return string;
}

// Appends at `length`. Nothing to append, or a format that is none: the string as it is. No memory: NULL, and the string is as it was.
static char *append(char *string, size_t length, const char *format, va_list arguments) {
  char one;
  va_list again;
  va_copy(again, arguments);
  int count = vsnprintf(&one, 1, format, again);
  va_end(again);
  if (count <= 0) return string;
  string = _talloc_realloc(NULL, string, length + (size_t)count + 1, "char");
  if (!string) return NULL;
  vsnprintf(string + length, (size_t)count + 1, format, arguments);
  talloc_set_name_const(string, string);
  return string;
}

static char *append_text(char *string, const char *format, va_list arguments) {
  return string ? append(string, strlen(string), format, arguments) : mempool_talloc_format(NULL, format, arguments);
}

static char *append_buffer(char *string, const char *format, va_list arguments) {
  if (!string) return mempool_talloc_format(NULL, format, arguments);
  size_t length = talloc_get_size(string);
  return append(string, length > 0 ? length - 1 : 0, format, arguments);
}

char *talloc_vasprintf_append(char *string, const char *format, va_list arguments) {
  return append_text(string, format, arguments);
}

char *talloc_vasprintf_append_buffer(char *string, const char *format, va_list arguments) {
  return append_buffer(string, format, arguments);
}

char *talloc_asprintf_append(char *string, const char *format, ...) {
  WITH_ARGUMENTS(string =, append_text(string, format, arguments));
  return string;
}

char *talloc_asprintf_append_buffer(char *string, const char *format, ...) {
  WITH_ARGUMENTS(string =, append_buffer(string, format, arguments));
  return string;
}

void talloc_asprintf_addbuf(char **place, const char *format, ...) {
  char *string = *place;
  if (!string) return;
  WITH_ARGUMENTS(char *longer =, append_buffer(string, format, arguments));
  if (!longer) _talloc_free(string, "../../talloc.c:2771");
  *place = longer;
}

// A name is a child, whose own name says what it is.
static const char *set_name(const void *pointer, const char *format, va_list arguments) {
  char *name = formatted(pointer, format, arguments);
  talloc_set_name_const(pointer, name);
  if (name) talloc_set_name_const(name, ".name");
  return name;
}

const char *talloc_set_name(const void *pointer, const char *format, ...) {
  WITH_ARGUMENTS(const char *name =, set_name(pointer, format, arguments));
  return name;
}

static void *named(const void *context, size_t size, const char *format, va_list arguments) {
  void *pointer = _talloc(context, size);
  if (pointer && !set_name(pointer, format, arguments)) {
    _talloc_free(pointer, "../../talloc.c:1550");
    return NULL;
  }
  return pointer;
}

void *talloc_named(const void *context, size_t size, const char *format, ...) {
  WITH_ARGUMENTS(void *pointer =, named(context, size, format, arguments));
  return pointer;
}

void *talloc_init(const char *format, ...) {
  WITH_ARGUMENTS(void *pointer =, named(NULL, 0, format, arguments));
  return pointer;
}
