// Row 10: what it takes to load a shared library and to unload it.
#include <dlfcn.h>

#include "contender.h"

static void test_load(void) {
  uint64_t count = argument("count"), loaded = 0;
  const char *path = argument_values[argument_count - 1];
  uint64_t began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fail(dlerror());
    loaded++;
    if (dlclose(library) != 0) fail(dlerror());
  }
  uint64_t took = cpu_ns() - began;
  // A library that cannot be unloaded would be loaded only once.
  if (dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL) fail("it stays loaded");
  report("work", (double)loaded);
  report("ns", (double)took / (double)count);
}

int main(int argc, char **argv) {
  static const struct test tests[] = {{"load", test_load}, {NULL, NULL}};
  return run_test(argc, argv, tests);
}
