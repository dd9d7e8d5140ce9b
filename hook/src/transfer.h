// What other files need of transfer.c.
#ifndef MAJJEN_HOOK_TRANSFER_H
#define MAJJEN_HOOK_TRANSFER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

// What a descriptor of a disk is told to do, by a thread of the pool.
struct file_call {
  int fd;
  const struct iovec *buffers;
  int count;
  off_t offset;  // -1: where the file's own is.
  int flags;  // RWF_
  bool writes;
  ssize_t result;
  int error;
};

// A call that takes the time of a disk.
ssize_t transfer_file(struct file_call call);

// After a read of what is in memory: reads what is missing before the end of the file. Returns how many bytes
// that are together.
ssize_t read_rest(struct file_call call, ssize_t done);

bool is_of_a_disk(int fd);

// Whether the first bytes at an address can be read. A task does not crash by what the kernel would refuse.
bool is_readable(const void *address);

// More buffers are refused by the system, which does not look at them.
enum { MOST_BUFFERS = 1024 };

// sendmsg(2): of a stream all that there is.
ssize_t send_message(int fd, const struct msghdr *message, int flags);

#endif
