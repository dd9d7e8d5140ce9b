// A key-value server that speaks RESP2, the protocol of Redis, to redis-cli and to client libraries: strings,
// lists, keys that expire, and one bound for what they take. It keeps nothing on a disk.
//
// Links with -lmajjen. `make examples` builds it:
//
//   target/examples/kv_server PORT [NAME=VALUE...]
//
// It listens at 127.0.0.1 only, and asks for no password. Port 0 is a free one, which it prints. The names are those
// of `settings`; what it understands is in `commands`.
//
// Each client has a task, which runs the commands that have come, and writes their answers by one call, before it
// reads again. So who does not read its answers keeps only itself waiting, and nothing piles up for it. A command
// suspends only where it answers: no other one sees half of what it does.
//
// On SIGTERM or Ctrl+C it takes no more clients, answers what it has read, and ends.
#define _GNU_SOURCE
#include "majjen.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define IN_BYTES 16384  // A client's buffer. A larger command has another one; no line is larger.
#define OUT_BYTES 16384
#define WRITE_BYTES (256 << 10)
#define MOST_ARGS 4096     // Of a command.
#define MOST_COMMANDS 500  // Of one client, before the others have their turn.
#define MOST_FREED 500     // Elements of deleted lists, before all have.
#define HEAP_BYTES 16      // About what malloc() needs for itself.

static struct setting {
  const char* name;
  uint64_t value;
} settings[] = {
    {"memory_mb", 256},   // Keys, values, and commands that are larger than IN_BYTES.
    {"clients", 1000},    // At a time, of sizeof(client) and a stack each. Others wait.
    {"bulk_mb", 64},      // The longest key or value.
    {"idle_ms", 0},       // For a client to send something; 0: any time.
    {"rest_ms", 60000},   // For it to send the rest of a command that has begun.
    {"write_ms", 30000},  // For it to take WRITE_BYTES of its answers.
    {"stop_ms", 10000},   // For answers that are on their way at the stop.
};
enum { MEMORY, CLIENTS, BULK, IDLE, REST, WRITE, STOP, SETTINGS };

static uint64_t limit_ns(int setting) { return settings[setting].value * MS; }

static mj_scheduler* scheduler;
static mj_group* clients;
static int listener;
static mj_task* sweeper;

typedef struct text {
  const char* at;
  size_t bytes;
} text;

// ---- Memory: what clients can fill, with one bound

typedef struct string {
  struct string *before, *after;  // In a list.
  uint32_t bytes, room;
  uint32_t holders;  // Its key, and clients to which it is being written.
  char data[];
} string;

static size_t used_bytes, limit_bytes;
static string* garbage;  // Lists that have been deleted: freeing one may take long.

static void give_back(void* memory, size_t bytes) {
  if (memory != NULL) used_bytes -= bytes + HEAP_BYTES;
  free(memory);
}

static void let_go(string* s) {
  if (s != NULL && --s->holders == 0) give_back(s, sizeof *s + s->room);
}

static text text_of(const string* s) { return (text){s->data, s->bytes}; }

static void collect_garbage(void) {
  for (int i = 0; i < MOST_FREED && garbage != NULL; i++) {
    string* s = garbage;
    garbage = s->after;
    let_go(s);
  }
}

static inline bool is_room_for(size_t bytes) {
  while (bytes > limit_bytes - used_bytes && garbage != NULL) collect_garbage();
  return bytes <= limit_bytes - used_bytes;
}

static void* take(size_t bytes) {
  if (!is_room_for(bytes + HEAP_BYTES)) return NULL;
  void* memory = malloc(bytes);
  if (memory != NULL) used_bytes += bytes + HEAP_BYTES;
  return memory;
}

static string* new_string(text value) {
  // What malloc() gives in any case, so that a later value may fit.
  const size_t bytes = ((sizeof(string) + value.bytes + 23) & ~(size_t)15) - 8;
  string* s = take(bytes);
  if (s == NULL) return NULL;
  *s = (string){.bytes = (uint32_t)value.bytes, .holders = 1};
  s->room = (uint32_t)(bytes - sizeof *s);
  memcpy(s->data, value.at, value.bytes);
  return s;
}

// ---- The table: linear hashing (W. Litwin, 1980). It grows by one bucket at a time, so never for long.

#define FIRST_BUCKETS 1024

typedef struct entry {
  struct entry* next;
  uint64_t hash;
  uint64_t expires_ns;   // 0: never.
  string *first, *last;  // The value is `first`, or all of a list,
  size_t count;          // if this is not 0.
  size_t key_bytes;
  char key[];
} entry;

// The first segment has FIRST_BUCKETS, and each other one as many as all before it.
static entry** segments[48];
static size_t bucket_count, level;  // `level` is the largest power of two in `bucket_count`.
static size_t entry_count, expiring_count;
static uint64_t seed[2];

static uint64_t rotated(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline void mix(uint64_t v[4]) {
  v[0] += v[1], v[1] = rotated(v[1], 13) ^ v[0], v[0] = rotated(v[0], 32);
  v[2] += v[3], v[3] = rotated(v[3], 16) ^ v[2];
  v[0] += v[3], v[3] = rotated(v[3], 21) ^ v[0];
  v[2] += v[1], v[1] = rotated(v[1], 17) ^ v[2], v[2] = rotated(v[2], 32);
}

// SipHash-1-3 (J.-P. Aumasson and D. J. Bernstein, 2012): nobody can choose keys that collide.
static uint64_t hash_of(text key) {
  uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                   seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573)};
  uint64_t word, last = (uint64_t)key.bytes << 56;
  for (; key.bytes >= 8; key.at += 8, key.bytes -= 8) {
    memcpy(&word, key.at, 8);
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
  }
  while (key.bytes-- > 0) last |= (uint64_t)(unsigned char)key.at[key.bytes] << (8 * key.bytes);
  v[3] ^= last;
  mix(v);
  v[0] ^= last;
  v[2] ^= 0xff;
  mix(v), mix(v), mix(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static entry** bucket(size_t index) {
  if (index < FIRST_BUCKETS) return &segments[0][index];
  const int segment = 64 - __builtin_clzll(index / FIRST_BUCKETS);
  return &segments[segment][index - ((size_t)FIRST_BUCKETS << (segment - 1))];
}

static entry** bucket_of(uint64_t hash) {
  const size_t index = hash & (2 * level - 1);
  return bucket(index < bucket_count ? index : index - level);
}

// Adds a bucket, for what is in one other and belongs here now. Without memory the table gets slower. Not while a
// command runs: this may take the room that the command is to have.
static void grow(void) {
  if (bucket_count == level) {
    if (!is_room_for(level * sizeof(entry*) + HEAP_BYTES)) return;
    entry** segment = calloc(level, sizeof *segment);
    if (segment == NULL) return;
    used_bytes += level * sizeof *segment + HEAP_BYTES;
    segments[64 - __builtin_clzll(level / FIRST_BUCKETS)] = segment;
  }
  entry **from = bucket(bucket_count - level), **to = bucket(bucket_count);
  for (entry* e; (e = *from) != NULL;) {
    if ((e->hash & level) == 0) {
      from = &e->next;
    } else {
      *from = e->next;
      e->next = *to;
      *to = e;
    }
  }
  if (++bucket_count == 2 * level) level *= 2;
}

static void set_expiry(entry* e, uint64_t expires_ns) {
  if (e->expires_ns != 0) expiring_count--;
  if (expires_ns != 0 && expiring_count++ == 0) mj_task_wake(sweeper);
  e->expires_ns = expires_ns;
}

static void clear(entry* e) {
  if (e->count == 0) {
    let_go(e->first);
  } else {
    e->last->after = garbage;
    garbage = e->first;
    mj_task_wake(sweeper);  // Or a command could free much, of many lists.
  }
  e->first = e->last = NULL;
  e->count = 0;
}

static void delete_entry(entry* e) {
  entry** link = bucket_of(e->hash);
  while (*link != e) link = &(*link)->next;
  *link = e->next;
  entry_count--;
  set_expiry(e, 0);
  clear(e);
  give_back(e, sizeof *e + e->key_bytes);
}

static bool is_over(const entry* e) {
  return e->expires_ns != 0 && e->expires_ns <= mj_scheduler_now_ns(scheduler);
}

static entry* find(text key) {
  const uint64_t hash = hash_of(key);
  entry* e = *bucket_of(hash);
  while (e != NULL && (e->hash != hash || e->key_bytes != key.bytes ||
                       memcmp(e->key, key.at, key.bytes) != 0)) {
    e = e->next;
  }
  if (e == NULL || !is_over(e)) return e;
  delete_entry(e);
  return NULL;
}

// A key that was not there, still without a value.
static entry* add(text key) {
  entry* e = take(sizeof *e + key.bytes);
  if (e == NULL) return NULL;
  *e = (entry){.hash = hash_of(key), .key_bytes = key.bytes};
  memcpy(e->key, key.at, key.bytes);
  entry_count++;
  entry** link = bucket_of(e->hash);
  e->next = *link;
  *link = e;
  return e;
}

// Gives a key, whose entry is `e` if it has one, a string. NULL without memory: it has its old value.
static entry* store(entry* e, text key, text value) {
  string* s = e != NULL && e->count == 0 ? e->first : NULL;
  // In place, unless others read it or much would be wasted.
  if (s != NULL && s->holders == 1 && value.bytes <= s->room && s->room <= 2 * value.bytes + 64) {
    memcpy(s->data, value.at, value.bytes);
    s->bytes = (uint32_t)value.bytes;
    return e;
  }
  s = new_string(value);
  if (s != NULL && e == NULL) e = add(key);
  if (s == NULL || e == NULL) {
    let_go(s);
    return NULL;
  }
  clear(e);
  e->first = s;
  return e;
}

static void push(entry* list, string* s, bool in_front) {
  string* next = in_front ? list->first : list->last;
  *(in_front ? &s->after : &s->before) = next;
  if (next == NULL) list->first = list->last = s;
  else *(in_front ? &next->before : &next->after) = s;
  *(in_front ? &list->first : &list->last) = s;
  list->count++;
}

static string* pop(entry* list, bool in_front) {
  string* s = in_front ? list->first : list->last;
  string* next = in_front ? s->after : s->before;
  *(in_front ? &list->first : &list->last) = next;
  if (next == NULL) list->first = list->last = NULL;
  else *(in_front ? &next->before : &next->after) = NULL;
  if (--list->count == 0) delete_entry(list);
  return s;
}

// Frees garbage and what has expired, a little at a time. While there is neither, it is parked.
static void sweep(void* unused) {
  (void)unused;
  mj_task_set_daemon(true);  // The run ends without it.
  sweeper = mj_task_current();
  size_t index = 0;
  for (int result = 0; result != -ECANCELED;) {
    size_t looked_at = 0, over = 0;
    collect_garbage();
    for (int i = 0; i < 1000 && expiring_count > 0; i++) {
      index = (index + 1) % bucket_count;
      for (entry *e = *bucket(index), *next; e != NULL; e = next) {
        next = e->next;
        looked_at += e->expires_ns != 0;
        if (!is_over(e)) continue;
        delete_entry(e);
        over++;
      }
    }
    // Where one in ten is over, there are more.
    if (garbage != NULL || 10 * over > looked_at) result = mj_yield();
    else result = expiring_count > 0 ? mj_sleep_ns(50 * MS) : mj_task_park(MJ_FOREVER);
  }
}

// ---- Clients, and how they are answered

typedef struct client {
  int fd;
  bool closes, is_gone;
  // What has been read, in `own` or in the heap: a command from `start` on, which is parsed up to `at`. At `end`
  // there is a NUL.
  char *in, *start, *at, *end;
  size_t in_room;
  size_t arg_count;             // What has come of it, in `args`,
  size_t args_left, bulk_left;  // and what has not. 0: not even how much that is.
  bool is_skipped;              // There is no memory for it.
  uint64_t rest_ns;             // Until when it is waited for, or 0.
  string* held;                 // While it is written.
  size_t out_bytes;
  // Pages that are never used cost nothing.
  char own[IN_BYTES + 1];
  char out[OUT_BYTES];
  text args[MOST_ARGS];
} client;

static bool write_now(client* c, const char* data, size_t bytes) {
  // Who reads, however much it is, is not cut off.
  for (size_t part; bytes > 0 && !c->is_gone; data += part, bytes -= part) {
    part = bytes < WRITE_BYTES ? bytes : WRITE_BYTES;
    if (mj_write(c->fd, data, part, limit_ns(WRITE)) < 0) c->is_gone = c->closes = true;
  }
  return !c->is_gone;
}

static bool flush(client* c) {
  const size_t bytes = c->out_bytes;
  c->out_bytes = 0;
  return bytes == 0 || write_now(c, c->out, bytes);
}

// Where there is no room it suspends: `data` must be there as long. False if the client has gone.
static bool put(client* c, const char* data, size_t bytes) {
  if (bytes > OUT_BYTES - c->out_bytes && !flush(c)) return false;
  if (bytes > OUT_BYTES) return write_now(c, data, bytes);
  memcpy(c->out + c->out_bytes, data, bytes);
  c->out_bytes += bytes;
  return true;
}

// `line` is a literal.
#define put_line(c, line) put(c, line "\r\n", sizeof(line "\r\n") - 1)

// Returns where the digits begin that end at `end`.
static char* digits_before(char* end, int64_t number) {
  uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  do *--end = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (number < 0) *--end = '-';
  return end;
}

static bool put_number(client* c, char kind, int64_t number) {
  char line[24], *const end = line + sizeof line - 2;
  memcpy(end, "\r\n", 2);
  char* begin = digits_before(end, number) - 1;
  *begin = kind;
  return put(c, begin, (size_t)(end + 2 - begin));
}

static bool put_bulk(client* c, text value) {
  return put_number(c, '$', (int64_t)value.bytes) && put(c, value.at, value.bytes) &&
         put(c, "\r\n", 2);
}

// A string that is held, so that it is there however long this takes; then it is let go.
static bool put_held(client* c, string* s) {
  c->held = s;
  const bool result = put_bulk(c, text_of(s));
  let_go(s);
  c->held = NULL;
  return result;
}

// ---- Commands: each one answers

#define OK "+OK"
#define NOTHING "$-1"
#define NO_MEMORY "-OOM command not allowed: memory_mb is used up"
#define NO_INTEGER "-ERR value is not an integer or out of range"
#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value"

// `format` has a place for a command's name, which may be any bytes.
static bool put_error(client* c, const char* format, text name) {
  char line[160], shown[64];
  const int bytes = (int)(name.bytes < sizeof shown ? name.bytes : sizeof shown);
  for (int i = 0; i < bytes; i++) shown[i] = (unsigned char)name.at[i] < ' ' ? ' ' : name.at[i];
  return put(c, line, (size_t)snprintf(line, sizeof line, format, bytes, shown));
}

static bool put_wrong_count(client* c, const char* name) {
  const char* format = "-ERR wrong number of arguments for '%.*s' command\r\n";
  return put_error(c, format, (text){name, strlen(name)});
}

static bool is_word(text t, const char* word) {
  return t.bytes == strlen(word) && strncasecmp(t.at, word, t.bytes) == 0;
}

// Only as digits_before() writes it.
static bool parse_integer(text t, int64_t* number) {
  const bool is_negative = t.bytes > 0 && *t.at == '-';
  uint64_t value = 0;
  if (t.bytes == is_negative || t.bytes > 20) return false;
  for (size_t i = is_negative; i < t.bytes; i++) {
    const unsigned digit = (unsigned)(t.at[i] - '0');
    if (digit > 9 || value > (UINT64_MAX - digit) / 10) return false;
    if (value == 0 && i > is_negative) return false;  // A zero before others.
    value = value * 10 + digit;
  }
  if (value > (uint64_t)INT64_MAX + is_negative || (value == 0 && is_negative)) return false;
  *number = is_negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}

static bool get(client* c) {
  entry* e = find(c->args[1]);
  if (e == NULL) return put_line(c, NOTHING);
  if (e->count > 0) return put_line(c, WRONG_TYPE);
  e->first->holders++;
  return put_held(c, e->first);
}

// Its last argument as the moment that is so many units from now, or as the end of the clock, in 292 years. False if it
// is refused, which has been answered then: as by Redis, which counts milliseconds.
static bool parse_expiry(client* c, const char* name, int64_t least, bool is_ms, uint64_t* at_ns) {
  const uint64_t now_ns = mj_scheduler_now_ns(scheduler), unit_ns = is_ms ? MS : SECOND;
  const int64_t most = is_ms ? INT64_MAX : INT64_MAX / 1000;
  int64_t number;
  if (!parse_integer(c->args[c->arg_count - 1], &number)) {
    put_line(c, NO_INTEGER);
    return false;
  }
  if (number < least || number < -most || number > most) {
    const char* format = "-ERR invalid expire time in '%.*s' command\r\n";
    put_error(c, format, (text){name, strlen(name)});
    return false;
  }
  const uint64_t units = number > 0 ? (uint64_t)number : 0, left = (INT64_MAX - now_ns) / unit_ns;
  *at_ns = now_ns + (units < left ? units : left) * unit_ns;
  return true;
}

// SET key value [EX seconds | PX milliseconds]
static bool set(client* c) {
  uint64_t expires_ns = 0;
  if (c->arg_count > 3) {
    const bool is_ms = is_word(c->args[3], "px");
    const bool is_valid = c->arg_count == 5 && (is_ms || is_word(c->args[3], "ex"));
    if (!is_valid) return put_line(c, "-ERR syntax error");
    if (!parse_expiry(c, "set", 1, is_ms, &expires_ns)) return false;
  }
  entry* e = store(find(c->args[1]), c->args[1], c->args[2]);
  if (e == NULL) return put_line(c, NO_MEMORY);
  set_expiry(e, expires_ns);
  return put_line(c, OK);
}

static bool mset(client* c) {
  if (c->arg_count % 2 == 0) return put_wrong_count(c, "mset");
  for (size_t i = 1; i < c->arg_count; i += 2) {
    entry* e = store(find(c->args[i]), c->args[i], c->args[i + 1]);
    if (e == NULL) return put_line(c, NO_MEMORY);
    set_expiry(e, 0);
  }
  return put_line(c, OK);
}

static bool incr(client* c) {
  entry* e = find(c->args[1]);
  int64_t number = 0;
  if (e != NULL && e->count > 0) return put_line(c, WRONG_TYPE);
  if (e != NULL && !parse_integer(text_of(e->first), &number)) return put_line(c, NO_INTEGER);
  if (number == INT64_MAX) return put_line(c, "-ERR increment or decrement would overflow");
  char digits[20], *const end = digits + sizeof digits;
  const char* begin = digits_before(end, ++number);
  e = store(e, c->args[1], (text){begin, (size_t)(end - begin)});
  return e != NULL ? put_number(c, ':', number) : put_line(c, NO_MEMORY);
}

static bool push_all(client* c, bool in_front) {
  entry* list = find(c->args[1]);
  if (list != NULL && list->count == 0) return put_line(c, WRONG_TYPE);
  if (list == NULL && (list = add(c->args[1])) == NULL) return put_line(c, NO_MEMORY);
  for (size_t i = 2; i < c->arg_count; i++) {
    string* s = new_string(c->args[i]);
    if (s != NULL) {
      push(list, s, in_front);
    } else {
      if (list->count == 0) delete_entry(list);
      return put_line(c, NO_MEMORY);
    }
  }
  return put_number(c, ':', (int64_t)list->count);
}

static bool pop_one(client* c, bool in_front) {
  entry* list = find(c->args[1]);
  if (list == NULL) return put_line(c, NOTHING);
  return list->count == 0 ? put_line(c, WRONG_TYPE) : put_held(c, pop(list, in_front));
}

static bool lpush(client* c) { return push_all(c, true); }
static bool rpush(client* c) { return push_all(c, false); }
static bool lpop(client* c) { return pop_one(c, true); }
static bool rpop(client* c) { return pop_one(c, false); }

static bool del(client* c) {
  int64_t count = 0;
  for (size_t i = 1; i < c->arg_count; i++) {
    entry* e = find(c->args[i]);
    count += e != NULL;
    if (e != NULL) delete_entry(e);
  }
  return put_number(c, ':', count);
}

static bool exists(client* c) {
  int64_t count = 0;
  for (size_t i = 1; i < c->arg_count; i++) count += find(c->args[i]) != NULL;
  return put_number(c, ':', count);
}

static bool expire(client* c) {
  uint64_t expires_ns;
  if (!parse_expiry(c, "expire", INT64_MIN, false, &expires_ns)) return false;
  entry* e = find(c->args[1]);
  if (e != NULL) set_expiry(e, expires_ns);
  return put_number(c, ':', e != NULL);
}

static bool ttl(client* c) {
  const entry* e = find(c->args[1]);
  if (e == NULL) return put_number(c, ':', -2);
  if (e->expires_ns == 0) return put_number(c, ':', -1);
  return put_number(c, ':', (int64_t)((mj_deadline_left(e->expires_ns) + SECOND / 2) / SECOND));
}

static bool info(client* c) {
  char page[320];
  snprintf(page, sizeof page,
           "majjen_version:%s\r\nconnected_clients:%zu\r\nused_memory:%zu\r\nmaxmemory:%zu\r\n"
           "db0:keys=%zu,expires=%zu\r\n",
           mj_version(), mj_group_count(clients), used_bytes, limit_bytes, entry_count,
           expiring_count);
  return put_bulk(c, (text){page, strlen(page)});
}

static bool echo(client* c) { return put_bulk(c, c->args[1]); }
static bool ping(client* c) { return c->arg_count == 1 ? put_line(c, "+PONG") : echo(c); }

static bool quit(client* c) {
  c->closes = true;
  return put_line(c, OK);
}

// A line of HTTP. A page in a browser of this machine can have it sent here, and commands as its body.
static bool http(client* c) {
  c->closes = true;
  return put_line(c, "-ERR this is no web server");
}

// What clients ask when they connect.

static bool command(client* c) { return put_line(c, "*0"); }

static bool config(client* c) {
  if (!is_word(c->args[1], "get")) return put_line(c, "-ERR only CONFIG GET");
  return put_line(c, "*2") && put_bulk(c, c->args[2]) && put_bulk(c, (text){"", 0});
}

static bool client_command(client* c) {
  if (is_word(c->args[1], "setname") || is_word(c->args[1], "setinfo")) return put_line(c, OK);
  return put_line(c, "-ERR only CLIENT SETNAME and SETINFO");
}

static bool select_database(client* c) {
  int64_t number;
  if (!parse_integer(c->args[1], &number)) return put_line(c, NO_INTEGER);
  return number == 0 ? put_line(c, OK) : put_line(c, "-ERR DB index is out of range");
}

static const struct command {
  char name[8];
  size_t least, most;  // Arguments, of which the name is one.
  bool (*run)(client*);
  bool needs_memory;
} commands[] = {
    {"get", 2, 2, get, false},
    {"set", 3, 5, set, true},
    {"incr", 2, 2, incr, true},
    {"mset", 3, MOST_ARGS, mset, true},
    {"lpush", 3, MOST_ARGS, lpush, true},
    {"rpush", 3, MOST_ARGS, rpush, true},
    {"lpop", 2, 2, lpop, false},
    {"rpop", 2, 2, rpop, false},
    {"del", 2, MOST_ARGS, del, false},
    {"exists", 2, MOST_ARGS, exists, false},
    {"expire", 3, 3, expire, false},
    {"ttl", 2, 2, ttl, false},
    {"ping", 1, 2, ping, false},
    {"echo", 2, 2, echo, false},
    {"info", 1, 2, info, false},
    {"command", 1, MOST_ARGS, command, false},
    {"config", 3, 3, config, false},
    {"client", 2, MOST_ARGS, client_command, false},
    {"select", 2, 2, select_database, false},
    {"quit", 1, 1, quit, false},
    {"post", 1, MOST_ARGS, http, false},
    {"host:", 1, MOST_ARGS, http, false},
};

static const struct command* find_command(text name) {
  char lower[8] = "";
  if (name.bytes > sizeof lower) return NULL;
  // Small letters have this bit, and only what is a letter becomes one by it.
  for (size_t i = 0; i < name.bytes; i++) lower[i] = name.at[i] | 0x20;
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (memcmp(commands[i].name, lower, sizeof lower) == 0) return &commands[i];
  }
  return NULL;
}

static bool run_command(client* c) {
  if (c->is_skipped) return put_line(c, NO_MEMORY);
  if (c->arg_count == 0) return true;
  const struct command* found = find_command(c->args[0]);
  if (found == NULL) return put_error(c, "-ERR unknown command '%.*s'\r\n", c->args[0]);
  if (c->arg_count < found->least || c->arg_count > found->most) {
    return put_wrong_count(c, found->name);
  }
  if (!found->needs_memory) return found->run(c);
  // More than it can need: what has begun has room to its end, unless malloc() itself has none.
  const size_t bytes =
      (size_t)(c->at - c->start) + c->arg_count * (sizeof(entry) + sizeof(string) + 64);
  if (!is_room_for(bytes)) return put_line(c, NO_MEMORY);
  const bool result = found->run(c);
  // It has added fewer keys than it has arguments.
  for (size_t i = 1; i < c->arg_count && entry_count > bucket_count; i++) grow();
  return result;
}

// ---- The protocol

typedef enum parsed { WHOLE, PART, NONSENSE } parsed;

static parsed refuse(client* c, const char* why) {
  put(c, "-ERR Protocol error: ", 21);
  put(c, why, strlen(why));
  put(c, "\r\n", 2);
  c->closes = true;
  return NONSENSE;
}

// Reads a line that has a number behind its first byte. The byte behind what has come is no digit.
static inline parsed parse_length(client* c, int64_t least, int64_t most, const char* what,
                                  int64_t* length) {
  enum { MOST_DIGITS = 10 };
  char* at = c->at + 1;
  const bool is_negative = *at == '-';
  const char* const first = at += is_negative;
  uint64_t value = 0;
  for (unsigned digit; (digit = (unsigned)(*at - '0')) <= 9; at++) value = 10 * value + digit;
  if (at - first > MOST_DIGITS) return refuse(c, what);
  const bool has_digits = at > first;
  const int64_t number = is_negative ? -(int64_t)value : (int64_t)value;
  if (at < c->end && (!has_digits || *at++ != '\r')) return refuse(c, what);
  if (at == c->end) return PART;
  if (*at != '\n' || number < least || number > most) return refuse(c, what);
  c->at = at + 1;
  *length = number;
  return WHOLE;
}

// What has come and what is to come of a command is not kept.
static void skip(client* c) {
  c->is_skipped = true;
  c->arg_count = 0;
  c->start = c->at;
}

// A line of words, as people type it.
static parsed parse_line(client* c) {
  char* const end = memchr(c->at, '\n', (size_t)(c->end - c->at));
  if ((end != NULL ? end : c->end) - c->at >= IN_BYTES) return refuse(c, "too big inline request");
  if (end == NULL) return PART;
  for (char *at = c->at, *word = at; at <= end; at++) {
    if (at < end && *at != ' ' && *at != '\t' && *at != '\r') continue;
    if (at > word && c->arg_count == MOST_ARGS) return refuse(c, "too many words");
    if (at > word) c->args[c->arg_count++] = (text){word, (size_t)(at - word)};
    word = at + 1;
  }
  c->at = end + 1;
  return WHOLE;
}

static parsed parse_bulk(client* c) {
  size_t there = (size_t)(c->end - c->at);
  if (c->bulk_left == 0) {
    if (there == 0) return PART;
    if (*c->at != '$') return refuse(c, "expected '$'");
    int64_t bytes;
    const int64_t most = (int64_t)settings[BULK].value << 20;
    const parsed result = parse_length(c, 0, most, "invalid bulk length", &bytes);
    if (result != WHOLE) return result;
    c->bulk_left = (size_t)bytes + 2;  // With the end of the line.
    there = (size_t)(c->end - c->at);
  }
  if (c->is_skipped) {
    if (there > c->bulk_left) there = c->bulk_left;
    c->bulk_left -= there;
    c->start = c->at += there;
    return c->bulk_left > 0 ? PART : WHOLE;
  }
  if (there < c->bulk_left) return PART;
  const text arg = {c->at, c->bulk_left - 2};
  if (memcmp(arg.at + arg.bytes, "\r\n", 2) != 0) return refuse(c, "expected the end of a line");
  c->at += c->bulk_left;
  c->bulk_left = 0;
  c->args[c->arg_count++] = arg;
  return WHOLE;
}

// Goes on with a command where it was.
static parsed parse(client* c) {
  parsed result;
  int64_t count;
  while (c->args_left == 0) {
    if (c->at == c->end) return PART;
    if (*c->at != '*') return parse_line(c);
    result = parse_length(c, INT64_MIN, MOST_ARGS, "invalid multibulk length", &count);
    if (result != WHOLE) return result;
    if (count > 0) c->args_left = (size_t)count;
    else c->start = c->at;
  }
  while (c->args_left > 0) {
    if ((result = parse_bulk(c)) != WHOLE) return result;
    c->args_left--;
  }
  return WHOLE;
}

// ---- A client's task

static void move_input(client* c, char* to) {
  for (size_t i = 0; i < c->arg_count; i++) c->args[i].at = to + (c->args[i].at - c->start);
  const size_t bytes = (size_t)(c->end - c->start);
  memmove(to, c->start, bytes);
  c->at = to + (c->at - c->start);
  c->start = to;
  c->end = to + bytes;
  *c->end = '\0';
}

static void use_input(client* c, char* in, size_t room) {
  move_input(c, in);
  if (c->in != c->own) give_back(c->in, c->in_room + 1);
  c->in = in;
  c->in_room = room;
}

// For more of a command. False if there is no memory.
static bool make_room(client* c) {
  const size_t bytes = (size_t)(c->end - c->start);
  if (c->in != c->own && bytes < IN_BYTES) {
    use_input(c, c->own, IN_BYTES);  // The large command is done.
  } else if (bytes == c->in_room) {
    char* larger = take(2 * bytes + 1);
    if (larger == NULL) return false;
    use_input(c, larger, 2 * bytes);
  } else if (c->start > c->in) {
    move_input(c, c->in);
  }
  return true;
}

// For how long the next bytes are waited for. What half a command holds in memory it does not hold for ever.
static uint64_t patience_ns(client* c) {
  const uint64_t idle_ns = settings[IDLE].value > 0 ? limit_ns(IDLE) : MJ_FOREVER;
  if (c->start == c->end && c->args_left == 0) return idle_ns;
  if (c->rest_ns == 0) c->rest_ns = mj_deadline_after(limit_ns(REST));
  const uint64_t left_ns = mj_deadline_left(c->rest_ns);
  return left_ns < idle_ns ? left_ns : idle_ns;
}

static void run_commands(client* c) {
  int count = 0;
  while (!c->closes && parse(c) == WHOLE) {
    run_command(c);
    c->arg_count = 0;
    c->is_skipped = false;
    c->start = c->at;
    if (++count % MOST_COMMANDS == 0) mj_yield();
  }
  if (count > 0) c->rest_ns = 0;
  flush(c);
}

// What is closed while there is something to read is reset, and the last answer might be lost. So the
// client closes first, if it does so soon.
static void let_it_close(client* c) {
  if (c->is_gone || shutdown(c->fd, SHUT_WR) != 0) return;
  const uint64_t deadline_ns = mj_deadline_after(SECOND);
  while (mj_read(c->fd, c->own, IN_BYTES, mj_deadline_left(deadline_ns)) > 0 &&
         mj_deadline_left(deadline_ns) > 0) {
  }
}

// Also of a client that is cut off at the stop, and whose task does not run again.
static void end_client(void* argument) {
  client* c = argument;
  let_go(c->held);
  if (c->in != c->own) give_back(c->in, c->in_room + 1);
  mj_fd_close(c->fd);
  free(c);
}

static int serve(void* argument) {
  const int fd = (int)(intptr_t)argument, on = 1;
  client* c = malloc(sizeof *c);
  if (c == NULL || mj_task_defer(end_client, c) != 0) {
    free(c);
    return mj_fd_close(fd);
  }
  memset(c, 0, offsetof(client, own));
  c->fd = fd;
  c->in = c->start = c->at = c->end = c->own;
  c->in_room = IN_BYTES;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  while (!c->closes) {
    if (make_room(c)) {
      // The stop ends this wait; what has been read is answered.
      const size_t room = c->in_room - (size_t)(c->end - c->in);
      const ssize_t bytes = mj_read(fd, c->end, room, patience_ns(c));
      if (bytes <= 0) break;
      c->end += bytes;
      *c->end = '\0';
    } else {
      skip(c);
    }
    mj_task_set_cancelable(false, NULL);
    run_commands(c);
    if (c->closes) let_it_close(c);
    mj_task_set_cancelable(true, NULL);
  }
  return 0;
}

// ---- Starting and stopping

static void accept_clients(void* unused) {
  (void)unused;
  for (int fd; (fd = mj_accept(listener, NULL, NULL, MJ_FOREVER)) >= 0;) {
    if (mj_group_go(clients, serve, (void*)(intptr_t)fd, MJ_FOREVER) != 0) mj_fd_close(fd);
  }
}

static void stop(void* unused) {
  (void)unused;
  mj_fd_close(listener);  // Which ends the task that accepts.
  mj_group_cancel(clients);
  if (mj_group_wait(clients, limit_ns(STOP)) != 0) mj_scheduler_stop(scheduler);
}

static bool change_setting(const char* argument) {
  for (int i = 0; i < SETTINGS; i++) {
    const size_t length = strlen(settings[i].name);
    if (strncmp(argument, settings[i].name, length) != 0 || argument[length] != '=') continue;
    const char* digits = argument + length + 1;
    int64_t value;
    if (!parse_integer((text){digits, strlen(digits)}, &value)) return false;
    settings[i].value = (uint64_t)value;
    return value >= (i == CLIENTS ? 1 : 0) && value < (i == BULK ? 2048 : INT32_MAX);
  }
  return false;
}

static int fail(const char* what, const char* why) {
  fprintf(stderr, "kv_server: %s: %s\n", what, why);
  return 1;
}

int main(int argc, char** argv) {
  mj_log_set_level(MJ_LOG_WARN);
  if (argc < 2) return fail("usage", "PORT [NAME=VALUE...]");
  for (int i = 2; i < argc; i++) {
    if (!change_setting(argv[i])) {
      return fail("no such setting, or not such a value", argv[i]);
    }
  }
  limit_bytes = settings[MEMORY].value << 20;
  bucket_count = level = FIRST_BUCKETS;
  segments[0] = calloc(FIRST_BUCKETS, sizeof(entry*));
  listener = mj_listen("127.0.0.1", argv[1], 0, 0);
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  if (listener < 0) return fail("cannot listen", strerror(-listener));
  scheduler = setup_scheduler_with_epoll();
  if (scheduler != NULL) clients = mj_group_create(scheduler, settings[CLIENTS].value);
  if (segments[0] == NULL || clients == NULL || getentropy(seed, sizeof seed) != 0 ||
      getsockname(listener, (struct sockaddr*)&address, &length) != 0) {
    return fail("cannot start", strerror(errno));
  }
  int result = mj_go(scheduler, sweep, NULL, NULL);
  if (result == 0) result = mj_go(scheduler, accept_clients, NULL, NULL);
  if (result != 0) return fail("cannot start", strerror(-result));
  printf("127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  result = mj_run_until_signal(scheduler, stop, NULL, MJ_FOREVER);
  if (result != 0) fprintf(stderr, "kv_server: %zu clients are cut off\n", mj_group_count(clients));
  mj_scheduler_destroy(scheduler);
  mj_group_destroy(clients);
  return result != 0;
}
