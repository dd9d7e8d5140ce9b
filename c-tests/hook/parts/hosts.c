// A program that knows nothing of Majjen, and opens a plugin that does: hosts PLUGIN FLAGS SUSPENSIONS, with how
// it is opened, and how many of the plugin's calls are to suspend their task.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  int flags = strcmp(argv[2], "deep") == 0 ? RTLD_DEEPBIND : 0;
  void* plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | flags);
  if (plugin == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  void (*run_in_plugin)(void);
  *(void**)&run_in_plugin = dlsym(plugin, "run_in_plugin");
  unsigned* expected = (unsigned*)dlsym(plugin, "expected_suspensions");
  if (run_in_plugin == NULL || expected == NULL) return 3;
  *expected = (unsigned)atoi(argv[3]);
  run_in_plugin();
  return 0;
}
