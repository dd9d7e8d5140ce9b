// What has happened, in order, as letters.
#ifndef EVENTS_H
#define EVENTS_H

#include "check.h"

static char events[64];

static void note(char event) {
  size_t length = strlen(events);
  CHECK_UINT(length, <, sizeof events - 1);
  events[length] = event;
  events[length + 1] = '\0';
}

#endif
