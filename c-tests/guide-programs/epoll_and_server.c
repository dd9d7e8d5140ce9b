// The guide's epoll section and its server in one program, for a reader who types in both. Compiled
// and linked, not run: this wait_readable does not wait, so the server's accept() would block all
// tasks.
#include "majjen.h"

#include "../guide/17-wait-epoll.c"
#include "../guide/18-setup-scheduler-with-epoll.c"
#include "../guide/19-task-wait-readable.c"

#include "../../examples-c/http_server.c"
