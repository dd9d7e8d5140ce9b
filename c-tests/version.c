// The version of the loaded library is that of the header.
#define _GNU_SOURCE
#include "check.h"

static void the_library_has_the_headers_version(void) {
  char expected[64];
  snprintf(expected, sizeof expected, "%d.%d.%d", MJ_VERSION_MAJOR, MJ_VERSION_MINOR,
           MJ_VERSION_PATCH);
  CHECK_STR(mj_version(), expected);
  // A constant: the same string each time.
  CHECK_PTR(mj_version(), ==, mj_version());
}

int main(void) {
  RUN(the_library_has_the_headers_version);
  return 0;
}
