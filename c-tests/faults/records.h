// The scenario of records: MAJJEN_TRACE asks for one, the run's end writes it to a file, and the program makes it
// larger and writes it too. A record that cannot be had changes nothing else.
#ifndef RECORDS_H
#define RECORDS_H

// The variable with its value, which is empty else: it is in the environment from the beginning, where that takes
// no memory that would be counted.
static char no_records[] = "MAJJEN_TRACE=", records_asked[64];
static char* const trace_file = records_asked + sizeof no_records - 1;

static void ask_for_records(mj_scheduler* unused) {
  (void)unused;
  snprintf(records_asked, sizeof records_asked, "%s/tmp/majjen-records-XXXXXX", no_records);
  CHECK_INT(close(mkstemp(trace_file)), ==, 0);
  CHECK_INT(putenv(records_asked), ==, 0);
}

static void run_recorded(mj_scheduler* scheduler) {
  for (int i = 0; i < 100; i++) spawn(scheduler, yields, 0);
  run(scheduler);
  CHECK_ALLOWED(mj_scheduler_trace(scheduler, 1 << 17));
  spawn(scheduler, yields, 0);
  run(scheduler);
  CHECK_ALLOWED(mj_scheduler_write_trace(scheduler, nowhere));
}

static void record_and_write(mj_scheduler** scheduler) {
  if (fault.call == OPEN) fault.harmless = false;  // There is no other file to write to.
  mj_scheduler_destroy(*scheduler);
  *scheduler = mj_scheduler_create();
  if (*scheduler == NULL) CHECK_ALLOWED(-errno);
  else run_recorded(*scheduler);
  CHECK_INT(putenv(no_records), ==, 0);
}

static void remove_records(void) {
  CHECK_INT(unlink(trace_file), ==, 0);
  strcat(trace_file, ".2");  // That of the second scheduler.
  if (unlink(trace_file) != 0) CHECK(errno == ENOENT && fault.failed > 0);
}

#endif  // RECORDS_H
