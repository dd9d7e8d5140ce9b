// A library that blocks, and knows nothing of Majjen.
#define _DEFAULT_SOURCE  // for nanosleep
#include <stddef.h>
#include <time.h>

void block_a_moment(void);
void block_a_moment(void) {
  const struct timespec moment = {0, 1000000};
  nanosleep(&moment, NULL);
}
