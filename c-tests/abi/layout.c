// The header's types against the guide's own text: every size, offset and value is the same. This
// file is only compiled (as C11, for _Static_assert), not run.
//
// The guide's blocks declare the same names as the header, so each name gets a prefix while they
// are included.
#include "majjen.h"

#define mj_task_state guide_mj_task_state
#define MJ_TASK_RUNNABLE GUIDE_MJ_TASK_RUNNABLE
#define MJ_TASK_SLEEPING GUIDE_MJ_TASK_SLEEPING
#define MJ_TASK_WAITING_IO GUIDE_MJ_TASK_WAITING_IO
#define MJ_TASK_EXITED GUIDE_MJ_TASK_EXITED
#define mj_log_level guide_mj_log_level
#define MJ_LOG_TRACE GUIDE_MJ_LOG_TRACE
#define MJ_LOG_DEBUG GUIDE_MJ_LOG_DEBUG
#define MJ_LOG_INFO GUIDE_MJ_LOG_INFO
#define MJ_LOG_WARN GUIDE_MJ_LOG_WARN
#define MJ_LOG_ERROR GUIDE_MJ_LOG_ERROR
#define MJ_LOG_FATAL GUIDE_MJ_LOG_FATAL
#define MJ_LOG_SILENT GUIDE_MJ_LOG_SILENT
#define mj_log_callback guide_mj_log_callback
#define mj_logger guide_mj_logger
#define mj_metrics guide_mj_metrics
#define mj_wait_fn guide_mj_wait_fn
#define mj_task guide_mj_task
#define mj_scheduler guide_mj_scheduler
// Functions that a block defines beside its types.
#define mj_log_set_level guide_mj_log_set_level
#define mj_log_set_callback guide_mj_log_set_callback

// The guide never declares mj_task_fn. It has only `mj_task_fn* task_function`, and calls like
// `task->task_function(sched, task->user_state)`, so the header's type is used.

// The guide declares it after its first use.
typedef struct mj_scheduler mj_scheduler;

#include "../guide/01-task-state.c"
#include "../guide/07-log-levels.c"
#include "../guide/08-logger-configuration.c"
#include "../guide/11-metrics-structure.c"
#include "../guide/14-wait-function-signature.c"
// Here `mj_wait_fn* wait_func` is a pointer to a function pointer, which cannot be intended, but
// has the same size.
#include "../guide/02-scheduler.c"

#undef mj_task_state
#undef MJ_TASK_RUNNABLE
#undef MJ_TASK_SLEEPING
#undef MJ_TASK_WAITING_IO
#undef MJ_TASK_EXITED
#undef mj_log_level
#undef MJ_LOG_TRACE
#undef MJ_LOG_DEBUG
#undef MJ_LOG_INFO
#undef MJ_LOG_WARN
#undef MJ_LOG_ERROR
#undef MJ_LOG_FATAL
#undef MJ_LOG_SILENT
#undef mj_log_callback
#undef mj_logger
#undef mj_metrics
#undef mj_wait_fn
#undef mj_task
#undef mj_scheduler
#undef mj_log_set_level
#undef mj_log_set_callback

#define SAME_VALUE(name) _Static_assert((int)(name) == (int)(GUIDE_##name), #name)
#define SAME_SIZE(type) \
  _Static_assert(sizeof(type) == sizeof(guide_##type), "size of " #type); \
  _Static_assert(_Alignof(type) == _Alignof(guide_##type), "alignment of " #type)
// It may have got fields at its end.
#define AT_LEAST_SIZE(type) \
  _Static_assert(sizeof(type) >= sizeof(guide_##type), "size of " #type); \
  _Static_assert(_Alignof(type) == _Alignof(guide_##type), "alignment of " #type)
#define SAME_FIELD(type, field) \
  _Static_assert(offsetof(type, field) == offsetof(guide_##type, field), \
                 "offset of " #type "." #field); \
  _Static_assert(sizeof(((type*)0)->field) == sizeof(((guide_##type*)0)->field), \
                 "size of " #type "." #field)

SAME_SIZE(mj_task_state);
SAME_VALUE(MJ_TASK_RUNNABLE);
SAME_VALUE(MJ_TASK_SLEEPING);
SAME_VALUE(MJ_TASK_WAITING_IO);
SAME_VALUE(MJ_TASK_EXITED);

SAME_SIZE(mj_log_level);
SAME_VALUE(MJ_LOG_TRACE);
SAME_VALUE(MJ_LOG_DEBUG);
SAME_VALUE(MJ_LOG_INFO);
SAME_VALUE(MJ_LOG_WARN);
SAME_VALUE(MJ_LOG_ERROR);
SAME_VALUE(MJ_LOG_FATAL);
SAME_VALUE(MJ_LOG_SILENT);

SAME_SIZE(mj_task);
SAME_FIELD(mj_task, task_function);
SAME_FIELD(mj_task, user_state);
SAME_FIELD(mj_task, state);
SAME_FIELD(mj_task, wake_time_ns);
SAME_FIELD(mj_task, heap_index);
SAME_FIELD(mj_task, next);

AT_LEAST_SIZE(mj_scheduler);
SAME_FIELD(mj_scheduler, runnable_head);
SAME_FIELD(mj_scheduler, runnable_tail);
SAME_FIELD(mj_scheduler, runnable_count);
SAME_FIELD(mj_scheduler, timer_heap);
SAME_FIELD(mj_scheduler, timer_count);
SAME_FIELD(mj_scheduler, timer_capacity);
SAME_FIELD(mj_scheduler, current_task);
SAME_FIELD(mj_scheduler, wait_func);
SAME_FIELD(mj_scheduler, wait_data);
// The last one, which may have got fields of its own.
_Static_assert(offsetof(mj_scheduler, metrics) == offsetof(guide_mj_scheduler, metrics), "metrics");

AT_LEAST_SIZE(mj_metrics);
SAME_FIELD(mj_metrics, task_executions);
SAME_FIELD(mj_metrics, total_execution_time_ns);
SAME_FIELD(mj_metrics, min_execution_time_ns);
SAME_FIELD(mj_metrics, max_execution_time_ns);
SAME_FIELD(mj_metrics, scheduler_loops);
SAME_FIELD(mj_metrics, total_loop_time_ns);
SAME_FIELD(mj_metrics, timer_expirations);
SAME_FIELD(mj_metrics, timer_cancellations);
SAME_FIELD(mj_metrics, wait_calls);
SAME_FIELD(mj_metrics, total_wait_time_ns);
SAME_FIELD(mj_metrics, io_events);
SAME_FIELD(mj_metrics, tasks_created);
SAME_FIELD(mj_metrics, tasks_exited);
SAME_FIELD(mj_metrics, current_tasks);
SAME_FIELD(mj_metrics, peak_tasks);
SAME_FIELD(mj_metrics, heap_operations);
SAME_FIELD(mj_metrics, memory_allocated_bytes);

SAME_SIZE(mj_logger);
SAME_FIELD(mj_logger, min_level);
SAME_FIELD(mj_logger, callback);
SAME_FIELD(mj_logger, user_data);
SAME_FIELD(mj_logger, include_time);
SAME_FIELD(mj_logger, include_level);

SAME_SIZE(mj_wait_fn);
SAME_SIZE(mj_log_callback);

// All fields of the guide are checked above, since the sizes are equal. This checks the types of
// the two function fields: each can be assigned to the other.
static void guide_body(mj_scheduler* sched, void* user_state) {
  (void)sched;
  (void)user_state;
}
static int guide_wait(mj_scheduler* sched, uint64_t timeout_ns, void* user_data) {
  (void)sched;
  (void)timeout_ns;
  (void)user_data;
  return 0;
}
static mj_task_fn* const body_is_a_task_fn = guide_body;
static const mj_wait_fn wait_is_a_wait_fn = guide_wait;

// Uses the functions above, which exist only to be compiled.
void majjen_layout(mj_task* task, mj_scheduler* scheduler);
void majjen_layout(mj_task* task, mj_scheduler* scheduler) {
  task->task_function = body_is_a_task_fn;
  scheduler->wait_func = wait_is_a_wait_fn;
}
