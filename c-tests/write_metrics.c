// The metrics as text, for Prometheus and as JSON: what is written, and how it is truncated.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <ctype.h>
#include <poll.h>
#include <sys/wait.h>

// ---- The fields, and their names ----

enum { no_unit, nanoseconds };

// All fields, with their names in JSON and for Prometheus.
static const struct {
  const char* json;
  const char* prometheus;
  const char* kind;
  size_t offset;
  int unit;
} fields[] = {
#define FIELD(name, prometheus, kind, unit) \
  {#name, "majjen_" prometheus, kind, offsetof(mj_metrics, name), unit}
    FIELD(task_executions, "task_executions_total", "counter", no_unit),
    FIELD(total_execution_time_ns, "execution_time_seconds_total", "counter", nanoseconds),
    FIELD(min_execution_time_ns, "min_execution_time_seconds", "gauge", nanoseconds),
    FIELD(max_execution_time_ns, "max_execution_time_seconds", "gauge", nanoseconds),
    FIELD(scheduler_loops, "scheduler_loops_total", "counter", no_unit),
    FIELD(total_loop_time_ns, "loop_time_seconds_total", "counter", nanoseconds),
    FIELD(timer_expirations, "timer_expirations_total", "counter", no_unit),
    FIELD(timer_cancellations, "timer_cancellations_total", "counter", no_unit),
    FIELD(wait_calls, "wait_calls_total", "counter", no_unit),
    FIELD(total_wait_time_ns, "wait_time_seconds_total", "counter", nanoseconds),
    FIELD(io_events, "io_events_total", "counter", no_unit),
    FIELD(tasks_created, "tasks_created_total", "counter", no_unit),
    FIELD(tasks_exited, "tasks_exited_total", "counter", no_unit),
    FIELD(current_tasks, "current_tasks", "gauge", no_unit),
    FIELD(peak_tasks, "peak_tasks", "gauge", no_unit),
    FIELD(heap_operations, "heap_operations_total", "counter", no_unit),
    FIELD(memory_allocated_bytes, "memory_allocated_bytes", "gauge", no_unit),
    FIELD(long_turns, "long_turns_total", "counter", no_unit),
#undef FIELD
};
enum { field_count = sizeof fields / sizeof fields[0] };

static uint64_t field_of(const mj_metrics* metrics, size_t index) {
  uint64_t value;
  memcpy(&value, (const char*)metrics + fields[index].offset, sizeof value);
  return value;
}

// The distributions. The order of the values is that of p50, p99 and max.
static const char* const distributions[] = {"task_run_time_ns", "timer_lateness_ns", "loop_delay_ns",
                                            "ready_delay_ns", "offload_delay_ns"};
static const char* const quantiles[] = {"p50", "p99", "max"};
// For Prometheus the first ones are gauges, and the others histograms.
enum { gauge_count = 2, distribution_count = 5, quantile_count = 3 };

typedef struct histogram {
  uint64_t count, below_1_ms, sum_ns;
  size_t buckets;
} histogram;
enum { histogram_count = distribution_count - gauge_count };

// The values read from one of the three formats.
typedef struct reading {
  uint64_t fields[field_count];
  uint64_t distributions[distribution_count][quantile_count];
  histogram histograms[histogram_count];
} reading;

// ---- Writing ----

// The whole text, to be freed by the caller.
static char* written(mj_scheduler* scheduler, mj_metrics_format format) {
  char* text = allocate(65536);
  int length = mj_scheduler_write_metrics(scheduler, text, 65536, format);
  CHECK_INT(length, >, 0);
  CHECK_INT(length, <, 65536);
  CHECK_UINT(strlen(text), ==, length);
  CHECK_INT(text[length - 1], ==, '\n');
  return text;
}

static char* printed(mj_scheduler* scheduler) {
  char* text = NULL;
  size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  CHECK(stream != NULL);
  mj_scheduler_print_metrics(scheduler, stream);
  fclose(stream);
  return text;
}

// ---- A strict JSON parser for what may occur here: objects of whole numbers ----

static const char* json_next;

static void json_take(char expected) {
  CHECK_INT(*json_next, ==, expected);
  json_next++;
}

static void json_spaces(void) {
  while (*json_next == ' ' || *json_next == '\n') json_next++;
}

static void json_name(char name[64]) {
  json_take('"');
  size_t length = 0;
  while (*json_next != '"') {
    // No character that would need an escape.
    CHECK(islower((unsigned char)*json_next) || isdigit((unsigned char)*json_next) ||
          *json_next == '_');
    CHECK_UINT(length, <, 63);
    name[length++] = *json_next++;
  }
  name[length] = '\0';
  json_take('"');
  json_spaces();
  json_take(':');
  json_spaces();
}

static uint64_t json_number(void) {
  CHECK(isdigit((unsigned char)*json_next));
  // A number does not begin with 0, unless it is 0.
  if (*json_next == '0') CHECK(!isdigit((unsigned char)json_next[1]));
  char* end = NULL;
  errno = 0;
  uint64_t number = strtoull(json_next, &end, 10);
  CHECK_INT(errno, ==, 0);
  json_next = end;
  return number;
}

// Whether another member follows; otherwise the object ends here.
static bool json_more(void) {
  json_spaces();
  if (*json_next == '}') {
    json_next++;
    return false;
  }
  json_take(',');
  json_spaces();
  return true;
}

static reading read_json(const char* text) {
  reading result;
  bool seen_fields[field_count] = {false};
  bool seen[distribution_count][quantile_count] = {{false}};
  json_next = text;
  json_take('{');
  json_spaces();
  do {
    char name[64];
    json_name(name);
    if (*json_next == '{') {
      size_t i = 0;
      while (i < distribution_count && strcmp(name, distributions[i]) != 0) i++;
      CHECK_UINT(i, <, distribution_count);
      json_take('{');
      json_spaces();
      do {
        json_name(name);
        size_t j = 0;
        while (j < quantile_count && strcmp(name, quantiles[j]) != 0) j++;
        CHECK_UINT(j, <, quantile_count);
        CHECK(!seen[i][j]);
        seen[i][j] = true;
        result.distributions[i][j] = json_number();
      } while (json_more());
      continue;
    }
    size_t i = 0;
    while (i < field_count && strcmp(name, fields[i].json) != 0) i++;
    if (i == field_count) fprintf(stderr, "unknown name: %s\n", name);
    CHECK_UINT(i, <, field_count);
    CHECK(!seen_fields[i]);
    seen_fields[i] = true;
    result.fields[i] = json_number();
  } while (json_more());
  CHECK_STR(json_next, "\n");
  for (size_t i = 0; i < field_count; i++) CHECK(seen_fields[i]);
  for (size_t i = 0; i < distribution_count; i++) {
    for (size_t j = 0; j < quantile_count; j++) CHECK(seen[i][j]);
  }
  return result;
}

// ---- A strict parser of Prometheus' text format ----

// Copies one line without its end, and advances to the next one.
static void next_line(const char** text, char line[256]) {
  const char* end = strchr(*text, '\n');
  CHECK(end != NULL);
  size_t length = (size_t)(end - *text);
  CHECK_UINT(length, <, 256);
  memcpy(line, *text, length);
  line[length] = '\0';
  *text = end + 1;
}

// Parses a decimal number of seconds, into nanoseconds.
static uint64_t parse_seconds(const char* text) {
  char* end = NULL;
  errno = 0;
  uint64_t seconds = strtoull(text, &end, 10);
  CHECK_INT(*end, ==, '.');
  uint64_t fraction = 0;
  size_t digits = strspn(end + 1, "0123456789");
  CHECK_UINT(digits, ==, 9);
  CHECK_INT(end[10], ==, '\0');
  fraction = strtoull(end + 1, NULL, 10);
  CHECK_INT(errno, ==, 0);
  return seconds * 1000000000 + fraction;
}

static uint64_t parse_number(const char* text) {
  char* end = NULL;
  errno = 0;
  uint64_t number = strtoull(text, &end, 10);
  CHECK_INT(errno, ==, 0);
  CHECK_INT(*end, ==, '\0');
  return number;
}

// The rest of a line after the expected beginning.
static const char* behind(char* line, const char* expected) {
  size_t length = strlen(expected);
  CHECK_UINT(strlen(line), >=, length);
  char kept = line[length];
  line[length] = '\0';
  CHECK_STR(line, expected);
  line[length] = kept;
  return line + length;
}

// Reads one metric: its help, its type, and one sample, in this order and with the same name.
static uint64_t read_sample(const char** text, const char* name, const char* kind, int unit) {
  char line[256], expected[256];
  next_line(text, line);
  snprintf(expected, sizeof expected, "# HELP %s ", name);
  CHECK_INT(*behind(line, expected), !=, '\0');
  next_line(text, line);
  snprintf(expected, sizeof expected, "# TYPE %s %s", name, kind);
  CHECK_STR(line, expected);
  next_line(text, line);
  snprintf(expected, sizeof expected, "%s ", name);
  const char* value = behind(line, expected);
  CHECK(isdigit((unsigned char)*value));
  return unit == nanoseconds ? parse_seconds(value) : parse_number(value);
}

// Reads a histogram: its help, its type, its buckets, each of which has those before it, its sum and its count.
static histogram read_histogram(const char** text, size_t index) {
  static const char* const stems[] = {"loop_delay", "ready_delay", "offload_delay"};
  char line[256], expected[256];
  next_line(text, line);
  snprintf(expected, sizeof expected, "# HELP majjen_%s_seconds ", stems[index]);
  CHECK_INT(*behind(line, expected), !=, '\0');
  next_line(text, line);
  snprintf(expected, sizeof expected, "# TYPE majjen_%s_seconds histogram", stems[index]);
  CHECK_STR(line, expected);
  histogram result = {0};
  uint64_t bound = 0;
  for (bool is_last = false; !is_last;) {
    next_line(text, line);
    snprintf(expected, sizeof expected, "majjen_%s_seconds_bucket{le=\"", stems[index]);
    char* le = (char*)behind(line, expected);
    char* end = strchr(le, '"');
    CHECK(end != NULL);
    *end = '\0';
    is_last = strcmp(le, "+Inf") == 0;
    uint64_t next = is_last ? UINT64_MAX : parse_seconds(le);
    CHECK_UINT(next, >, bound);
    bound = next;
    uint64_t count = parse_number(behind(end + 1, "} "));
    CHECK_UINT(count, >=, result.count);
    // Those that are longer than the bound of a bucket are not in it.
    if (bound < 1000000) result.below_1_ms = count;
    result.count = count;
    CHECK_UINT(result.buckets++, <, 20);
  }
  next_line(text, line);
  snprintf(expected, sizeof expected, "majjen_%s_seconds_sum ", stems[index]);
  result.sum_ns = parse_seconds(behind(line, expected));
  next_line(text, line);
  snprintf(expected, sizeof expected, "majjen_%s_seconds_count ", stems[index]);
  CHECK_UINT(parse_number(behind(line, expected)), ==, result.count);
  return result;
}

static reading read_prometheus(const char* text) {
  reading result;
  for (size_t i = 0; i < field_count; i++) {
    result.fields[i] =
        read_sample(&text, fields[i].prometheus, fields[i].kind, fields[i].unit);
  }
  static const char* const stems[] = {"task_run_time", "timer_lateness"};
  for (size_t i = 0; i < gauge_count; i++) {
    for (size_t j = 0; j < quantile_count; j++) {
      char name[64];
      snprintf(name, sizeof name, "majjen_%s_%s_seconds", stems[i], quantiles[j]);
      result.distributions[i][j] = read_sample(&text, name, "gauge", nanoseconds);
    }
  }
  for (size_t i = 0; i < histogram_count; i++) result.histograms[i] = read_histogram(&text, i);
  CHECK_STR(text, "");
  return result;
}

// ---- The text after the printed block ----

static void read_distributions(const char* text, reading* result) {
  static const char* const titles[] = {"Task run time", "Timer lateness", "Loop delay", "Ready delay",
                                       "Offload delay"};
  for (size_t i = 0; i < distribution_count; i++) {
    char line[256], expected[256];
    next_line(&text, line);
    unsigned long long p50, p99, max;
    snprintf(expected, sizeof expected, "%s: p50 %%llu ns, p99 %%llu ns, max %%llu ns", titles[i]);
    CHECK_INT(sscanf(line, expected, &p50, &p99, &max), ==, 3);
    snprintf(expected, sizeof expected, "%s: p50 %llu ns, p99 %llu ns, max %llu ns", titles[i],
             p50, p99, max);
    CHECK_STR(line, expected);
    result->distributions[i][0] = p50;
    result->distributions[i][1] = p99;
    result->distributions[i][2] = max;
  }
  CHECK_STR(text, "");
}

// ---- Workloads ----

static void spin(uint64_t span_ns) {
  for (uint64_t start = now_ns(); now_ns() - start < span_ns;) {
  }
}

static int channel[2];
static int done;

static void does_a_bit_of_everything(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  spin(300000);
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  CHECK_INT(mj_task_wait_fd(channel[1], POLLOUT, 1000000000), ==, POLLOUT);
  CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, 1000), ==, -ETIMEDOUT);
  done++;
  mj_task_exit();
}

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(UINT64_C(1000000000000));
  mj_task_exit();
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  do {
    CHECK_INT(mj_sleep_ns(5000000), ==, 0);
  } while (done < 3);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

// A scheduler whose counters are all above 0.
static mj_scheduler* busy_scheduler(void) {
  CHECK_INT(pipe(channel), ==, 0);
  done = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) add_task(scheduler, does_a_bit_of_everything, NULL);
  for (int i = 0; i < 2; i++) add_task(scheduler, sleeps_long, NULL);
  add_task(scheduler, stops, NULL);
  mj_scheduler_run(scheduler);
  close(channel[0]);
  close(channel[1]);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  const char* test = check_running;
  for (size_t i = 0; i < field_count; i++) {
    check_running = fields[i].json;
    // The shortest execution may be shorter than one clock tick, and turns that are long are counted
    // only where they are reported.
    bool may_be_0 = fields[i].offset == offsetof(mj_metrics, min_execution_time_ns) ||
                    fields[i].offset == offsetof(mj_metrics, long_turns);
    CHECK_UINT(field_of(metrics, i), >=, may_be_0 ? 0 : 1);
  }
  check_running = test;
  return scheduler;
}

// ---- Lengths ----

static void check_lengths(mj_scheduler* scheduler, mj_metrics_format format) {
  char* whole = written(scheduler, format);
  size_t length = strlen(whole);
  CHECK_INT(mj_scheduler_write_metrics(scheduler, NULL, 0, format), ==, length);
  char* buffer = allocate(length + 64);
  for (size_t bytes = 0; bytes <= length + 8; bytes++) {
    // Most sizes in the middle are skipped.
    if (bytes > 40 && bytes + 8 < length && bytes % times(7, 101) != 0) continue;
    memset(buffer, '#', length + 64);
    CHECK_INT(mj_scheduler_write_metrics(scheduler, buffer, bytes, format), ==, length);
    if (bytes > 0) {
      size_t fits = bytes - 1 < length ? bytes - 1 : length;
      CHECK_INT(memcmp(buffer, whole, fits), ==, 0);
      CHECK_INT(buffer[fits], ==, '\0');
    }
    for (size_t i = bytes; i < length + 64; i++) CHECK_INT(buffer[i], ==, '#');
  }
  free(buffer);
  free(whole);
}

static void the_text_is_cut_as_by_snprintf(void) {
  // Nothing has run, so every text is the same each time.
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 12; i++) add_task(scheduler, sleeps_long, NULL);
  check_lengths(scheduler, MJ_METRICS_TEXT);
  check_lengths(scheduler, MJ_METRICS_PROMETHEUS);
  check_lengths(scheduler, MJ_METRICS_JSON);
  mj_scheduler_destroy(scheduler);
}

static void misuse_is_an_error(void) {
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  char buffer[64];
  memset(buffer, '#', sizeof buffer);
  static const int formats[] = {MJ_METRICS_TEXT, MJ_METRICS_PROMETHEUS, MJ_METRICS_JSON};
  for (size_t i = 0; i < 3; i++) {
    mj_metrics_format format = (mj_metrics_format)formats[i];
    CHECK_INT(mj_scheduler_write_metrics(NULL, buffer, sizeof buffer, format), ==, -EINVAL);
    CHECK_INT(mj_scheduler_write_metrics(NULL, NULL, 0, format), ==, -EINVAL);
    CHECK_INT(mj_scheduler_write_metrics(scheduler, NULL, 1, format), ==, -EINVAL);
    CHECK_INT(mj_scheduler_write_metrics(scheduler, NULL, SIZE_MAX, format), ==, -EINVAL);
    CHECK_INT(mj_scheduler_write_metrics(scheduler, buffer, 0, format), >, 0);
  }
  static const int unknown[] = {3, 4, 42, -1, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
    mj_metrics_format format = (mj_metrics_format)unknown[i];
    CHECK_INT(mj_scheduler_write_metrics(scheduler, buffer, sizeof buffer, format), ==, -EINVAL);
    CHECK_INT(mj_scheduler_write_metrics(scheduler, NULL, 0, format), ==, -EINVAL);
  }
  for (size_t i = 0; i < sizeof buffer; i++) CHECK_INT(buffer[i], ==, '#');
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- The three formats ----

static void check_all_formats(mj_scheduler* scheduler) {
  const char* test = check_running;
  char* text = written(scheduler, MJ_METRICS_JSON);
  reading json = read_json(text);
  // The call has updated the public counters, and the text shows them.
  for (size_t i = 0; i < field_count; i++) {
    check_running = fields[i].json;
    CHECK_UINT(json.fields[i], ==, field_of(&scheduler->metrics, i));
  }
  free(text);

  text = written(scheduler, MJ_METRICS_PROMETHEUS);
  reading prometheus = read_prometheus(text);
  for (size_t i = 0; i < field_count; i++) {
    check_running = fields[i].prometheus;
    CHECK_UINT(prometheus.fields[i], ==, field_of(&scheduler->metrics, i));
  }
  free(text);

  text = written(scheduler, MJ_METRICS_TEXT);
  reading last = json;
  static const char end_of_block[] = "================================\n\n";
  const char* end = strstr(text, end_of_block);
  CHECK(end != NULL);
  read_distributions(end + strlen(end_of_block), &last);
  free(text);

  for (size_t i = 0; i < distribution_count; i++) {
    for (size_t j = 0; j < quantile_count; j++) {
      check_running = distributions[i];
      // Execution times are converted anew for each text, and may differ a little.
      uint64_t tolerance = i == 0 ? json.distributions[i][j] / 1000 + 2 : 0;
      uint64_t expected = json.distributions[i][j];
      if (i < gauge_count) {
        CHECK_UINT(prometheus.distributions[i][j], <=, expected + tolerance);
        CHECK_UINT(prometheus.distributions[i][j] + tolerance, >=, expected);
      }
      CHECK_UINT(last.distributions[i][j], <=, expected + tolerance);
      CHECK_UINT(last.distributions[i][j] + tolerance, >=, expected);
      if (j > 0) CHECK_UINT(json.distributions[i][j - 1], <=, json.distributions[i][j]);
    }
  }
  check_running = test;
}

static void all_formats_say_the_same(void) {
  mj_scheduler* scheduler = new_scheduler();
  check_all_formats(scheduler);
  char* text = written(scheduler, MJ_METRICS_JSON);
  reading fresh = read_json(text);
  free(text);
  CHECK_UINT(fresh.fields[0], ==, 0);
  for (size_t i = 0; i < distribution_count; i++) {
    for (size_t j = 0; j < quantile_count; j++) CHECK_UINT(fresh.distributions[i][j], ==, 0);
  }
  mj_scheduler_destroy(scheduler);

  scheduler = busy_scheduler();
  check_all_formats(scheduler);
  mj_scheduler_reset_metrics(scheduler);
  check_all_formats(scheduler);
  text = written(scheduler, MJ_METRICS_JSON);
  reading reset = read_json(text);
  free(text);
  for (size_t i = 0; i < distribution_count; i++) {
    for (size_t j = 0; j < quantile_count; j++) CHECK_UINT(reset.distributions[i][j], ==, 0);
  }
  mj_scheduler_destroy(scheduler);
}

static bool written_within;

static void writes_its_metrics(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    check_all_formats(scheduler);
    CHECK_INT(mj_sleep_ns(1000), ==, 0);
  }
  written_within = true;
  mj_task_exit();
}

static void a_task_may_write_them(void) {
  written_within = false;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, writes_its_metrics, NULL);
  mj_scheduler_run(scheduler);
  CHECK(written_within);
  mj_scheduler_destroy(scheduler);
}

// Prometheus' own tool, which also checks the naming rules.
static void prometheus_takes_its_format(void) {
  if (system("promtool --version >/dev/null 2>&1") != 0) {
    printf("skipped: promtool, of Debian's prometheus, is not installed\n");
    return;
  }
  mj_scheduler* scheduler = busy_scheduler();
  char* text = written(scheduler, MJ_METRICS_PROMETHEUS);
  fflush(NULL);
  FILE* promtool = popen("promtool check metrics", "w");
  CHECK(promtool != NULL);
  CHECK_UINT(fwrite(text, 1, strlen(text), promtool), ==, strlen(text));
  int status = pclose(promtool);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
  free(text);
  mj_scheduler_destroy(scheduler);
}

// ---- Names of schedulers ----

// Takes the label out of each sample, of which there must be one in each.
static char* without_label(const char* text, const char* label) {
  char* plain = allocate(strlen(text) + 1);
  plain[0] = '\0';
  for (const char* next = text; *next != '\0';) {
    char line[256];
    next_line(&next, line);
    char* found = strstr(line, label);
    if (strstr(line, "_bucket{") != NULL) {
      // There is one more, behind it.
      char inner[128];
      snprintf(inner, sizeof inner, "%s", label + 1);
      inner[strlen(inner) - 1] = ',';
      CHECK(found == NULL);
      found = strstr(line, inner);
      CHECK(found != NULL && found[-1] == '{');
      memmove(found, found + strlen(inner), strlen(found + strlen(inner)) + 1);
    } else if (line[0] == '#') {
      CHECK(found == NULL);
    } else {
      CHECK(found != NULL);
      memmove(found, found + strlen(label), strlen(found + strlen(label)) + 1);
      CHECK(strchr(line, '{') == NULL);
    }
    strcat(strcat(plain, line), "\n");
  }
  return plain;
}

static void check_label(mj_scheduler* scheduler, const char* label, const char* in_json) {
  char* text = written(scheduler, MJ_METRICS_PROMETHEUS);
  char* plain = without_label(text, label);
  reading prometheus = read_prometheus(plain);
  free(plain);
  free(text);
  text = written(scheduler, MJ_METRICS_JSON);
  // The name comes first, and then what is there without it.
  CHECK(strncmp(text, in_json, strlen(in_json)) == 0);
  text[strlen(in_json) - 1] = '{';
  reading json = read_json(text + strlen(in_json) - 1);
  free(text);
  CHECK_INT(memcmp(prometheus.fields, json.fields, sizeof json.fields), ==, 0);
  // Also by a handle, where there are the counters alone.
  mj_remote* remote = mj_scheduler_remote(scheduler);
  char remote_text[16384];
  CHECK_INT(mj_remote_write_metrics(remote, remote_text, sizeof remote_text, MJ_METRICS_PROMETHEUS), >, 0);
  free(without_label(remote_text, label));
  mj_remote_release(remote);
}

static void a_name_is_a_label(void) {
  static const struct {
    const char *name, *label, *json;
  } names[] = {
      {"front", "{scheduler=\"front\"}", "{\"scheduler\":\"front\","},
      {"a \"b\" c\\d", "{scheduler=\"a \\\"b\\\" c\\\\d\"}",
       "{\"scheduler\":\"a \\\"b\\\" c\\\\d\","},
      {"two\nlines", "{scheduler=\"two\\nlines\"}", "{\"scheduler\":\"two\\nlines\","},
      {"a\tb", "{scheduler=\"a\tb\"}", "{\"scheduler\":\"a\\u0009b\","},
      {"0123456789012345678901\xc3\xa4", "{scheduler=\"0123456789012345678901\"}",
       "{\"scheduler\":\"0123456789012345678901\","},
      {"not \xff UTF-8", "{scheduler=\"not \xef\xbf\xbd UTF-8\"}",
       "{\"scheduler\":\"not \xef\xbf\xbd UTF-8\","},
  };
  mj_scheduler* scheduler = busy_scheduler();
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    CHECK_INT(mj_scheduler_set_name(scheduler, names[i].name), ==, 0);
    check_label(scheduler, names[i].label, names[i].json);
  }
  CHECK_INT(mj_scheduler_set_name(scheduler, NULL), ==, -EINVAL);
  CHECK_INT(mj_scheduler_set_name(scheduler, ""), ==, 0);
  check_all_formats(scheduler);
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_scheduler_set_name(NULL, "x"), ==, -EINVAL));
  log_lines_end();
  mj_scheduler_destroy(scheduler);
}

// Of the second one only the samples: what a metric is stands there once.
static void two_schedulers_are_on_one_page(void) {
  if (system("promtool --version >/dev/null 2>&1") != 0) {
    printf("skipped: promtool, of Debian's prometheus, is not installed\n");
    return;
  }
  fflush(NULL);
  FILE* promtool = popen("promtool check metrics", "w");
  CHECK(promtool != NULL);
  static const char* const names[] = {"front", "the \"back\"\\\n"};
  for (int i = 0; i < 2; i++) {
    mj_scheduler* scheduler = busy_scheduler();
    CHECK_INT(mj_scheduler_set_name(scheduler, names[i]), ==, 0);
    char* text = written(scheduler, MJ_METRICS_PROMETHEUS);
    for (const char* next = text; *next != '\0';) {
      char line[256];
      next_line(&next, line);
      if (i == 0 || line[0] != '#') CHECK_INT(fprintf(promtool, "%s\n", line), >, 0);
    }
    free(text);
    mj_scheduler_destroy(scheduler);
  }
  int status = pclose(promtool);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
}

// ---- Delays ----

enum { of_loop, of_ready, of_jobs };

static reading prometheus_of(mj_scheduler* scheduler) {
  char* text = written(scheduler, MJ_METRICS_PROMETHEUS);
  reading result = read_prometheus(text);
  free(text);
  return result;
}

static uint64_t longest(mj_scheduler* scheduler, size_t delay) {
  char* text = written(scheduler, MJ_METRICS_JSON);
  reading json = read_json(text);
  free(text);
  return json.distributions[gauge_count + delay][2];
}

static int computing;

static void computes_5_ms_at_a_time(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (computing > 0) {
    spin(5000000);
    mj_task_yield();
  }
  mj_task_exit();
}

static void sleeps_ten_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 10; i++) CHECK_INT(mj_sleep_ns(100000), ==, 0);
  computing = 0;
  mj_task_exit();
}

// A task that is ready waits behind four that compute, and the loop meanwhile for each of their turns.
static void who_computes_delays_the_loop_and_who_is_ready(void) {
  mj_scheduler* scheduler = new_scheduler();
  computing = 4;
  for (int i = 0; i < 4; i++) add_task(scheduler, computes_5_ms_at_a_time, NULL);
  add_task(scheduler, sleeps_ten_times, NULL);
  mj_scheduler_run(scheduler);
  reading now = prometheus_of(scheduler);
  const histogram* loop = &now.histograms[of_loop];
  CHECK_UINT(loop->count - loop->below_1_ms, >=, 40);
  CHECK_UINT(loop->sum_ns, >=, 40 * UINT64_C(5000000));
  CHECK_UINT(longest(scheduler, of_loop), >=, 5000000);
  // The first one perhaps before the rate of the counter is known.
  const histogram* ready = &now.histograms[of_ready];
  CHECK_UINT(ready->count, >=, 9);
  CHECK_UINT(ready->count, <=, 10);
  CHECK_UINT(ready->below_1_ms, ==, 0);
  // Each time three at least, and less than what the run took: to a part in a thousand.
  CHECK_UINT(ready->sum_ns, >=, ready->count * UINT64_C(14900000));
  CHECK_UINT(ready->sum_ns, <=, now.fields[5] + now.fields[5] / 500);
  CHECK_UINT(longest(scheduler, of_ready), >=, 14900000);
  CHECK_UINT(now.histograms[of_jobs].count, ==, 0);
  mj_scheduler_reset_metrics(scheduler);
  now = prometheus_of(scheduler);
  for (size_t i = 0; i < histogram_count; i++) CHECK_UINT(now.histograms[i].count + now.histograms[i].sum_ns, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void reads(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, MJ_FOREVER), ==, POLLIN);
  computing = 0;
  mj_task_exit();
}

static void writes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_yield();
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  mj_task_exit();
}

// One that an event has made ready, too.
static void who_waits_for_a_descriptor_is_measured(void) {
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  computing = 4;
  add_task(scheduler, reads, NULL);
  for (int i = 0; i < 4; i++) add_task(scheduler, computes_5_ms_at_a_time, NULL);
  add_task(scheduler, writes, NULL);
  mj_scheduler_run(scheduler);
  const histogram ready = prometheus_of(scheduler).histograms[of_ready];
  CHECK_UINT(ready.count, ==, 1);
  CHECK_UINT(ready.sum_ns, >=, 9900000);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

static void waits_100_ms(void* argument) {
  (void)argument;
  usleep(100000);
}

static void offloads(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_offload(waits_100_ms, NULL, NULL, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

// The second one waits for the thread that the first one has: for most of its time, since it may come a little later.
static void a_job_waits_for_a_thread(void) {
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 1), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 2; i++) add_task(scheduler, offloads, NULL);
  mj_scheduler_run(scheduler);
  const histogram jobs = prometheus_of(scheduler).histograms[of_jobs];
  CHECK_UINT(jobs.count, ==, 2);
  CHECK_UINT(jobs.sum_ns, >=, 50000000);
  CHECK_UINT(longest(scheduler, of_jobs), >=, 50000000);
  mj_scheduler_destroy(scheduler);
}

// A scheduler that sleeps is not late.
static void sleep_is_no_delay_of_the_loop(void) {
  mj_scheduler* scheduler = new_scheduler();
  computing = 0;
  add_task(scheduler, sleeps_ten_times, NULL);
  mj_scheduler_run(scheduler);
  const reading now = prometheus_of(scheduler);
  CHECK_UINT(now.histograms[of_loop].count, >=, 10);
  CHECK_UINT(now.histograms[of_loop].sum_ns, <=, now.fields[5] - now.fields[9]);
  mj_scheduler_destroy(scheduler);
}

// ---- Distributions ----

enum { short_turns = 295, long_turns = 5 };

static void has_long_and_short_turns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < short_turns + long_turns; i++) {
    spin(i % 60 == 30 ? 2000000 : 50000);
    if (i < short_turns + long_turns - 1) mj_task_yield();
  }
  mj_task_exit();
}

// A value is the upper bound of its bucket, so it is never below what was measured; executions are
// measured with a clock that agrees with the program's to one part in a thousand.
static void run_times_are_distributed_as_they_were(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, has_long_and_short_turns, NULL);
  mj_scheduler_run(scheduler);
  char* text = written(scheduler, MJ_METRICS_JSON);
  reading json = read_json(text);
  free(text);
  CHECK_UINT(json.fields[0], ==, short_turns + long_turns);
  const uint64_t* turn = json.distributions[0];
  CHECK_UINT(turn[0], >=, 50000 - 50);
  // More than one in a hundred is long.
  CHECK_UINT(turn[1], >=, 2000000 - 2000);
  CHECK_UINT(turn[0], <=, turn[1]);
  CHECK_UINT(turn[1], <=, turn[2]);
  uint64_t longest = scheduler->metrics.max_execution_time_ns;
  CHECK_UINT(turn[2], <=, longest + longest / 1000 + 2);
  CHECK_UINT(turn[2] + longest / 1000 + 2, >=, longest);
  CHECK_UINT(turn[0], >=, scheduler->metrics.min_execution_time_ns);
  mj_scheduler_destroy(scheduler);
}

// In simulated time, timers are as late as the wait function makes them.
typedef struct simulation {
  uint64_t now_ns;
  uint64_t lateness_ns[200];
  size_t waits;
} simulation;

static uint64_t simulated_ns(void* user_data) { return ((simulation*)user_data)->now_ns; }

static int is_late(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  simulation* time = user_data;
  if (timeout_ns == 0) return 0;
  CHECK_UINT(time->waits, <, 200);
  time->now_ns += timeout_ns + time->lateness_ns[time->waits++];
  return 0;
}

static void sleeps_200_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 200; i++) CHECK_INT(mj_sleep_ns(1000000000), ==, 0);
  mj_task_exit();
}

static int compare_numbers(const void* left, const void* right) {
  uint64_t a = *(const uint64_t*)left, b = *(const uint64_t*)right;
  return (a > b) - (a < b);
}

static void check_lateness(uint64_t (*of)(uint64_t index)) {
  const char* test = check_running;
  simulation time = {0};
  for (uint64_t i = 0; i < 200; i++) time.lateness_ns[i] = of(i);
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, &time), ==, 0);
  mj_scheduler_set_wait_func(scheduler, is_late, &time);
  add_task(scheduler, sleeps_200_times, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(time.waits, ==, 200);
  char* text = written(scheduler, MJ_METRICS_JSON);
  reading json = read_json(text);
  free(text);
  qsort(time.lateness_ns, 200, sizeof time.lateness_ns[0], compare_numbers);
  const uint64_t exact[] = {time.lateness_ns[99], time.lateness_ns[197], time.lateness_ns[199]};
  for (size_t i = 0; i < quantile_count; i++) {
    check_running = quantiles[i];
    // Eight buckets for each power of two: exact to an eighth, and the maximum is exact.
    CHECK_UINT(json.distributions[1][i], >=, exact[i]);
    CHECK_UINT(json.distributions[1][i], <=, i == 2 ? exact[i] : exact[i] + exact[i] / 8);
    CHECK_UINT(json.distributions[1][i], <=, exact[2]);
  }
  mj_scheduler_destroy(scheduler);
  check_running = test;
}

static uint64_t never(uint64_t index) {
  (void)index;
  return 0;
}

static uint64_t always(uint64_t index) {
  (void)index;
  return 12345;
}

static uint64_t more_and_more(uint64_t index) { return index; }

static uint64_t over_many_powers(uint64_t index) {
  uint64_t random = 88172645463325252u + index * 7919;
  next_random(&random);
  return next_random(&random) >> (24 + index % 40);
}

static uint64_t once(uint64_t index) { return index == 77 ? UINT64_C(3600000000000) : 5; }

static void lateness_is_distributed_as_it_was(void) {
  check_lateness(never);
  check_lateness(always);
  check_lateness(more_and_more);
  check_lateness(over_many_powers);
  check_lateness(once);
}

// ---- The text ----

static void the_text_begins_with_the_printed_block(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) add_task(scheduler, sleeps_long, NULL);
  char* block = printed(scheduler);
  char* text = written(scheduler, MJ_METRICS_TEXT);
  CHECK_INT(strncmp(text, block, strlen(block)), ==, 0);
  reading result;
  read_distributions(text + strlen(block), &result);
  free(text);
  free(block);
  mj_scheduler_destroy(scheduler);
}

// Also after a run, when nothing has happened between the two.
static void two_texts_in_a_row_are_the_same(void) {
  for (int i = 0; i < 10; i++) {
    mj_scheduler* scheduler = busy_scheduler();
    char* block = printed(scheduler);
    char* text = written(scheduler, MJ_METRICS_TEXT);
    // Compared as strings, so that a failure prints both.
    text[strlen(block)] = '\0';
    CHECK_STR(text, block);
    free(text);
    free(block);
    char* first = written(scheduler, MJ_METRICS_JSON);
    char* second = written(scheduler, MJ_METRICS_JSON);
    CHECK_STR(first, second);
    reading json = read_json(first);
    free(first);
    free(second);
    const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
    for (size_t j = 0; j < field_count; j++) {
      CHECK_UINT(json.fields[j], ==, field_of(metrics, j));
    }
    // The longest execution is the same in both.
    CHECK_UINT(json.distributions[0][2], ==, metrics->max_execution_time_ns);
    mj_scheduler_destroy(scheduler);
  }
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(the_text_is_cut_as_by_snprintf);
  RUN(misuse_is_an_error);
  RUN(all_formats_say_the_same);
  RUN(a_task_may_write_them);
  RUN(prometheus_takes_its_format);
  RUN(a_name_is_a_label);
  RUN(two_schedulers_are_on_one_page);
  RUN(who_computes_delays_the_loop_and_who_is_ready);
  RUN(who_waits_for_a_descriptor_is_measured);
  RUN(a_job_waits_for_a_thread);
  RUN(sleep_is_no_delay_of_the_loop);
  RUN(run_times_are_distributed_as_they_were);
  RUN(lateness_is_distributed_as_it_was);
  RUN(the_text_begins_with_the_printed_block);
  RUN(two_texts_in_a_row_are_the_same);
  return 0;
}
