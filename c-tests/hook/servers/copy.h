// COPY to the client, by libpq.
#ifndef COPY_H
#define COPY_H

#include "../hooked.h"

#include <libpq-fe.h>

// Takes all that comes of one that has begun. Returns how many bytes that are.
static inline size_t copied_bytes(PGconn* connection) {
  size_t bytes = 0;
  char* line;
  int length;
  while ((length = PQgetCopyData(connection, &line, 0)) > 0) {
    bytes += (size_t)length;
    PQfreemem(line);
  }
  CHECK_INT(length, ==, -1);
  PQclear(PQgetResult(connection));
  return bytes;
}

#endif
