// The scenario of child processes. One that was made is ended, whatever fails.
#ifndef CHILDREN_H
#define CHILDREN_H

static void talks_to_a_child(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  const char* const arguments[] = {"cat", NULL};
  const mj_process_options options = {
      .input = MJ_PROCESS_PIPE, .output = MJ_PROCESS_PIPE, .error = MJ_PROCESS_NULL, .directory = "/"};
  mj_process* process = mj_process_spawn(arguments, &options);
  if (process == NULL) {
    CHECK_ALLOWED(-errno);
    end();
    return;
  }
  int to = mj_process_take_pipe(process, 0), from = mj_process_take_pipe(process, 1);
  char word[] = "word";
  ssize_t written = mj_write(to, word, 4, 20000000);
  if (written < 0) CHECK_ALLOWED_OR_LATE((int)written);
  CHECK_INT(close(to), ==, 0);
  if (written == 4) {
    ssize_t count = mj_read(from, word, 4, 20000000);
    if (count < 0) CHECK_ALLOWED_OR_LATE((int)count);
    else CHECK_INT(memcmp(word, "word", (size_t)count), ==, 0);
  }
  CHECK_INT(close(from), ==, 0);
  int status;
  int waited = mj_process_wait(process, &status, 20000000);
  // One whose answer has come too late writes to a pipe that nobody reads.
  if (waited == 0 && fault.failed == 0 && !was_late) CHECK_INT(status, ==, 0);
  CHECK_ALLOWED_OR_LATE(waited);
  CHECK_INT(mj_process_end(process, 20000000, &status), ==, 0);
  end();
}

// To one that does not say that it is ready, and has ended whatever fails.
static void hands_over(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  const char* const arguments[] = {"true", NULL};
  int listener = mj_listen("127.0.0.1", "0", 1, 0);
  if (listener < 0) {
    CHECK_ALLOWED(listener);
    end();
    return;
  }
  int handed = mj_process_hand_over(arguments, NULL, &listener, 1, LONG_NS, NULL);
  // What cannot be asked is no listener; and where there are no numbers from 4 on, that is EINVAL for fcntl(2).
  bool is_unknown = handed == -EINVAL && fault.call == GETSOCKOPT && fault.failed > 0;
  bool is_other = handed == -EMFILE && fault.call == FCNTL && fault.failed > 0;
  if (handed != -ESRCH && !is_unknown && !is_other) CHECK_ALLOWED(handed);
  CHECK_INT(handed, !=, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  end();
}

static void use_children(mj_scheduler** scheduler) {
  for (size_t i = 0; i < 2; i++) spawn(*scheduler, talks_to_a_child, i);
  spawn(*scheduler, hands_over, 2);
  run(*scheduler);
}

static void no_children_are_left(void) {
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
  CHECK_INT(errno, ==, ECHILD);
}

#endif  // CHILDREN_H
