//! A program in another crate that depends on this one. It also links the C ABI.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::rc::Rc;
use std::time::Duration;

use majjen::logger::{self, Level};
use majjen::{Scheduler, task};

unsafe extern "C" {
    fn mj_version() -> *const c_char;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    logger::set_level(Level::Warn);
    let scheduler = Scheduler::new()?;
    let finished = Rc::new(Cell::new(0));
    for _ in 0..10 {
        let finished = Rc::clone(&finished);
        scheduler.spawn(move || {
            task::sleep(Duration::from_millis(1)).unwrap();
            finished.set(finished.get() + 1);
        });
    }
    scheduler.run()?;
    // SAFETY: a constant string.
    let version = unsafe { CStr::from_ptr(mj_version()) };
    println!("{} tasks with {}", finished.get(), version.to_str()?);
    Ok(())
}
