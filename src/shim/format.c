// A fast path for the most common messages, text and plain conversions, with a quarter of the
// instructions that vsnprintf takes. It may give up at any point: vsnprintf formats all others.
//
// A program that redefines %d and the like by register_printf_specifier is not supported.
#define _GNU_SOURCE  // for strchrnul
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "shim.h"

// The longest ones: 20 digits, or a sign and 19, or 0x and 16.
enum { NUMBER_BYTES = 20 };

// Writes a number that ends at `end`, and returns its start. Inline, so that the base is a constant,
// since division by a variable is slow.
static inline char *write_number(char *end, unsigned long value, unsigned base) {
  do *--end = "0123456789abcdef"[value % base];
  while ((value /= base) != 0);
  return end;
}

// Formats the format's next piece, a conversion or the text before one. Returns the text, or NULL if it
// needs vsnprintf. A number is written in front of `end`.
static const char *next_piece(const char **format, va_list *arguments, char *end, size_t *length) {
  const char *at = *format;
  if (*at != '%') {
    *format = strchrnul(at, '%');
    *length = (size_t)(*format - at);
    return at;
  }
  bool is_long = *++at == 'l' || *at == 'z';
  if (is_long) {
    at += at[0] == 'l' && at[1] == 'l' ? 2 : 1;  // long long is not longer than long here.
    if (*at == '\0' || strchr("diux", *at) == NULL) return NULL;
  }
  *format = at + 1;
  char *start = end;
  switch (*at) {
    case 'd':
    case 'i': {
      long value = is_long ? va_arg(*arguments, long) : va_arg(*arguments, int);
      // The least value has no opposite among those with a sign.
      start = write_number(end, value < 0 ? 0 - (unsigned long)value : (unsigned long)value, 10);
      if (value < 0) *--start = '-';
      break;
    }
    case 'u':
    case 'x': {
      unsigned long value = is_long ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned);
      start = *at == 'u' ? write_number(end, value, 10) : write_number(end, value, 16);
      break;
    }
    case 'p': {
      void *address = va_arg(*arguments, void *);
      if (address == NULL) return NULL;
      start = write_number(end, (unsigned long)address, 16);
      *--start = 'x';
      *--start = '0';
      break;
    }
    case 's': {
      const char *string = va_arg(*arguments, const char *);
      *length = string != NULL ? strlen(string) : 0;
      return string;
    }
    case 'c':
    case '%':
      *--start = *at == 'c' ? (char)va_arg(*arguments, int) : '%';
      break;
    default:
      return NULL;
  }
  *length = (size_t)(end - start);
  return start;
}

int majjen_shim_format(char *text, size_t room, const char *format, va_list arguments) {
  char number[NUMBER_BYTES];
  size_t length = 0;
  bool known = true;
  va_list copy;  // The arguments stay as they are, for vsnprintf.
  va_copy(copy, arguments);
  while (known && *format != '\0') {
    size_t bytes = 0;
    const char *piece = next_piece(&format, &copy, number + NUMBER_BYTES, &bytes);
    known = piece != NULL && bytes < room - length;
    if (known) {
      memcpy(text + length, piece, bytes);
      length += bytes;
    }
  }
  va_end(copy);
  text[length] = '\0';
  return known ? (int)length : -1;
}
