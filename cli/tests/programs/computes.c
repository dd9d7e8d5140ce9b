// A task that computes for a minute, once it is recorded.
#define _GNU_SOURCE
#include <majjen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_recorded(mj_scheduler *scheduler) {
  char *text = NULL;
  size_t bytes = 0;
  FILE *stream = open_memstream(&text, &bytes);
  mj_scheduler_write_trace(scheduler, stream);
  fclose(stream);
  int is = strstr(text, "\"runs\"") != NULL;
  free(text);
  return is;
}

static void compute(void *scheduler) {
  mj_task_set_name(mj_task_current(), "computer");
  puts("ready");
  fflush(stdout);
  while (!is_recorded(scheduler)) mj_sleep_ns(1000000);
  for (volatile long i = 0;; i++) {
  }
}

int main(void) {
  alarm(60);
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler *scheduler = mj_scheduler_create();
  mj_go(scheduler, compute, scheduler, NULL);
  mj_scheduler_run(scheduler);
  return 0;
}
