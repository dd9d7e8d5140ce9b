// The library's one thread-local variable. In C, because stable Rust cannot choose the TLS model, and
// the default one of a shared library costs a function call on each access. "initial-exec" costs a
// load, and takes 32 bytes of the room that the loader keeps for libraries opened late.
__attribute__((visibility("hidden"), tls_model("initial-exec")))
__thread struct {
  void *scheduler;  // The scheduler that is running on this thread, or NULL.
  void *current_task;  // Where it has the running task, or NULL.
  void *yield_at;  // Where it has the moment from which tasks switch to the loop, or NULL.
  void *in_callback;  // Non-NULL while a log callback runs on this thread outside any task.
} majjen_thread;
