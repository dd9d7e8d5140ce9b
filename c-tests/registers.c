// What a task keeps across a suspension: callee-saved registers, the floating-point environment,
// and errno. Several tasks with different values take turns, so that each would see another's
// values.
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <fenv.h>

// ---- Ways to suspend ----

typedef void suspension(void);

static int channel[2];
static int null_file;

static void by_yielding(void) { mj_task_yield(); }
static void by_sleeping(void) { mj_task_sleep_ns(20000); }
// The byte in the channel is never read: the wait is a real one, and ends soon.
static void by_waiting(void) { mj_task_wait_readable(channel[0]); }
// In these two a system call of the library fails: for no such descriptor, and for one that epoll
// refuses.
static void by_waiting_for_nothing(void) { mj_task_wait_readable(channel[1] + 100000); }
static void by_waiting_for_a_file(void) { mj_task_wait_readable(null_file); }

static suspension* const suspensions[] = {by_yielding, by_sleeping, by_waiting};
enum { suspension_count = sizeof suspensions / sizeof suspensions[0], task_count = 5 };

static size_t finished;

static void run_tasks(mj_task_fn* body) {
  CHECK_INT(pipe(channel), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  finished = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < task_count; i++) {
    size_t* number = allocate(sizeof *number);
    *number = i;
    add_task(scheduler, body, number);
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, task_count);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Callee-saved registers ----
//
// Loads every callee-saved register from `in`, calls `suspend`, and stores their values to `out`.
// In assembly, since no compiler can be made to keep a value in a given register.

void suspend_with_registers(suspension* suspend, const uint64_t* in, uint64_t* out);

#if defined(__x86_64__)
enum { register_count = 6 };
static const char* const register_names[register_count] = {"rbx", "rbp", "r12",
                                                           "r13", "r14", "r15"};
__asm__(
    ".pushsection .text\n"
    ".type suspend_with_registers, @function\n"
    "suspend_with_registers:\n"
    "  push %rbx\n"
    "  push %rbp\n"
    "  push %r12\n"
    "  push %r13\n"
    "  push %r14\n"
    "  push %r15\n"
    "  push %rdx\n"  // With the return address, a multiple of 16 bytes.
    "  mov 0(%rsi), %rbx\n"
    "  mov 8(%rsi), %rbp\n"
    "  mov 16(%rsi), %r12\n"
    "  mov 24(%rsi), %r13\n"
    "  mov 32(%rsi), %r14\n"
    "  mov 40(%rsi), %r15\n"
    "  call *%rdi\n"
    "  pop %rdx\n"
    "  mov %rbx, 0(%rdx)\n"
    "  mov %rbp, 8(%rdx)\n"
    "  mov %r12, 16(%rdx)\n"
    "  mov %r13, 24(%rdx)\n"
    "  mov %r14, 32(%rdx)\n"
    "  mov %r15, 40(%rdx)\n"
    "  pop %r15\n"
    "  pop %r14\n"
    "  pop %r13\n"
    "  pop %r12\n"
    "  pop %rbp\n"
    "  pop %rbx\n"
    "  ret\n"
    ".size suspend_with_registers, . - suspend_with_registers\n"
    ".popsection\n");
#elif defined(__aarch64__)
enum { register_count = 18 };
static const char* const register_names[register_count] = {
    "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "d8",  "d9",  "d10", "d11", "d12", "d13", "d14", "d15"};
__asm__(
    ".pushsection .text\n"
    ".type suspend_with_registers, %function\n"
    "suspend_with_registers:\n"
    "  stp x29, x30, [sp, #-176]!\n"
    "  mov x29, sp\n"
    "  stp x19, x20, [sp, #16]\n"
    "  stp x21, x22, [sp, #32]\n"
    "  stp x23, x24, [sp, #48]\n"
    "  stp x25, x26, [sp, #64]\n"
    "  stp x27, x28, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n"
    "  stp d10, d11, [sp, #112]\n"
    "  stp d12, d13, [sp, #128]\n"
    "  stp d14, d15, [sp, #144]\n"
    "  str x2, [sp, #160]\n"
    "  ldp x19, x20, [x1, #0]\n"
    "  ldp x21, x22, [x1, #16]\n"
    "  ldp x23, x24, [x1, #32]\n"
    "  ldp x25, x26, [x1, #48]\n"
    "  ldp x27, x28, [x1, #64]\n"
    "  ldp d8, d9, [x1, #80]\n"
    "  ldp d10, d11, [x1, #96]\n"
    "  ldp d12, d13, [x1, #112]\n"
    "  ldp d14, d15, [x1, #128]\n"
    "  blr x0\n"
    "  ldr x2, [sp, #160]\n"
    "  stp x19, x20, [x2, #0]\n"
    "  stp x21, x22, [x2, #16]\n"
    "  stp x23, x24, [x2, #32]\n"
    "  stp x25, x26, [x2, #48]\n"
    "  stp x27, x28, [x2, #64]\n"
    "  stp d8, d9, [x2, #80]\n"
    "  stp d10, d11, [x2, #96]\n"
    "  stp d12, d13, [x2, #112]\n"
    "  stp d14, d15, [x2, #128]\n"
    "  ldp x19, x20, [sp, #16]\n"
    "  ldp x21, x22, [sp, #32]\n"
    "  ldp x23, x24, [sp, #48]\n"
    "  ldp x25, x26, [sp, #64]\n"
    "  ldp x27, x28, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n"
    "  ldp d10, d11, [sp, #112]\n"
    "  ldp d12, d13, [sp, #128]\n"
    "  ldp d14, d15, [sp, #144]\n"
    "  ldp x29, x30, [sp], #176\n"
    "  ret\n"
    ".size suspend_with_registers, . - suspend_with_registers\n"
    ".popsection\n");
#else
#error "the callee-saved registers of this architecture are not known here"
#endif

static void keeps_registers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  uint64_t random_state = 88172645463325252u + number;
  for (int round = 0; round < 30; round++) {
    for (size_t way = 0; way < suspension_count; way++) {
      uint64_t in[register_count], out[register_count];
      for (size_t i = 0; i < register_count; i++) in[i] = next_random(&random_state);
      memset(out, 0, sizeof out);
      suspend_with_registers(suspensions[way], in, out);
      for (size_t i = 0; i < register_count; i++) {
        if (in[i] != out[i]) fprintf(stderr, "register %s\n", register_names[i]);
        CHECK_UINT(out[i], ==, in[i]);
      }
    }
  }
  finished++;
  mj_task_exit();
}

static void callee_saved_registers_are_kept(void) { run_tasks(keeps_registers); }

// The compiler's version: more live values than there are registers.
static void keeps_many_locals(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  uint64_t a = *(size_t*)user_state + 1;
  uint64_t b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13, g = a * 17, h = a * 19;
  double p = (double)a / 3, q = (double)b / 7, r = (double)c / 11, s = (double)d / 13;
  for (uint64_t round = 0; round < 30; round++) {
    suspensions[round % suspension_count]();
    a += 1, b += 3, c += 5, d += 7, e += 11, f += 13, g += 17, h += 19;
    p += 1, q += 3, r += 5, s += 7;
  }
  uint64_t first = *(size_t*)user_state + 1 + 30;
  CHECK_UINT(a, ==, first);
  CHECK_UINT(b, ==, first * 3);
  CHECK_UINT(c, ==, first * 5);
  CHECK_UINT(d, ==, first * 7);
  CHECK_UINT(e, ==, first * 11);
  CHECK_UINT(f, ==, first * 13);
  CHECK_UINT(g, ==, first * 17);
  CHECK_UINT(h, ==, first * 19);
  double start = (double)*(size_t*)user_state + 1;
  double p_expected = start / 3, q_expected = start * 3 / 7;
  double r_expected = start * 5 / 11, s_expected = start * 7 / 13;
  for (int round = 0; round < 30; round++) {
    p_expected += 1, q_expected += 3, r_expected += 5, s_expected += 7;
  }
  CHECK(p == p_expected);
  CHECK(q == q_expected);
  CHECK(r == r_expected);
  CHECK(s == s_expected);
  finished++;
  mj_task_exit();
}

static void live_values_are_kept(void) { run_tasks(keeps_many_locals); }

// ---- The rounding mode ----

static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
enum { mode_count = sizeof modes / sizeof modes[0] };

// Volatile, so that the division is done here, in the current mode. Valgrind keeps the mode, but
// rounds every quotient to nearest.
static double quotient(double dividend, double divisor) {
  volatile double left = dividend, right = divisor;
  volatile double result = left / right;
  return result;
}

#if defined(__x86_64__)
static long double long_quotient(long double dividend, long double divisor) {
  volatile long double left = dividend, right = divisor;
  volatile long double result = left / right;
  return result;
}
#endif

static void keeps_its_rounding_mode(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int mode = modes[*(size_t*)user_state % mode_count];
  CHECK_INT(fesetround(mode), ==, 0);
  double third = quotient(1, 3), minus_third = quotient(-1, 3);
#if defined(__x86_64__)
  long double long_third = long_quotient(1, 3), long_minus_third = long_quotient(-1, 3);
#endif
  for (int round = 0; round < 10; round++) {
    for (size_t way = 0; way < suspension_count; way++) {
      suspensions[way]();
      CHECK_INT(fegetround(), ==, mode);
      CHECK(quotient(1, 3) == third);
      CHECK(quotient(-1, 3) == minus_third);
#if defined(__x86_64__)
      CHECK(long_quotient(1, 3) == long_third);
      CHECK(long_quotient(-1, 3) == long_minus_third);
#endif
    }
  }
  finished++;
  mj_task_exit();
}

static void each_task_keeps_its_rounding_mode(void) {
  // Checks that the modes differ at all, and that the program's mode is restored after the run.
  CHECK_INT(fesetround(FE_UPWARD), ==, 0);
  double up = quotient(1, 3);
  CHECK_INT(fesetround(FE_DOWNWARD), ==, 0);
  double down = quotient(1, 3);
  if (!under_valgrind()) CHECK(up > down);
  run_tasks(keeps_its_rounding_mode);
  CHECK_INT(fegetround(), ==, FE_DOWNWARD);
  CHECK(quotient(1, 3) == down);
  CHECK_INT(fesetround(FE_TONEAREST), ==, 0);
}

static int mode_found;

static void leaves_another_mode(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(fesetround(FE_UPWARD), ==, 0);
  mj_task_exit();
}

static void looks_at_its_mode(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mode_found = fegetround();
  mj_task_exit();
}

// The second task begins on the first one's stack, without a switch.
static void a_new_task_begins_with_the_programs_mode(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, leaves_another_mode, NULL);
  add_task(scheduler, looks_at_its_mode, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(mode_found, ==, FE_TONEAREST);
  CHECK_INT(fegetround(), ==, FE_TONEAREST);
  mj_scheduler_destroy(scheduler);
}

// ---- The rest of the floating-point control words ----

#if defined(__x86_64__)
static const uint32_t mxcsr_status = 0x3f;

static uint32_t read_mxcsr(void) {
  uint32_t word;
  __asm__ volatile("stmxcsr %0" : "=m"(word));
  return word;
}

static void write_mxcsr(uint32_t word) { __asm__ volatile("ldmxcsr %0" : : "m"(word)); }

static uint16_t read_x87_control(void) {
  uint16_t word;
  __asm__ volatile("fnstcw %0" : "=m"(word));
  return word;
}

static void write_x87_control(uint16_t word) { __asm__ volatile("fldcw %0" : : "m"(word)); }

static void keeps_its_control_words(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  // All exceptions masked; each task has its own flush-to-zero bit and x87 precision.
  static const uint16_t precisions[] = {0x0000, 0x0200, 0x0300};
  uint32_t mxcsr = 0x1f80u | (number % 2 ? 0x8000u : 0);
  uint16_t x87 = (uint16_t)(0x007fu | precisions[number % 3]);
  uint32_t mxcsr_before = read_mxcsr();
  uint16_t x87_before = read_x87_control();
  write_mxcsr(mxcsr);
  write_x87_control(x87);
  for (int round = 0; round < 10; round++) {
    for (size_t way = 0; way < suspension_count; way++) {
      suspensions[way]();
      CHECK_UINT(read_mxcsr() & ~mxcsr_status, ==, mxcsr);
      CHECK_UINT(read_x87_control(), ==, x87);
    }
  }
  write_mxcsr(mxcsr_before);
  write_x87_control(x87_before);
  finished++;
  mj_task_exit();
}

static void each_task_keeps_its_control_words(void) {
  // Of these words valgrind only knows the rounding mode.
  if (under_valgrind()) return;
  uint32_t mxcsr = read_mxcsr() & ~mxcsr_status;
  uint16_t x87 = read_x87_control();
  run_tasks(keeps_its_control_words);
  CHECK_UINT(read_mxcsr() & ~mxcsr_status, ==, mxcsr);
  CHECK_UINT(read_x87_control(), ==, x87);
}
#elif defined(__aarch64__)
static uint64_t read_fpcr(void) {
  uint64_t word;
  __asm__ volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}

static void write_fpcr(uint64_t word) { __asm__ volatile("msr fpcr, %0" : : "r"(word)); }

static void keeps_its_control_words(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  uint64_t before = read_fpcr();
  // Each task has its own flush-to-zero and default-NaN bits.
  uint64_t fpcr = (uint64_t)(number % 4) << 24;
  write_fpcr(fpcr);
  for (int round = 0; round < 10; round++) {
    for (size_t way = 0; way < suspension_count; way++) {
      suspensions[way]();
      CHECK_UINT(read_fpcr(), ==, fpcr);
    }
  }
  write_fpcr(before);
  finished++;
  mj_task_exit();
}

static void each_task_keeps_its_control_words(void) {
  uint64_t fpcr = read_fpcr();
  run_tasks(keeps_its_control_words);
  CHECK_UINT(read_fpcr(), ==, fpcr);
}
#endif

// ---- errno ----

static void keeps_its_errno(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int own = 1000 + (int)*(size_t*)user_state;
  for (int round = 0; round < 10; round++) {
    for (size_t way = 0; way < suspension_count; way++) {
      errno = own;
      suspensions[way]();
      CHECK_INT(errno, ==, own);
    }
    errno = own;
    MJ_INFO("a line");
    CHECK_INT(errno, ==, own);
    errno = own;
    by_waiting_for_a_file();
    CHECK_INT(errno, ==, own);
    errno = own;
    by_waiting_for_nothing();
    CHECK_INT(errno, ==, own);
  }
  finished++;
  mj_task_exit();
}

static void each_task_keeps_its_errno(void) {
  null_file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK_INT(null_file, >=, 0);
  mj_log_set_level(MJ_LOG_SILENT);
  run_tasks(keeps_its_errno);
  mj_log_set_level(MJ_LOG_INFO);
  close(null_file);
}

int main(void) {
  RUN(callee_saved_registers_are_kept);
  RUN(live_values_are_kept);
  RUN(each_task_keeps_its_rounding_mode);
  RUN(a_new_task_begins_with_the_programs_mode);
  RUN(each_task_keeps_its_control_words);
  RUN(each_task_keeps_its_errno);
  return 0;
}
