//! A program of another crate that has added this one: the C interface is linked with it.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use majjen as _;

unsafe extern "C" {
    fn mj_version() -> *const c_char;
    fn mj_log_set_level(level: u32);
    fn mj_scheduler_create() -> *mut c_void;
    fn mj_scheduler_run(scheduler: *mut c_void);
    fn mj_scheduler_destroy(scheduler: *mut c_void);
    fn mj_create_task(
        scheduler: *mut c_void,
        function: extern "C" fn(*mut c_void, *mut c_void),
        user_state: *mut c_void,
    ) -> *mut c_void;
    fn mj_task_sleep_ms(milliseconds: u64);
    fn mj_task_exit();
}

static FINISHED: AtomicU32 = AtomicU32::new(0);

extern "C" fn sleeper(_scheduler: *mut c_void, _user_state: *mut c_void) {
    // SAFETY: this is a task.
    unsafe {
        mj_task_sleep_ms(1);
        FINISHED.fetch_add(1, Relaxed);
        mj_task_exit();
    }
}

fn main() {
    // SAFETY: as the header says; the scheduler is released last.
    let version = unsafe {
        mj_log_set_level(3);
        let scheduler = mj_scheduler_create();
        for _ in 0..10 {
            mj_create_task(scheduler, sleeper, null_mut());
        }
        mj_scheduler_run(scheduler);
        mj_scheduler_destroy(scheduler);
        CStr::from_ptr(mj_version())
    };
    println!("{} tasks with {}", FINISHED.load(Relaxed), version.to_string_lossy());
}
