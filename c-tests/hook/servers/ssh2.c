// libssh2, as it is: ssh2 PORT PID DIRECTORY. In the directory are a key, and a place for the server's
// files; its owner is who the server runs as. All of the server's processes are killed.
#define _GNU_SOURCE
#include "../hooked.h"

#include <arpa/inet.h>
#include <libssh2.h>
#include <libssh2_sftp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { MANY = 100, FILES = 20, LENGTH = 300000, DELAY_NS = 100000000 };

static struct sockaddr_in address;
static pid_t server;
static const char* directory;
static char user[64], key[4096], public_key[4100];
static unsigned ready, may_begin, ended, closed;

// ---- sessions

typedef struct {
  int fd;
  LIBSSH2_SESSION* ssh;
} session;

static void succeeds(LIBSSH2_SESSION* ssh, bool succeeded) {
  char* text = NULL;
  if (!succeeded) libssh2_session_last_error(ssh, &text, NULL, 0);
  if (text != NULL) fprintf(stderr, "%s\n", text);
  CHECK(succeeded);
}

static session new_session(void) {
  session new = {socket(AF_INET, SOCK_STREAM, 0), libssh2_session_init()};
  CHECK(new.ssh != NULL);
  CHECK_INT(connect(new.fd, (struct sockaddr*)&address, sizeof address), ==, 0);
  succeeds(new.ssh, libssh2_session_handshake(new.ssh, new.fd) == 0);
  succeeds(new.ssh, libssh2_userauth_publickey_fromfile(new.ssh, user, public_key, key, NULL) == 0);
  return new;
}

static void end_session(session old) {
  CHECK_INT(libssh2_session_free(old.ssh), ==, 0);
  close(old.fd);
}

// ---- what the server connects them to: plain blocking code, too

static int listener, listener_port;

static void new_listener(void) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof any;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&any, length), ==, 0);
  CHECK_INT(listen(listener, MANY), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&any, &length), ==, 0);
  listener_port = ntohs(any.sin_port);
}

// Says what it is told a tenth of a second later, until it is told no more.
static void echoes(void* argument) {
  (void)argument;
  char text[64];
  ssize_t got;
  int fd = accept(listener, NULL, NULL);
  CHECK_INT(fd, >=, 0);
  while ((got = read(fd, text, sizeof text)) > 0) {
    usleep(DELAY_NS / 1000);
    CHECK_INT(write(fd, text, (size_t)got), ==, got);
  }
  close(fd);
  add_one(&closed);
}

static LIBSSH2_CHANNEL* new_tunnel(session through) {
  LIBSSH2_CHANNEL* tunnel = libssh2_channel_direct_tcpip(through.ssh, "127.0.0.1", listener_port);
  succeeds(through.ssh, tunnel != NULL);
  return tunnel;
}

// ---- many at once

static void asks(void* argument) {
  char text[64], heard[64];
  int length = snprintf(text, sizeof text, "said by %d", (int)(intptr_t)argument);
  session one = new_session();
  LIBSSH2_CHANNEL* tunnel = new_tunnel(one);
  add_one(&ready);
  wait_until(&may_begin, 1);
  CHECK_INT(libssh2_channel_write(tunnel, text, (size_t)length), ==, length);
  for (ssize_t got = 0, some; got < length; got += some) {
    some = libssh2_channel_read(tunnel, heard + got, (size_t)(length - got));
    succeeds(one.ssh, some > 0);
  }
  CHECK_INT(memcmp(text, heard, (size_t)length), ==, 0);
  add_one(&ended);
  CHECK_INT(libssh2_channel_free(tunnel), ==, 0);
  end_session(one);
}

static void many_wait_at_once(void) {
  ready = may_begin = ended = closed = 0;
  new_listener();
  for (int i = 0; i < MANY; i++) start(echoes, NULL);
  for (int i = 0; i < MANY; i++) start(asks, (void*)(intptr_t)i);
  wait_until(&ready, MANY);
  uint64_t began = now_ns();
  add_one(&may_begin);
  wait_until(&ended, MANY);
  uint64_t took = now_ns() - began;
  fprintf(stderr, "%d answers after 0.1 s took %.3f s\n", MANY, (double)took * 1e-9);
  CHECK_UINT(took, >=, DELAY_NS);
  CHECK_UINT(took, <, (uint64_t)MANY * DELAY_NS / 5);
  wait_until(&closed, MANY);
  close(listener);
}

static void copies_a_file(void* argument) {
  char path[4200];
  int number = (int)(intptr_t)argument;
  char* text = (char*)malloc(LENGTH);
  CHECK(text != NULL);
  memset(text, 'a' + number, LENGTH);
  snprintf(path, sizeof path, "%s/files/%d", directory, number);
  session one = new_session();
  LIBSSH2_SFTP* sftp = libssh2_sftp_init(one.ssh);
  succeeds(one.ssh, sftp != NULL);
  LIBSSH2_SFTP_HANDLE* file =
      libssh2_sftp_open(sftp, path, LIBSSH2_FXF_CREAT | LIBSSH2_FXF_TRUNC | LIBSSH2_FXF_WRITE, 0644);
  succeeds(one.ssh, file != NULL);
  for (ssize_t done = 0, some; done < LENGTH; done += some) {
    some = libssh2_sftp_write(file, text + done, (size_t)(LENGTH - done));
    succeeds(one.ssh, some > 0);
  }
  CHECK_INT(libssh2_sftp_close(file), ==, 0);
  file = libssh2_sftp_open(sftp, path, LIBSSH2_FXF_READ, 0);
  succeeds(one.ssh, file != NULL);
  memset(text, 0, LENGTH);
  ssize_t done = 0, some;
  while ((some = libssh2_sftp_read(file, text + done, (size_t)(LENGTH - done))) > 0) done += some;
  CHECK_INT(done, ==, LENGTH);
  for (size_t i = 0; i < LENGTH; i++) CHECK_INT(text[i], ==, 'a' + number);
  CHECK_INT(libssh2_sftp_close(file), ==, 0);
  CHECK_INT(libssh2_sftp_shutdown(sftp), ==, 0);
  end_session(one);
  free(text);
  add_one(&ended);
}

static void files_are_copied(void) {
  ended = 0;
  start_ticker();
  for (int i = 0; i < FILES; i++) start(copies_a_file, (void*)(intptr_t)i);
  wait_until(&ended, FILES);
  stop_ticker(10);
}

// ---- time limits

static void the_librarys_limit_is_kept(void) {
  char byte;
  closed = 0;
  new_listener();
  start(echoes, NULL);
  session one = new_session();
  LIBSSH2_CHANNEL* tunnel = new_tunnel(one);
  libssh2_session_set_timeout(one.ssh, 50);
  // Its clock has whole seconds: when one has just begun, it takes a limit for over.
  uint64_t took = 0;
  for (int tries = 0; tries < 3 && took < 50000000; tries++) {
    uint64_t began = now_ns();
    CHECK_INT(libssh2_channel_read(tunnel, &byte, 1), ==, LIBSSH2_ERROR_TIMEOUT);
    took = now_ns() - began;
  }
  CHECK_UINT(took, >=, 50000000);
  libssh2_session_set_timeout(one.ssh, 0);
  CHECK_INT(libssh2_channel_write(tunnel, "x", 1), ==, 1);
  CHECK_INT(libssh2_channel_read(tunnel, &byte, 1), ==, 1);
  CHECK_INT(libssh2_channel_free(tunnel), ==, 0);
  end_session(one);
  wait_until(&closed, 1);
  close(listener);
}

// ---- the server's end

static pid_t parent_of(pid_t pid) {
  char path[64], text[512];
  int parent = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE* file = fopen(path, "r");
  if (file == NULL) return 0;  // It has ended.
  size_t got = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[got] = '\0';
  const char* name_end = strrchr(text, ')');
  if (name_end != NULL) sscanf(name_end + 1, " %*c %d", &parent);
  return (pid_t)parent;
}

// With those that it has started, which go on without it.
static void kill_with_children(pid_t pid) {
  DIR* processes = opendir("/proc");
  CHECK(processes != NULL);
  kill(pid, SIGSTOP);
  for (struct dirent* entry; (entry = readdir(processes)) != NULL;) {
    pid_t child = (pid_t)atoi(entry->d_name);
    if (child > 0 && parent_of(child) == pid) kill_with_children(child);
  }
  closedir(processes);
  kill(pid, SIGKILL);
}

static void is_cut_off(void* argument) {
  (void)argument;
  char byte;
  session one = new_session();
  LIBSSH2_CHANNEL* tunnel = new_tunnel(one);
  add_one(&ready);
  CHECK_INT(libssh2_channel_read(tunnel, &byte, 1), <, 0);
  libssh2_channel_free(tunnel);
  libssh2_session_free(one.ssh);
  close(one.fd);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) {
  if (in_threads()) return;
  closed = 0;
  new_listener();
  for (int i = 0; i < CANCELED; i++) start(echoes, NULL);
  cancel_some(is_cut_off, &ready, &ended);
  wait_until(&closed, CANCELED);
  close(listener);
}

static void each_is_told_of_the_servers_end(void) {
  ready = ended = closed = 0;
  new_listener();
  for (int i = 0; i < MANY; i++) start(echoes, NULL);
  for (int i = 0; i < MANY; i++) start(is_cut_off, NULL);
  wait_until(&ready, MANY);
  let_others_wait();
  kill_with_children(server);
  wait_until(&ended, MANY);
  wait_until(&closed, MANY);
  close(listener);
}

int main(int count, char** arguments) {
  struct stat owner;
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, ==, 4);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)atoi(arguments[1]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server = (pid_t)atoi(arguments[2]);
  directory = arguments[3];
  CHECK_INT(stat(directory, &owner), ==, 0);
  struct passwd* account = getpwuid(owner.st_uid);
  CHECK(account != NULL);
  snprintf(user, sizeof user, "%s", account->pw_name);
  snprintf(key, sizeof key, "%s/key", directory);
  snprintf(public_key, sizeof public_key, "%s.pub", key);
  CHECK_INT(libssh2_init(0), ==, 0);
  RUN_HOOKED(many_wait_at_once);
  RUN_HOOKED(files_are_copied);
  RUN_HOOKED(the_librarys_limit_is_kept);
  RUN_HOOKED(canceled_tasks_are_told);
  RUN_HOOKED(each_is_told_of_the_servers_end);
  libssh2_exit();
  return 0;
}
