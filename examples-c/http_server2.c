// A web server for files, to start from: HTTP/1.1 with connections that are kept, conditional requests and ranges.
// Everything has a limit, no path leads out of the directory, and on SIGTERM or Ctrl+C requests that have begun are
// finished. Its access log goes to stdout, in the combined format, a second late at most.
//
// Links with -lmajjen. `make examples` builds it:
//
//   target/examples/http_server2 PORT DIRECTORY [NAME=VALUE...]
//
// Port 0 is a free one, which it prints. The names are those of `settings`. systemd may open the socket for it.
//
// It has no TLS, no listings, no compression. What two servers might read in two ways is refused: a line without its
// CR, a second length, a field that goes on in the next line. Names that begin with a dot are not served, but for
// .well-known. A file that is not in memory blocks the thread while sendfile(2) reads it, as in other servers.
#define _GNU_SOURCE
#include "majjen.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

#define HEAD_BYTES 8192    // A longer head is refused.
#define SMALL_BYTES 16384  // A file up to here is sent with its head, by one call.
#define LOG_BYTES 131072
#define SECOND_NS UINT64_C(1000000000)

static struct setting {
  const char* name;
  uint64_t value;
} settings[] = {
    {"public", 0},        // 1: listens at all addresses, and not at that of this machine alone.
    {"max", 1000},        // Clients at a time. One more takes the place of who is idle for longest.
    {"idle_ms", 30000},   // From one request to the next.
    {"head_ms", 10000},   // For a request's head, from its first byte.
    {"body_ms", 10000},   // For its body, which is thrown away.
    {"body_bytes", 1 << 20},
    {"send_ms", 30000},   // In which a client takes some of its answer.
    {"stop_ms", 10000},   // For requests that have begun before the stop.
    {"log", 1},           // 0: no access log.
};
enum { PUBLIC, MAX, IDLE, HEAD, BODY, BODY_BYTES, SEND, STOP, LOG, SETTINGS };

static uint64_t limit_ns(int setting) { return settings[setting].value * 1000000; }

static int fail(const char* what, const char* why) {
  fprintf(stderr, "http_server2: %s: %s\n", what, why);
  return 1;
}

// ---- Texts

typedef struct text {
  const char* at;
  size_t bytes;
} text;

// Whatever the case of its letters.
static bool is(text a, const char* b) {
  return a.bytes == strlen(b) && strncasecmp(a.at, b, a.bytes) == 0;
}

static bool is_exactly(text a, const char* b) {
  return a.bytes == strlen(b) && memcmp(a.at, b, a.bytes) == 0;
}

static text trim(text t) {
  while (t.bytes > 0 && (*t.at == ' ' || *t.at == '\t')) t = (text){t.at + 1, t.bytes - 1};
  while (t.bytes > 0 && (t.at[t.bytes - 1] == ' ' || t.at[t.bytes - 1] == '\t')) t.bytes--;
  return t;
}

// Takes the part before a separator, or all if there is none. False if nothing is left.
static bool take(text* rest, char separator, text* part) {
  *part = (text){rest->at, 0};
  if (rest->bytes == 0) return false;
  const char* end = memchr(rest->at, separator, rest->bytes);
  *part = (text){rest->at, end != NULL ? (size_t)(end - rest->at) : rest->bytes};
  const size_t taken = part->bytes + (end != NULL);
  *rest = (text){rest->at + taken, rest->bytes - taken};
  return true;
}

static bool has(text list, const char* wanted) {
  for (text part; take(&list, ',', &part);) {
    if (is(trim(part), wanted)) return true;
  }
  return false;
}

// What is larger than any file and any limit stays so, whatever its value.
static bool parse_number(text digits, uint64_t* number) {
  *number = 0;
  for (size_t i = 0; i < digits.bytes; i++) {
    if (digits.at[i] < '0' || digits.at[i] > '9') return false;
    if (*number < INT64_MAX / 10) *number = *number * 10 + (uint64_t)(digits.at[i] - '0');
  }
  return digits.bytes > 0;
}

// ---- Clients

typedef struct client {
  TAILQ_ENTRY(client) entry;  // In `idle`.
  bool is_idle;
  bool is_leaving;  // Its place is wanted, or the server stops.
  int fd;
  char address[64];
  size_t head_bytes, end;  // A head is at the front of `in`, and what has come behind it.
  char in[HEAD_BYTES];
  size_t used;  // Of `out`.
  char out[SMALL_BYTES + HEAD_BYTES + 1024];
} client;

static mj_scheduler* scheduler;
static mj_group* clients;
static TAILQ_HEAD(, client) idle = TAILQ_HEAD_INITIALIZER(idle);  // Those without a request.
static int listener, directory;
static bool stopping, room_is_wanted;

// What there is no room for is cut off.
static void add_text(client* c, text t) {
  const size_t room = sizeof c->out - c->used;
  if (t.bytes > room) t.bytes = room;
  memcpy(c->out + c->used, t.at, t.bytes);
  c->used += t.bytes;
}

// Adds strings, up to a NULL. printf(3) would take a tenth of what an answer costs here.
__attribute__((sentinel)) static void add(client* c, ...) {
  va_list strings;
  va_start(strings, c);
  for (const char* string; (string = va_arg(strings, const char*)) != NULL;) {
    add_text(c, (text){string, strlen(string)});
  }
  va_end(strings);
}

typedef struct digits {
  char text[21];
} digits;

// Where the digits of a number begin, in `space`.
static const char* in_digits(uint64_t number, digits* space) {
  char* at = space->text + sizeof space->text - 1;
  *at = '\0';
  do {
    *--at = (char)('0' + number % 10);
  } while ((number /= 10) > 0);
  return at;
}

// As HTTP writes it. What is asked for again and again is made once. Good until the task suspends.
static const char* date(time_t at) {
  static struct {
    time_t at;
    char text[30];
  } known[64], *place;
  place = &known[(uint64_t)at % 64];
  if (place->at != at || place->text[0] == '\0') {
    struct tm tm;
    place->at = at;
    if (gmtime_r(&at, &tm) == NULL ||
        strftime(place->text, sizeof place->text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0) {
      strcpy(place->text, "Thu, 01 Jan 1970 00:00:00 GMT");  // After the year 9999.
    }
  }
  return place->text;
}

// ---- The access log

// Lines are collected, and a task of its own writes them: a request costs no system call for its line, and waits for
// no disk. Lines for which there is no room are counted.
static struct {
  char lines[2][LOG_BYTES];
  int filling;
  size_t used;
  uint64_t lost;
  mj_task_id writer;
} access_log;

static void write_log(void* unused) {
  (void)unused;
  mj_task_set_daemon(true);
  for (int result = 0; result != -ECANCELED;) {
    if (access_log.used == 0) result = mj_task_park(MJ_FOREVER);
    if (access_log.used < LOG_BYTES / 2 && result != -ECANCELED) result = mj_sleep_ns(SECOND_NS);
    const char* lines = access_log.lines[access_log.filling];
    const size_t bytes = access_log.used;
    access_log.filling = !access_log.filling;
    access_log.used = 0;
    mj_task_set_cancelable(false, NULL);
    const int written = mj_write_all(STDOUT_FILENO, lines, bytes, 10 * SECOND_NS, NULL);
    mj_task_set_cancelable(true, NULL);
    if (written != 0) MJ_WARN("access log: %s", strerror(-written));
    if (access_log.lost > 0) MJ_WARN("access log: %" PRIu64 " lines are lost", access_log.lost);
    access_log.lost = 0;
  }
}

// What the last ones have logged. Its reader may have stopped, or gone: then it is lost, and not waited for.
static void write_last_lines(void) {
  const char* lines = access_log.lines[access_log.filling];
  struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
  while (access_log.used > 0 && poll(&out, 1, 1000) > 0 && (out.revents & POLLERR) == 0) {
    // For so much there is room.
    const size_t most = access_log.used < PIPE_BUF ? access_log.used : PIPE_BUF;
    const ssize_t written = write(STDOUT_FILENO, lines, most);
    if (written < 0) break;
    lines += written;
    access_log.used -= (size_t)written;
  }
  if (access_log.used > 0) fail("access log", "the last lines are lost");
}

// What a client has sent ends neither the line nor the quotation.
static void add_quoted(client* c, text t) {
  add(c, t.bytes > 0 ? " \"" : " \"-", NULL);
  for (size_t i = 0; i < t.bytes && i < 1000; i++) {
    const char byte = t.at[i];
    char escaped[8];
    if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\') {
      snprintf(escaped, sizeof escaped, "\\x%02X", (unsigned char)byte);
      add(c, escaped, NULL);
    } else {
      c->out[c->used++] = byte;
    }
  }
  c->out[c->used++] = '"';
}

static void log_request(client* c, text line, int status, uint64_t sent, text referer, text agent) {
  static time_t second = -1;
  static char now[40];
  digits digits[2];
  if (settings[LOG].value == 0) return;
  if (time(NULL) != second) {
    struct tm tm;
    second = time(NULL);
    strftime(now, sizeof now, " - - [%d/%b/%Y:%H:%M:%S +0000]", gmtime_r(&second, &tm));
  }
  c->used = 0;  // The answer has gone.
  add(c, c->address, now, NULL);
  add_quoted(c, line);
  add(c, " ", in_digits((uint64_t)status, &digits[0]), " ", in_digits(sent, &digits[1]), NULL);
  add_quoted(c, referer);
  add_quoted(c, agent);
  add(c, "\n", NULL);
  if (c->used > LOG_BYTES - access_log.used) {
    access_log.lost++;
    return;
  }
  const bool is_first = access_log.used == 0;
  memcpy(access_log.lines[access_log.filling] + access_log.used, c->out, c->used);
  access_log.used += c->used;
  if (is_first || access_log.used >= LOG_BYTES / 2) {
    mj_scheduler_wake(scheduler, access_log.writer);
  }
}

// ---- Reading requests. Results are 0, or the status with which to refuse, or GONE.

enum { GONE = -1 };

// Those up to IF_RANGE may not come twice: which one counts?
enum {
  HOST, LENGTH, CODING, RANGE, IF_RANGE, CONNECTION, EXPECT, NONE_MATCH, SINCE, REFERER, AGENT,
  FIELDS
};
static const char* const field_names[FIELDS] = {
    "Host", "Content-Length", "Transfer-Encoding", "Range", "If-Range", "Connection", "Expect",
    "If-None-Match", "If-Modified-Since", "Referer", "User-Agent"};

typedef struct request {
  text line, method, target;
  text fields[FIELDS];  // At NULL if they are not there.
  bool is_old;          // HTTP/1.0
  bool keeps_alive;
  size_t bytes;  // How much of `in` it is.
} request;

static int read_some(client* c, uint64_t within_ns) {
  const ssize_t bytes = mj_read(c->fd, c->in + c->end, sizeof c->in - c->end, within_ns);
  if (bytes <= 0) return bytes == -ETIMEDOUT ? 408 : GONE;
  c->end += (size_t)bytes;
  return 0;
}

// Ends the wait of an idle client: it reads the end. What it has sent already is answered.
static void end_idle(client* c) {
  TAILQ_REMOVE(&idle, c, entry);
  c->is_idle = room_is_wanted = false;
  c->is_leaving = true;
  shutdown(c->fd, SHUT_RD);
}

// Waits for the first byte. Who has nothing to do is told of the stop, and makes room for others.
static int wait_for_request(client* c) {
  TAILQ_INSERT_TAIL(&idle, c, entry);
  c->is_idle = true;
  if (room_is_wanted) end_idle(TAILQ_FIRST(&idle));
  const int result = read_some(c, stopping ? 0 : limit_ns(IDLE));
  if (c->is_idle) TAILQ_REMOVE(&idle, c, entry);
  c->is_idle = false;
  return result == 0 ? 0 : GONE;
}

// Takes what is read from the front, and keeps what has come behind it.
static void drop(client* c, size_t bytes) {
  c->end -= bytes;
  memmove(c->in, c->in + bytes, c->end);
}

// Reads until the empty line behind a head is there. Each line has to end in CR and LF.
static int read_head(client* c) {
  uint64_t deadline_ns = 0;
  size_t line = 0, looked_at = 0;
  int empty_lines = 0;
  c->head_bytes = 0;
  for (;;) {
    if (c->end == 0) {  // Also behind an empty line: no request has begun.
      if (wait_for_request(c) != 0) return GONE;
      deadline_ns = 0;
    }
    const char* newline;
    while ((newline = memchr(c->in + looked_at, '\n', c->end - looked_at)) != NULL) {
      const size_t end = (size_t)(newline - c->in);
      if (end == line || c->in[end - 1] != '\r') return 400;
      line = looked_at = end + 1;
      if (end == 1) {  // An empty line before a request is no part of it.
        if (++empty_lines > 4) return 400;  // Nor do they go on and on.
        drop(c, 2);
        line = looked_at = 0;
      } else if (c->in[end - 2] == '\n') {
        c->head_bytes = end + 1;
        return 0;
      }
    }
    looked_at = c->end;
    if (c->end == 0) continue;
    if (c->end == HEAD_BYTES) return 431;
    if (deadline_ns == 0) deadline_ns = mj_deadline_after(limit_ns(HEAD));
    const uint64_t left_ns = mj_deadline_left(deadline_ns);
    const int result = left_ns > 0 ? read_some(c, left_ns) : 408;  // Also if there is more to read.
    if (result != 0) return result;
  }
}

static bool has_control_bytes(text t) {
  for (size_t i = 0; i < t.bytes; i++) {
    const unsigned char byte = (unsigned char)t.at[i];
    if ((byte < ' ' && byte != '\t') || byte == 0x7f) return true;
  }
  return false;
}

// A method, or the name of a field.
static bool is_token(text t) {
  for (size_t i = 0; i < t.bytes; i++) {
    const char byte = t.at[i];
    if (!isalnum((unsigned char)byte) && strchr("-!#$%&'*+.^_`|~", byte) == NULL) return false;
  }
  return t.bytes > 0;
}

static int parse_version(text version, request* r) {
  if (version.bytes != 8 || memcmp(version.at, "HTTP/", 5) != 0) return 400;
  r->is_old = is_exactly(version, "HTTP/1.0");
  const char minor = version.at[7];  // From 1 on it is as 1.1.
  return memcmp(version.at + 5, "1.", 2) == 0 && minor >= '0' && minor <= '9' ? 0 : 505;
}

static int parse_field(text line, request* r) {
  text value = line, name;
  take(&value, ':', &name);
  // A line that begins with a space would go on with the one before.
  if (!is_token(name) || name.bytes == line.bytes) return 400;
  for (int i = 0; i < FIELDS; i++) {
    if (!is(name, field_names[i])) continue;
    if (r->fields[i].at != NULL && i <= IF_RANGE) return 400;
    // Else the last one counts, but nothing takes a close back.
    if (i != CONNECTION || !has(r->fields[i], "close")) r->fields[i] = trim(value);
  }
  return 0;
}

static int parse(client* c, request* r) {
  text head = {c->in, c->head_bytes - 2}, line, rest;
  take(&head, '\n', &line);
  line.bytes--;  // The CR.
  if (has_control_bytes(line)) return 400;
  rest = r->line = line;
  if (!take(&rest, ' ', &r->method) || !take(&rest, ' ', &r->target)) return 400;
  if (!is_token(r->method) || r->target.bytes == 0) return 400;
  int status = parse_version(rest, r);
  while (status == 0 && take(&head, '\n', &line)) {
    line.bytes--;
    status = has_control_bytes(line) ? 400 : parse_field(line, r);
  }
  if (status != 0) return status;
  const text connection = r->fields[CONNECTION];
  r->keeps_alive = !has(connection, "close") && (!r->is_old || has(connection, "keep-alive"));
  return r->fields[HOST].at == NULL && !r->is_old ? 400 : 0;
}

// Reads a body, and throws it away.
static int skip_body(client* c, request* r) {
  uint64_t bytes = 0;
  const bool has_length = r->fields[LENGTH].at != NULL, has_coding = r->fields[CODING].at != NULL;
  r->bytes = c->head_bytes;
  if (has_length && (has_coding || !parse_number(r->fields[LENGTH], &bytes))) return 400;
  if (has_coding) return !is(r->fields[CODING], "chunked") ? 501 : r->is_old ? 400 : 411;
  if (bytes > settings[BODY_BYTES].value) return 413;
  // It waits to be asked for the body. It is not, and has its answer; the connection ends with that.
  if (bytes > 0 && r->fields[EXPECT].at != NULL) {
    r->keeps_alive = false;
    return 0;
  }
  const size_t there = c->end - c->head_bytes;
  r->bytes += bytes < there ? (size_t)bytes : there;
  bytes -= r->bytes - c->head_bytes;
  const uint64_t deadline_ns = bytes > 0 ? mj_deadline_after(limit_ns(BODY)) : 0;
  while (bytes > 0) {
    const size_t most = bytes < sizeof c->out ? (size_t)bytes : sizeof c->out;
    const ssize_t count = mj_read(c->fd, c->out, most, mj_deadline_left(deadline_ns));
    if (count <= 0) return count == -ETIMEDOUT ? 408 : GONE;
    bytes -= (uint64_t)count;
  }
  return 0;
}

static int read_request(client* c, request* r) {
  int status = read_head(c);
  if (status == 0) status = parse(c, r);
  if (status == 0) status = skip_body(c, r);
  if (status != 0) r->keeps_alive = false;
  return status;
}

// ---- Files

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Makes the path that a target names, from a slash on; of a directory that of its page. Returns 0 or a status.
static int path_of(text target, char* path, size_t most) {
  if (target.bytes > 7 && strncasecmp(target.at, "http://", 7) == 0) {  // As it is sent to proxies.
    size_t end = 7;
    while (end < target.bytes && strchr("/?#", target.at[end]) == NULL) end++;
    if (end == 7) return 400;  // No host.
    target = (text){target.at + end, target.bytes - end};
    if (target.bytes == 0 || *target.at == '?') target = (text){"/", 1};
  }
  if (*target.at != '/') return 400;
  text rest = target;
  take(&rest, '?', &target);
  size_t length = 0;
  for (size_t i = 0; i < target.bytes; i++) {
    char byte = target.at[i];
    if (byte == '%') {
      if (i + 2 >= target.bytes) return 400;
      const int high = hex_digit(target.at[i + 1]), low = hex_digit(target.at[i + 2]);
      if (high < 0 || low < 0) return 400;
      byte = (char)(high * 16 + low);
      if (byte == '\0' || byte == '/') return 400;  // In no name.
      i += 2;
    }
    path[length++] = byte;
    if (length + sizeof "index.html" > most) return 414;
  }
  strcpy(path + length, path[length - 1] == '/' ? "index.html" : "");
  for (const char* name = path; (name = strstr(name, "/.")) != NULL; name++) {
    const bool is_well_known = strncmp(name, "/.well-known", 12) == 0;
    if (!is_well_known || (name[12] != '/' && name[12] != '\0')) return 403;
  }
  return 0;
}

#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

typedef struct opening {
  const char* path;
  uint64_t resolve;
  int result;  // A descriptor or -errno.
} opening;

// The kernel sees to it that the path stays below the directory, whatever links are there. If a file is renamed
// meanwhile, anywhere, it may not be sure.
static void open_below(void* argument) {
  opening* o = argument;
  const struct open_how how = {.flags = OPEN_FLAGS, .resolve = o->resolve};
  int tries = (o->resolve & RESOLVE_CACHED) != 0 ? 1 : 200;
  do {
    o->result = (int)syscall(SYS_openat2, directory, o->path, &how, sizeof how);
    if (o->result < 0) o->result = -errno;
  } while (o->result == -EAGAIN && --tries > 0);
}

// Where it cannot: name by name, and through no link at all.
static int open_by_steps(const char* path) {
  char name[NAME_MAX + 1];
  for (int at = directory;;) {
    const size_t length = strcspn(path, "/");
    if (length > NAME_MAX) return -ENAMETOOLONG;
    memcpy(name, path, length);
    name[length] = '\0';
    path += length;
    path += strspn(path, "/");
    const bool is_last = *path == '\0';
    const int flags = is_last ? OPEN_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC;
    const int next = openat(at, name, flags | O_NOFOLLOW);
    const int error = errno;
    if (at != directory) close(at);
    if (next < 0 || is_last) return next < 0 ? -error : next;
    at = next;
  }
}

static uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED;

// Asks the kernel what it can do, of the directory itself: a file may have errors of its own.
static void try_resolve(void) {
  opening o = {".", resolve, 0};
  open_below(&o);
  if (o.result >= 0) close(o.result);
  if (o.result == -EINVAL) resolve &= ~(uint64_t)RESOLVE_CACHED;  // Before Linux 5.12.
  if (o.result == -ENOSYS || o.result == -EPERM) resolve = 0;  // Before 5.6, or it is forbidden.
}

// What the kernel has in memory is opened at once. For what is on a disk, a thread of the library waits.
static int open_file(const char* path) {
  if (resolve == 0) return open_by_steps(path);
  opening o = {path, resolve, 0};
  open_below(&o);
  if (o.result != -EAGAIN) return o.result;
  o.resolve &= ~(uint64_t)RESOLVE_CACHED;
  const int result = mj_offload_in(MJ_OFFLOAD_FILE, open_below, &o, NULL, MJ_FOREVER);
  return result != 0 ? result : o.result;
}

// ---- Answers

typedef struct answer {
  int status;
  int file;  // -1: none
  uint64_t size, from, bytes;
  time_t modified;
  const char* type;
  char tag[72];
} answer;

static const char* reason_of(int status) {
  static const struct {
    int status;
    const char* reason;
  } reasons[] = {
      {200, "OK"}, {206, "Partial Content"}, {301, "Moved Permanently"}, {304, "Not Modified"},
      {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
      {408, "Request Timeout"}, {411, "Length Required"}, {413, "Content Too Large"},
      {414, "URI Too Long"}, {416, "Range Not Satisfiable"},
      {431, "Request Header Fields Too Large"}, {501, "Not Implemented"},
      {503, "Service Unavailable"}, {505, "HTTP Version Not Supported"}};
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
    if (reasons[i].status == status) return reasons[i].reason;
  }
  return "Internal Server Error";
}

static int status_of(int error) {
  switch (error) {
    case -ENOENT: case -ENOTDIR: case -ENAMETOOLONG: return 404;
    case -EACCES: case -EPERM: case -EXDEV: case -ELOOP: case -ENXIO: return 403;
    case -EMFILE: case -ENFILE: case -ENOMEM: case -EAGAIN: return 503;
    default: return 500;
  }
}

static const char* type_of(const char* path) {
  static const char* const types[][2] = {
      {".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"}, {".json", "application/json"},
      {".svg", "image/svg+xml"}, {".png", "image/png"}, {".jpg", "image/jpeg"},
      {".jpeg", "image/jpeg"}, {".gif", "image/gif"}, {".webp", "image/webp"},
      {".ico", "image/x-icon"}, {".woff2", "font/woff2"}, {".wasm", "application/wasm"},
      {".pdf", "application/pdf"}, {".xml", "application/xml"}, {".mp4", "video/mp4"},
      {".txt", "text/plain; charset=utf-8"}};
  const char* dot = strrchr(path, '.');
  for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++) {
    if (strcasecmp(dot, types[i][0]) == 0) return types[i][1];
  }
  return "application/octet-stream";
}

// One range is served. For several, and for what is none, it is the whole file.
static void choose_range(text range, answer* a) {
  text first, last;
  uint64_t from = 0, to = 0;
  if (range.bytes < 6 || strncasecmp(range.at, "bytes=", 6) != 0 || a->size == 0) return;
  last = (text){range.at + 6, range.bytes - 6};
  if (memchr(last.at, '-', last.bytes) == NULL) return;
  take(&last, '-', &first);
  if (first.bytes == 0 && last.bytes == 0) return;
  if (first.bytes > 0 && !parse_number(first, &from)) return;
  if (last.bytes > 0 && !parse_number(last, &to)) return;
  if (first.bytes == 0) {  // So many at the end.
    from = to < a->size ? a->size - to : 0;
    if (to == 0) from = a->size;
    to = a->size;
  } else if (last.bytes == 0 || to >= a->size) {
    to = a->size;
  } else if (to++ < from) {
    return;
  }
  a->status = from < a->size ? 206 : 416;
  a->from = from;
  a->bytes = from < a->size ? to - from : 0;
}

// Whether the client has it already, or wants a part.
static void choose_part(const request* r, answer* a) {
  const text none_match = r->fields[NONE_MATCH], if_range = r->fields[IF_RANGE];
  if (none_match.at != NULL) {
    const char* there = memmem(none_match.at, none_match.bytes, a->tag, strlen(a->tag));
    if (there != NULL || is(none_match, "*")) a->status = 304;
  } else if (is_exactly(r->fields[SINCE], date(a->modified))) {
    a->status = 304;  // Clients send back what they have been told.
  }
  if (a->status != 200 || r->fields[RANGE].at == NULL || !is_exactly(r->method, "GET")) return;
  if (if_range.at == NULL || is_exactly(if_range, a->tag) ||
      is_exactly(if_range, date(a->modified))) {
    choose_range(r->fields[RANGE], a);
  }
}

static int find_file(const request* r, answer* a) {
  if (!is_exactly(r->method, "GET") && !is_exactly(r->method, "HEAD")) return 405;
  char path[PATH_MAX];
  int status = path_of(r->target, path, sizeof path);
  if (status != 0) return status;
  a->file = open_file(path + strspn(path, "/"));
  if (a->file < 0) return status_of(a->file);
  struct stat stat;
  if (fstat(a->file, &stat) != 0) return 500;
  if (S_ISDIR(stat.st_mode)) return 301;  // To its name with a slash, so that its links work.
  if (!S_ISREG(stat.st_mode)) return 403;
  a->status = 200;
  a->size = a->bytes = (uint64_t)stat.st_size;
  a->modified = stat.st_mtime;
  a->type = type_of(path);
  digits digits[3];
  const char* const parts[] = {"\"", in_digits((uint64_t)stat.st_mtime, &digits[0]), "-",
                               in_digits((uint64_t)stat.st_mtim.tv_nsec, &digits[1]), "-",
                               in_digits(a->size, &digits[2]), "\""};
  char* end = a->tag;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) end = stpcpy(end, parts[i]);
  choose_part(r, a);
  return a->status;
}

static void add_head(client* c, const request* r, const answer* a, uint64_t body_bytes) {
  digits digits[3];
  c->used = 0;
  add(c, "HTTP/1.1 ", in_digits((uint64_t)a->status, &digits[0]), " ", reason_of(a->status),
      "\r\nDate: ", date(time(NULL)), "\r\n", NULL);
  if (a->status == 405) add(c, "Allow: GET, HEAD\r\n", NULL);
  if (a->status == 301) {
    text query = r->target, path, slash;
    take(&query, '?', &path);
    while (path.bytes > 1 && path.at[1] == '/') take(&path, '/', &slash);  // //NAME is a host's.
    add(c, "Location: ", NULL);
    add_text(c, path);
    add(c, query.bytes > 0 ? "/?" : "/", NULL);
    add_text(c, query);
    add(c, "\r\n", NULL);
  }
  if (a->status == 206) {
    add(c, "Content-Range: bytes ", in_digits(a->from, &digits[0]), "-",
        in_digits(a->from + a->bytes - 1, &digits[1]), "/", in_digits(a->size, &digits[2]), "\r\n",
        NULL);
  }
  if (a->status == 416) {
    add(c, "Content-Range: bytes */", in_digits(a->size, &digits[0]), "\r\n", NULL);
  }
  if (a->status == 200 || a->status == 206 || a->status == 304) {
    add(c, "Last-Modified: ", date(a->modified), "\r\nETag: ", a->tag,
        "\r\nAccept-Ranges: bytes\r\n", NULL);
  }
  if (a->status != 304) {
    add(c, "Content-Type: ", a->status < 300 ? a->type : "text/plain; charset=utf-8",
        "\r\nContent-Length: ", in_digits(body_bytes, &digits[0]), "\r\n", NULL);
  }
  add(c, !r->keeps_alive ? "Connection: close\r\n" : r->is_old ? "Connection: keep-alive\r\n" : "",
      "\r\n", NULL);
}

static bool send_out(client* c) {
  return mj_write_all(c->fd, c->out, c->used, limit_ns(SEND), NULL) == 0;
}

// Sends the head, and a part of the file behind it. Returns how much of that: less than all if the file has become
// shorter, or the client has gone or takes nothing, so that the connection has to end.
static uint64_t send_file(client* c, const answer* a) {
  off_t from = (off_t)a->from;
  uint64_t left = a->bytes;
  if (left <= SMALL_BYTES) {
    ssize_t bytes = mj_pread(a->file, c->out + c->used, (size_t)left, from, MJ_FOREVER);
    if (bytes < 0) return 0;
    c->used += (size_t)bytes;
    return send_out(c) ? (uint64_t)bytes : 0;
  }
  // With MSG_MORE the client would be woken later, and what it reads cost more here.
  if (!send_out(c)) return 0;
  while (left > 0) {
    const ssize_t bytes = mj_sendfile(c->fd, a->file, &from, left, limit_ns(SEND));
    if (bytes <= 0) break;
    left -= (uint64_t)bytes;
  }
  return a->bytes - left;
}

// Returns whether the client has all of it.
static bool send_answer(client* c, const request* r, const answer* a) {
  const bool has_file = a->status == 200 || a->status == 206;
  const bool has_body = a->status != 304 && !is_exactly(r->method, "HEAD");
  char message[64] = "";
  if (!has_file) {
    snprintf(message, sizeof message, "%d %s\n", a->status, reason_of(a->status));
  }
  const uint64_t bytes = has_file ? a->bytes : strlen(message);
  uint64_t sent = 0;
  bool is_sent;
  add_head(c, r, a, bytes);
  if (has_file && has_body) {
    sent = send_file(c, a);
    is_sent = sent == bytes;
  } else {
    if (has_body) add(c, message, NULL);
    is_sent = send_out(c);
    if (is_sent && has_body) sent = bytes;
  }
  log_request(c, r->line, a->status, sent, r->fields[REFERER], r->fields[AGENT]);
  return is_sent;
}

// If anything comes after close(2), or is not read before it, the connection is reset, and what is on its way of the
// answer is lost. So the client closes first, if it does so soon.
static void linger(client* c) {
  const uint64_t deadline_ns = mj_deadline_after(2 * SECOND_NS);
  if (shutdown(c->fd, SHUT_WR) != 0) return;
  while (mj_deadline_left(deadline_ns) > 0 &&
         mj_read(c->fd, c->out, sizeof c->out, mj_deadline_left(deadline_ns)) > 0) {
  }
}

// Returns whether there may be another one.
static bool handle_request(client* c) {
  request r = {.keeps_alive = false};
  answer a = {.file = -1};
  int status = read_request(c, &r);
  if (status == GONE) return false;
  a.status = status == 0 ? find_file(&r, &a) : status;
  if (stopping || c->is_leaving || a.status == 400) r.keeps_alive = false;
  const bool is_sent = send_answer(c, &r, &a);
  if (a.file >= 0) close(a.file);
  if (is_sent && !r.keeps_alive) linger(c);
  drop(c, r.bytes);
  return is_sent && r.keeps_alive;
}

static int serve(void* argument) {
  client* c = argument;
  while (handle_request(c)) {
  }
  mj_fd_close(c->fd);
  free(c);
  return 0;
}

// ---- Starting and stopping

static client* new_client(int fd, const struct sockaddr* address, socklen_t length) {
  client* c = malloc(sizeof *c);
  if (c == NULL) return NULL;
  c->fd = fd;
  c->end = 0;
  c->is_leaving = false;
  if (getnameinfo(address, length, c->address, sizeof c->address, NULL, 0, NI_NUMERICHOST) != 0) {
    strcpy(c->address, "-");
  }
  return c;
}

static void accept_clients(void* unused) {
  (void)unused;
  for (;;) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int fd = mj_accept(listener, (struct sockaddr*)&address, &length, MJ_FOREVER);
    if (fd < 0) {
      if (!stopping) MJ_ERROR("accept: %s", strerror(-fd));
      return;
    }
    room_is_wanted = mj_group_count(clients) >= settings[MAX].value;
    if (room_is_wanted && !TAILQ_EMPTY(&idle)) end_idle(TAILQ_FIRST(&idle));
    client* c = new_client(fd, (struct sockaddr*)&address, length);
    // If none is idle it waits here, for the first that is or ends, and others in the listener's queue.
    if (c == NULL || mj_group_go(clients, serve, c, MJ_FOREVER) != 0) {
      mj_fd_close(fd);
      free(c);
    }
    room_is_wanted = false;
  }
}

// Requests that have begun have their time; then their waits are canceled.
static void stop(void* unused) {
  (void)unused;
  stopping = true;
  mj_fd_close(listener);
  while (!TAILQ_EMPTY(&idle)) end_idle(TAILQ_FIRST(&idle));
}

static bool set(const char* argument) {
  for (int i = 0; i < SETTINGS; i++) {
    const size_t length = strlen(settings[i].name);
    if (strncmp(argument, settings[i].name, length) != 0 || argument[length] != '=') continue;
    const char* digits = argument + length + 1;
    uint64_t* value = &settings[i].value;
    if (!parse_number((text){digits, strlen(digits)}, value)) return false;
    return *value <= 1000000000 && (i != MAX || *value > 0);
  }
  return false;
}

// Returns 0 or -errno.
static int begin(const char* port) {
  const char* address = settings[PUBLIC].value != 0 ? "::" : "127.0.0.1";
  const int yes = 1;
  listener = mj_listen(address, port, 0, MJ_LISTEN_INHERITED);
  if (listener == -EAFNOSUPPORT && settings[PUBLIC].value != 0) {  // No IPv6.
    listener = mj_listen(NULL, port, 0, MJ_LISTEN_INHERITED);
  }
  if (listener < 0) return listener;
  mj_close_inherited();
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  // Also of what it accepts.
  scheduler = mj_scheduler_create();
  clients = mj_group_create(scheduler, settings[MAX].value);
  if (clients == NULL) return -errno;
  int result = mj_go(scheduler, write_log, NULL, &access_log.writer);
  return result == 0 ? mj_go(scheduler, accept_clients, NULL, NULL) : result;
}

int main(int argc, char** argv) {
  mj_log_to_stderr();
  mj_log_set_level(MJ_LOG_WARN);
  if (argc < 3) return fail("usage", "PORT DIRECTORY [NAME=VALUE...]");
  for (int i = 3; i < argc; i++) {
    if (!set(argv[i])) return fail("no such setting, or not such a value", argv[i]);
  }
  directory = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return fail(argv[2], strerror(errno));
  try_resolve();
  struct rlimit files;  // A client with a request has two.
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  int result = begin(argv[1]);
  if (result != 0) return fail("start", strerror(-result));
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
  getsockname(listener, (struct sockaddr*)&address, &length);
  getnameinfo((struct sockaddr*)&address, length, host, sizeof host, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  printf(strchr(host, ':') == NULL ? "http://%s:%s/\n" : "http://[%s]:%s/\n", host, port);
  fflush(stdout);
  mj_notify("READY=1");
  result = mj_run_until_signal(scheduler, stop, NULL, limit_ns(STOP));
  write_last_lines();
  mj_scheduler_destroy(scheduler);
  mj_group_destroy(clients);
  close(directory);
  return result != 0;
}
