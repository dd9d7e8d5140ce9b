// An HTTP/1.1 reverse proxy. Connections are kept alive on both sides, bodies are streamed in both
// directions at once, no faster than the other side takes them, and everything has a limit. On
// SIGTERM or Ctrl+C it takes no more requests, finishes those that have begun, and ends.
//
// Links with -lmajjen. `make examples` builds it:
//
//   target/examples/proxy ADDRESS PORT UPSTREAM-ADDRESS UPSTREAM-PORT [NAME=VALUE...]
//
// Addresses are numeric; port 0 is a free one, which it prints. The names are those of `settings`.
//
// It has no TLS, no cache and no log of requests. A client that ends its side may still read, so
// one that has gone is noticed when its answer comes. It refuses what two parsers might read in two
// ways: a message with two lengths or two hosts, a line that goes on in the next one, a line's end
// without its CR, names that are no tokens, control characters.
#define _GNU_SOURCE
#include "majjen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/resource.h>

#define HEAD_BYTES 16384
#define ANSWER_BYTES 32768  // So much of a body is passed on at a time.
#define MOST_FIELDS 100
#define MOST_OPTIONS 16

static struct setting {
  const char* name;
  uint64_t value;
} settings[] = {
    {"max", 1000},         // Clients at a time; others wait in the listener's backlog.
    {"connect_ms", 5000},  // To connect to the upstream.
    {"header_ms", 10000},  // For a request's head, from its first byte.
    {"answer_ms", 60000},  // For the head of the answer, once the request has been sent.
    {"idle_ms", 30000},    // Between two requests, and between two parts of a body.
    {"stop_ms", 30000},    // For what has begun before the stop.
    {"kept", 1000},        // Connections to the upstream that wait for their next request.
};
enum { MAX, CONNECT, HEADER, ANSWER, IDLE, STOP, KEPT, SETTINGS };

static uint64_t limit_ns(int setting) { return settings[setting].value * 1000000; }

static mj_scheduler* scheduler;
static mj_group* clients;
static struct addrinfo* upstream_address;
static bool stopping;

// ---- Texts: parts of what is in a stream's buffer

typedef struct text {
  const char* at;
  size_t bytes;
} text;

static text word(const char* string) { return (text){string, strlen(string)}; }

static bool is_exactly(text a, const char* b) {
  return a.bytes == strlen(b) && memcmp(a.at, b, a.bytes) == 0;
}

// Whatever the case of its letters.
static bool is(text a, text b) {
  return a.bytes == b.bytes && strncasecmp(a.at, b.at, b.bytes) == 0;
}

static text trim(text t) {
  while (t.bytes > 0 && (*t.at == ' ' || *t.at == '\t')) t = (text){t.at + 1, t.bytes - 1};
  while (t.bytes > 0 && (t.at[t.bytes - 1] == ' ' || t.at[t.bytes - 1] == '\t')) t.bytes--;
  return t;
}

// Takes the part before a separator, or all if there is none. False if nothing is left.
static bool take(text* rest, const char* separator, text* part) {
  *part = *rest;
  if (rest->bytes == 0) return false;
  const char* end = memmem(rest->at, rest->bytes, separator, strlen(separator));
  if (end != NULL) part->bytes = (size_t)(end - rest->at);
  const size_t taken = part->bytes + (end != NULL ? strlen(separator) : 0);
  *rest = (text){rest->at + taken, rest->bytes - taken};
  return true;
}

static bool parse_number(text digits, int base, uint64_t* number) {
  char copy[16];
  if (digits.bytes == 0 || digits.bytes >= sizeof copy) return false;
  memcpy(copy, digits.at, digits.bytes);
  copy[digits.bytes] = '\0';
  *number = strtoull(copy, NULL, base);
  return strspn(copy, base == 16 ? "0123456789abcdefABCDEF" : "0123456789") == digits.bytes;
}

// ---- The head of a message

// How a body ends.
typedef enum framing { EMPTY, LENGTH, CHUNKED, UNTIL_CLOSE } framing;

typedef struct message {
  text head;      // With the empty line behind it. It is in the buffer until the body is read.
  text start[3];  // The words of its first line; the third one of an answer is all the rest.
  text fields;
  bool is_old;  // HTTP/1.0
  bool keeps_alive, has_length, expects_continue;
  framing body;
  uint64_t length;
  text options[MOST_OPTIONS];  // The values of Connection.
  int option_count;
} message;

static bool next_field(text* fields, text* line, text* name, text* value) {
  if (!take(fields, "\r\n", line)) return false;
  *value = *line;
  *name = (text){line->at, 0};
  take(value, ":", name);
  *value = trim(*value);
  return true;
}

static bool has_option(const message* m, text wanted) {
  for (int i = 0; i < m->option_count; i++) {
    if (is(m->options[i], wanted)) return true;
  }
  return false;
}

// As names and methods are.
static bool is_token(text t) {
  for (size_t i = 0; i < t.bytes; i++) {
    const char byte = t.at[i], letter = (char)(byte | 0x20);
    if (letter >= 'a' && letter <= 'z') continue;
    if (byte == '\0' || strchr("-0123456789!#$%&'*+.^_`|~", byte) == NULL) return false;
  }
  return t.bytes > 0;
}

static bool has_control(text t) {
  for (size_t i = 0; i < t.bytes; i++) {
    const unsigned char byte = (unsigned char)t.at[i];
    if ((byte < ' ' && byte != '\t') || byte == 0x7f) return true;
  }
  return false;
}

// Returns 0, or the status with which to refuse the message.
static int parse(text head, bool is_request, message* m) {
  *m = (message){.head = head, .fields = {head.at, head.bytes - 4}};
  text first, line, name, value;
  if (!take(&m->fields, "\r\n", &first) || has_control(first)) return 400;
  take(&first, " ", &m->start[0]);
  if (!take(&first, " ", &m->start[1]) || m->start[1].bytes == 0) return 400;
  m->start[2] = first;
  if (is_request && !is_token(m->start[0])) return 400;
  if (memchr(m->start[1].at, '\t', m->start[1].bytes) != NULL) return 400;
  const text version = m->start[is_request ? 2 : 0];
  m->is_old = is_exactly(version, "HTTP/1.0");
  if (!m->is_old && !is_exactly(version, "HTTP/1.1")) {
    return version.bytes == 8 && memcmp(version.at, "HTTP/", 5) == 0 ? 505 : 400;
  }

  bool is_chunked = false;
  int count = 0, hosts = 0;
  for (text fields = m->fields; next_field(&fields, &line, &name, &value);) {
    if (++count > MOST_FIELDS) return 431;
    // A line that begins with a space would go on with the one before.
    if (!is_token(name) || name.bytes == line.bytes || has_control(value)) return 400;
    if (is(name, word("Content-Length"))) {
      if (m->has_length || !parse_number(value, 10, &m->length)) return 400;
      m->has_length = true;
    } else if (is(name, word("Transfer-Encoding"))) {
      if (is_chunked || m->is_old) return 400;
      if (!is(value, word("chunked"))) return 501;
      is_chunked = true;
    } else if (is(name, word("Connection"))) {
      for (text option; take(&value, ",", &option);) {
        if (m->option_count == MOST_OPTIONS) return 431;
        m->options[m->option_count++] = trim(option);
      }
    } else if (is(name, word("Expect"))) {
      m->expects_continue = is(value, word("100-continue"));
    } else if (is(name, word("Host"))) {
      hosts++;
    }
  }
  // It is for the upstream too, whatever Connection says.
  if (is_request && (hosts > 1 || (hosts == 0 && !m->is_old))) return 400;
  if (is_request && has_option(m, word("Host"))) return 400;
  if (is_chunked && m->has_length) return 400;
  m->body = is_chunked ? CHUNKED : m->length > 0 ? LENGTH : EMPTY;
  m->keeps_alive = m->is_old ? has_option(m, word("keep-alive")) : !has_option(m, word("close"));
  return 0;
}

// Reads until the head is in the buffer, and leaves it there.
static int read_head(mj_stream* from, uint64_t deadline_ns, text* head) {
  for (size_t looked_at = 0;;) {
    char* data;
    ssize_t bytes = mj_stream_peek(from, looked_at + 1, &data, mj_deadline_left(deadline_ns));
    if (bytes < 0) return (int)bytes;
    if ((size_t)bytes <= looked_at) return -ECONNRESET;
    const size_t from_byte = looked_at < 3 ? 0 : looked_at - 3;
    const char* end = memmem(data + from_byte, (size_t)bytes - from_byte, "\r\n\r\n", 4);
    if (end != NULL) {
      *head = (text){data, (size_t)(end + 4 - data)};
      return 0;
    }
    looked_at = (size_t)bytes;
  }
}

// ---- Writing

// -EPIPE if the other side takes nothing, so that -ETIMEDOUT is always for who has sent nothing.
static int put(mj_stream* to, text t) {
  int result = mj_stream_write(to, t.at, t.bytes, limit_ns(IDLE), NULL);
  return result == -ETIMEDOUT ? -EPIPE : result;
}

static int flush(mj_stream* to) {
  int result = mj_stream_flush(to, limit_ns(IDLE));
  return result == -ETIMEDOUT ? -EPIPE : result;
}

// Puts the fields that are for the other side too, and those that are for this connection alone.
static int put_fields(mj_stream* to, const message* m, framing body, const char* own) {
  static const char* const not_passed_on[] = {
      "Connection", "Content-Length", "Expect",            "Keep-Alive", "Proxy-Connection",
      "TE",         "Trailer",        "Transfer-Encoding", "Upgrade"};
  int result = 0;
  text line, name, value;
  for (text fields = m->fields; result == 0 && next_field(&fields, &line, &name, &value);) {
    bool is_passed_on = !has_option(m, name);
    for (size_t i = 0; i < sizeof not_passed_on / sizeof *not_passed_on; i++) {
      if (is(name, word(not_passed_on[i]))) is_passed_on = false;
    }
    if (is_passed_on) result = put(to, (text){line.at, line.bytes + 2});
  }
  char framing[64] = "";
  if (body == CHUNKED) {
    strcpy(framing, "Transfer-Encoding: chunked\r\n");
  } else if (m->has_length) {  // Also without a body, as in the answer to HEAD.
    snprintf(framing, sizeof framing, "Content-Length: %llu\r\n", (unsigned long long)m->length);
  }
  if (result == 0) result = put(to, word(framing));
  return result == 0 ? put(to, word(own)) : result;
}

// ---- Bodies

// Waits for more from one side. What the other one is to get is on its way before that.
static ssize_t more(mj_stream* from, mj_stream* to, char** data) {
  ssize_t bytes = mj_stream_peek(from, 0, data, 0);
  if (bytes != 0) return bytes;
  int result = flush(to);
  return result < 0 ? result : mj_stream_peek(from, 1, data, limit_ns(IDLE));
}

static int copy_bytes(mj_stream* from, mj_stream* to, uint64_t bytes, framing out) {
  int result = 0;
  while (result == 0 && bytes > 0) {
    char* data;
    ssize_t there = more(from, to, &data);
    if (there == 0) return bytes == UINT64_MAX ? 0 : -ECONNRESET;
    if (there < 0) return (int)there;
    const text part = {data, (uint64_t)there < bytes ? (size_t)there : (size_t)bytes};
    char size[32];
    snprintf(size, sizeof size, "%zx\r\n", part.bytes);
    if (out == CHUNKED) result = put(to, word(size));
    if (result == 0) result = put(to, part);
    if (result == 0 && out == CHUNKED) result = put(to, word("\r\n"));
    if (result == 0) result = mj_stream_skip(from, part.bytes);
    if (bytes != UINT64_MAX) bytes -= part.bytes;
  }
  return result;
}

// Reads a line of what frames a body. -EPROTO if it has no proper end.
static int read_line(mj_stream* from, mj_stream* to, text* line) {
  char* data;
  ssize_t bytes = more(from, to, &data);
  if (bytes > 0) bytes = mj_stream_read_line(from, &data, limit_ns(IDLE));
  if (bytes == -EMSGSIZE) return -EPROTO;
  if (bytes < 0) return (int)bytes;
  if (bytes < 2 || memcmp(data + bytes - 2, "\r\n", 2) != 0) return -EPROTO;
  *line = (text){data, (size_t)bytes - 2};
  return 0;
}

static int copy_chunks(mj_stream* from, mj_stream* to, framing out) {
  text line, digits;
  uint64_t size;
  for (;;) {
    int result = read_line(from, to, &line);
    if (result != 0) return result;
    take(&line, ";", &digits);
    if (!parse_number(trim(digits), 16, &size)) return -EPROTO;
    if (size == 0) break;
    result = copy_bytes(from, to, size, out);
    if (result == 0) result = read_line(from, to, &line);
    if (result != 0) return result;
    if (line.bytes != 0) return -EPROTO;
  }
  // Fields behind the last chunk are not passed on.
  for (int count = 0; count <= MOST_FIELDS; count++) {
    int result = read_line(from, to, &line);
    if (result != 0 || line.bytes == 0) return result;
  }
  return -EPROTO;
}

// Copies a body as fast as both sides can. Returns when the last byte is on its way.
static int copy_body(mj_stream* from, mj_stream* to, framing in, uint64_t length, framing out) {
  int result = 0;
  if (in == LENGTH) result = copy_bytes(from, to, length, out);
  if (in == UNTIL_CLOSE) result = copy_bytes(from, to, UINT64_MAX, out);
  if (in == CHUNKED) result = copy_chunks(from, to, out);
  if (result == 0 && out == CHUNKED) result = put(to, word("0\r\n\r\n"));
  return result == 0 ? flush(to) : result;
}

// ---- Connections to the upstream

static mj_stream* open_stream(int fd, size_t bytes) {
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  // What is written is whole already.
  mj_stream* stream = mj_stream_create(fd, bytes, 0);
  if (stream == NULL) mj_fd_close(fd);
  return stream;
}

// Those that no request uses. Tasks hand them on without a lock: they share a thread.
// The last one that comes is the first to go, so those at the bottom have waited for longest.
static struct kept {
  mj_stream* stream;
  uint64_t until_ns;
}* kept;
static size_t kept_count;

static void keep_upstream(mj_stream* stream) {
  char* data;
  // In this order: the peek may suspend, and others keep theirs meanwhile.
  if (mj_stream_peek(stream, 0, &data, 0) == 0 && kept_count < settings[KEPT].value) {
    kept[kept_count++] = (struct kept){stream, mj_deadline_after(limit_ns(IDLE))};
  } else {
    mj_stream_destroy(stream);
  }
}

static mj_stream* take_kept(void) {
  while (kept_count > 0) {
    const struct kept last = kept[--kept_count];
    char byte;
    ssize_t bytes = recv(mj_stream_fd(last.stream), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // Neither the end nor anything else has come.
    if (bytes < 0 && errno == EAGAIN && mj_deadline_left(last.until_ns) > 0) return last.stream;
    mj_stream_destroy(last.stream);
  }
  return NULL;
}

// After a burst many are kept that nobody takes any more.
static void drop_idle(void* unused) {
  (void)unused;
  mj_task_set_daemon(true);  // The run ends without it.
  while (mj_sleep_ns(limit_ns(IDLE) / 4 + 1000000) == 0) {
    size_t late = 0;
    while (late < kept_count && mj_deadline_left(kept[late].until_ns) == 0) {
      mj_stream_destroy(kept[late++].stream);  // Does not suspend.
    }
    kept_count -= late;
    memmove(kept, kept + late, kept_count * sizeof *kept);
  }
}

static int connect_upstream(mj_stream** stream) {
  int fd = socket(upstream_address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const struct addrinfo* to = upstream_address;
  int result = mj_connect(fd, to->ai_addr, to->ai_addrlen, limit_ns(CONNECT));
  if (result != 0) {
    mj_fd_close(fd);
    return result;
  }
  *stream = open_stream(fd, ANSWER_BYTES);
  return *stream != NULL ? 0 : -ENOMEM;
}

// ---- A request and its answer

typedef struct exchange {
  mj_stream *client, *upstream;
  message request, answer;
  mj_group* sender;  // Of the request's body, if it has one.
  int sent;          // How sending the request ended: 0, once all is sent.
} exchange;

static int send_body(void* argument) {
  exchange* x = argument;
  x->sent = copy_body(x->client, x->upstream, x->request.body, x->request.length, x->request.body);
  // If it is cut off, the upstream sees that.
  if (x->sent != 0) shutdown(mj_stream_fd(x->upstream), SHUT_WR);
  return x->sent;
}

// Sends the request's head, and begins with its body, which goes on while the answer comes.
static int send_request(exchange* x) {
  const message* m = &x->request;
  x->sent = -EINPROGRESS;
  int result = put(x->upstream, (text){m->start[0].at, m->start[0].bytes + 1 + m->start[1].bytes});
  if (result == 0) result = put(x->upstream, word(" HTTP/1.1\r\n"));
  if (result == 0) result = put_fields(x->upstream, m, m->body, "Via: 1.1 proxy\r\n\r\n");
  if (result != 0) return result;
  if (m->body == EMPTY) return x->sent = flush(x->upstream);

  if (m->expects_continue && !m->is_old) {
    result = put(x->client, word("HTTP/1.1 100 Continue\r\n\r\n"));
    if (result == 0) result = flush(x->client);
    if (result != 0) return -ECONNABORTED;
  }
  mj_stream_skip(x->client, m->head.bytes);
  x->sender = mj_group_create(scheduler, 1);
  return x->sender == NULL ? -ENOMEM : mj_group_try_go(x->sender, send_body, x);
}

static int read_answer(exchange* x) {
  for (;;) {
    text head;
    int result = read_head(x->upstream, mj_deadline_after(limit_ns(ANSWER)), &head);
    // A body that is under way has limits of its own.
    if (result == -ETIMEDOUT && mj_group_count(x->sender) > 0) continue;
    if (result != 0) return result;
    uint64_t status;
    if (parse(head, false, &x->answer) != 0 || x->answer.start[1].bytes != 3) return -EPROTO;
    if (!parse_number(x->answer.start[1], 10, &status)) return -EPROTO;
    if (status >= 200) return 0;
    // What changes the protocol is not passed on, so nobody has asked for 101.
    if (status < 100 || status == 101) return -EPROTO;
    mj_stream_skip(x->upstream, head.bytes);  // 100 Continue and the like: there is more to come.
  }
}

static int ask(exchange* x) {
  const text method = x->request.start[0];
  const bool is_repeatable = x->request.body == EMPTY &&
                             (is_exactly(method, "GET") || is_exactly(method, "HEAD"));
  // The upstream may close a kept connection at any time, so only what may be sent twice is sent by
  // one.
  if (is_repeatable && (x->upstream = take_kept()) != NULL) {
    int result = send_request(x);
    if (result == 0) result = read_answer(x);
    if (result == 0 || result == -ETIMEDOUT || result == -EPROTO) return result;
    mj_stream_destroy(x->upstream);
    x->upstream = NULL;
  }
  int result = connect_upstream(&x->upstream);
  if (result == 0) result = send_request(x);
  // An upstream that refuses a body may have answered, and closed.
  return result == 0 || result == -EPIPE ? read_answer(x) : result;
}

// The end of a connection would look like that of the body.
static void reset(mj_stream* stream) {
  const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
  connect(mj_stream_fd(stream), &nobody, sizeof nobody);
}

// Passes the answer on. Returns whether the client may send another request.
static bool pass_on_answer(exchange* x, bool is_head) {
  message* m = &x->answer;
  const text status = m->start[1];
  if (is_head || is_exactly(status, "204") || is_exactly(status, "304")) {
    m->body = EMPTY;
  } else if (m->body == EMPTY && !m->has_length) {
    m->body = UNTIL_CLOSE;
  }
  framing out = m->body;
  if (out == CHUNKED || out == UNTIL_CLOSE) out = x->request.is_old ? UNTIL_CLOSE : CHUNKED;
  bool goes_on = x->request.keeps_alive && out != UNTIL_CLOSE && !stopping;

  int result = put(x->client, word("HTTP/1.1 "));
  if (result == 0) result = put(x->client, status);
  if (result == 0) result = put(x->client, word(" "));
  if (result == 0) result = put(x->client, m->start[2]);
  if (result == 0) result = put(x->client, word("\r\n"));
  const char* own = goes_on ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  if (result == 0) result = put_fields(x->client, m, out, own);
  if (result != 0) return false;
  mj_stream_skip(x->upstream, m->head.bytes);
  // If it is cut off, the client sees that.
  if (copy_body(x->upstream, x->client, m->body, m->length, out) != 0) {
    if (out == UNTIL_CLOSE) reset(x->client);
    return false;
  }
  if (x->sent == 0 && m->keeps_alive && m->body != UNTIL_CLOSE) {
    keep_upstream(x->upstream);
    x->upstream = NULL;
  }
  // What is left of a request that could not be sent is not taken for the next one.
  return goes_on && x->sent == 0;
}

static bool refuse(mj_stream* client, int status) {
  const char* reason = status == 400   ? "Bad Request"
                       : status == 408 ? "Request Timeout"
                       : status == 431 ? "Request Header Fields Too Large"
                       : status == 501 ? "Not Implemented"
                       : status == 502 ? "Bad Gateway"
                       : status == 504 ? "Gateway Timeout"
                                       : "HTTP Version Not Supported";
  char answer[256];
  snprintf(answer, sizeof answer,
           "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%d %s\n", status,
           reason, strlen(reason) + 5, status, reason);
  if (put(client, word(answer)) == 0) flush(client);
  return false;
}

// Handles one request, which has begun to come. Returns whether there may be another one.
static bool handle_request(mj_stream* client) {
  exchange x = {.client = client};
  text head;
  const uint64_t deadline_ns = mj_deadline_after(limit_ns(HEADER));
  int result = read_head(client, deadline_ns, &head);
  if (result == 0 && memcmp(head.at, "\r\n", 2) == 0) {  // Some send one behind a body.
    mj_stream_skip(client, 2);
    result = read_head(client, deadline_ns, &head);
  }
  if (result == -ETIMEDOUT) return refuse(client, 408);
  if (result == -EMSGSIZE) return refuse(client, 431);
  if (result != 0) return false;  // It has gone.
  int status = parse(head, true, &x.request);
  if (status == 0 && is_exactly(x.request.start[0], "CONNECT")) status = 501;
  if (status != 0) return refuse(client, status);

  const bool is_head = is_exactly(x.request.start[0], "HEAD");
  bool goes_on = false;
  result = ask(&x);
  if (result == 0) {
    if (x.request.body == EMPTY) mj_stream_skip(client, head.bytes);
    goes_on = pass_on_answer(&x, is_head);
  } else {
    // Whoever is to blame: the client, if its body was at fault.
    refuse(client, x.sent == -ETIMEDOUT ? 408
                   : x.sent == -EPROTO  ? 400
                   : result == -ETIMEDOUT ? 504
                                          : 502);
  }
  // Nobody reads the rest of a body that has been answered.
  if (x.sender != NULL) mj_group_end(x.sender, 0);
  mj_group_destroy(x.sender);
  if (x.upstream != NULL) mj_stream_destroy(x.upstream);
  return goes_on;
}

// ---- Clients

static int serve(void* argument) {
  mj_stream* client = open_stream((int)(intptr_t)argument, HEAD_BYTES);
  if (client == NULL) return -ENOMEM;
  bool goes_on = true;
  char* data;
  // While it waits for a request, the stop ends it; a request that has begun is finished.
  while (goes_on && mj_stream_peek(client, 1, &data, limit_ns(IDLE)) > 0) {
    mj_task_set_cancelable(false, NULL);
    goes_on = handle_request(client);
    // Closing while there is something to read would reset the connection, and the answer might be
    // lost. So the client closes first, if it does so soon.
    if (!goes_on && mj_stream_shutdown(client, SHUT_WR, 0) == 0) {
      char unread[4096];
      const uint64_t deadline_ns = mj_deadline_after(UINT64_C(1000000000));
      while (mj_stream_read(client, unread, sizeof unread, mj_deadline_left(deadline_ns)) > 0 &&
             mj_deadline_left(deadline_ns) > 0) {
      }
    }
    mj_task_set_cancelable(true, NULL);
  }
  return mj_stream_destroy(client);
}

static void accept_clients(void* argument) {
  const int listener = *(int*)argument;
  for (;;) {
    int fd = mj_accept(listener, NULL, NULL, MJ_FOREVER);
    if (fd < 0) break;  // Canceled.
    if (mj_group_go(clients, serve, (void*)(intptr_t)fd, MJ_FOREVER) != 0) mj_fd_close(fd);
  }
  mj_fd_close(listener);
  mj_task_set_cancelable(false, NULL);
  mj_group_cancel(clients);
  if (mj_group_wait(clients, limit_ns(STOP)) != 0) mj_scheduler_stop(scheduler);
}

// ---- Starting and stopping

static bool set(const char* argument) {
  for (int i = 0; i < SETTINGS; i++) {
    const size_t length = strlen(settings[i].name);
    if (strncmp(argument, settings[i].name, length) != 0 || argument[length] != '=') continue;
    uint64_t* value = &settings[i].value;
    return parse_number(word(argument + length + 1), 10, value) && *value <= 1000000000;
  }
  return false;
}

static int fail(const char* what, const char* why) {
  fprintf(stderr, "proxy: %s: %s\n", what, why);
  return 1;
}

int main(int argc, char** argv) {
  mj_log_set_level(MJ_LOG_WARN);
  if (argc < 5) return fail("usage", "ADDRESS PORT UPSTREAM-ADDRESS UPSTREAM-PORT [NAME=VALUE...]");
  for (int i = 5; i < argc; i++) {
    if (!set(argv[i])) return fail("no such setting", argv[i]);
  }
  const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
  int error = getaddrinfo(argv[3], argv[4], &numeric, &upstream_address);
  if (error != 0) return fail(argv[3], gai_strerror(error));
  struct rlimit files;  // A client has up to two, and as many may be kept.
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  int listener = mj_listen(argv[1], argv[2], 0, 0);
  if (listener < 0) return fail("cannot listen", strerror(-listener));
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char port[NI_MAXSERV] = "";
  getsockname(listener, (struct sockaddr*)&address, &length);
  getnameinfo((struct sockaddr*)&address, length, NULL, 0, port, sizeof port, NI_NUMERICSERV);

  scheduler = setup_scheduler_with_epoll();
  clients = mj_group_create(scheduler, settings[MAX].value);
  kept = calloc(settings[KEPT].value + 1, sizeof *kept);
  mj_task_id acceptor;
  if (clients == NULL || kept == NULL || mj_go(scheduler, drop_idle, NULL, NULL) != 0 ||
      mj_go(scheduler, accept_clients, &listener, &acceptor) != 0) {
    return fail("start", strerror(errno));
  }
  printf("http://%s:%s/\n", argv[1], port);
  fflush(stdout);
  int result = mj_run(scheduler);
  if (result == MJ_RUN_SIGNAL) {
    stopping = true;
    mj_scheduler_cancel(scheduler, acceptor);
    // Until all have ended, or the limit or another signal cuts them off.
    result = mj_run(scheduler);
  }
  if (result != 0) fprintf(stderr, "proxy: %zu clients are cut off\n", mj_group_count(clients));
  while (kept_count > 0) mj_stream_destroy(kept[--kept_count].stream);
  free(kept);
  mj_scheduler_destroy(scheduler);
  mj_group_destroy(clients);
  freeaddrinfo(upstream_address);
  return result != 0;
}
