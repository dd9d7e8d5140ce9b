// What the blocks of docs/c-api.md leave to the reader, for the test that compiles them.

#define _GNU_SOURCE  // accept4()
#include "majjen.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

typedef struct page { int status; } page;
typedef struct job { int number; } job;
typedef struct message { int number; } message;
typedef struct client { mj_stream *stream; mj_chan *messages; } client;

extern mj_scheduler *scheduler;
extern mj_chan *questions, *answers;
extern int question, answer, goodbye, connection, listener, fd;
extern uint64_t limit_ns;
extern size_t count;
extern mj_task_id *ids, child;
int handle_request(int of_connection);
void *copy(void *text);
int fetch(page *to, uint64_t timeout_ns);
job *read_job(void);
void do_job(job *todo);
void use(job *done);
void read_configuration(void);
void stop_accepting(void);
void take_line(client *of, char *line, size_t bytes);
void send_message(client *to, const message *sent);
