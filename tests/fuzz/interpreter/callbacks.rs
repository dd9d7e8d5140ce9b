//! The callbacks of the library: each compares what the library has done, and may run the next
//! instruction.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use super::actions::act;
use super::calls::{self, WaitStep};
use super::majjen_h::*;
use super::model::Context;
use super::{World, next, tell, with};

/// The maximum nesting of callbacks.
const DEEPEST: u32 = 3;

/// Runs one instruction in a callback, if there is one, it is allowed here, and the nesting is not
/// too deep.
fn maybe_act(may: impl FnOnce(&World) -> bool, mark: fn(&mut Context, bool)) {
    let acts = with(|world| {
        world.look();
        let acts = may(world) && world.context().depth < DEEPEST;
        if acts {
            world.context().depth += 1;
            mark(world.context(), true);
        }
        acts
    });
    if acts {
        if let Some(instruction) = next() {
            act(calls::call(instruction));
        }
        with(|world| {
            mark(world.context(), false);
            world.context().depth -= 1;
        });
    }
}

pub unsafe extern "C" fn log(level: u32, message: *const c_char, _: *mut c_void) {
    // SAFETY: a string, says the header.
    let message = unsafe { CStr::from_ptr(message) };
    with(|world| {
        world.look();
        assert!(!world.context().in_log, "a log callback's own line has come to it");
        assert!(level >= world.threshold && level < 6, "a line of level {level}: {message:?}");
        if let Some((_, left)) = message.to_string_lossy().split_once(" has ended and left ") {
            let owner = world.model.current().expect("a task is ending");
            let count = world.model.owns(owner);
            let mutexes = if count == 1 { "mutex" } else { "mutexes" };
            assert!(left.starts_with(&format!("{count} {mutexes} locked for good")), "{left}");
        }
        world.lines += 1;
        world.context().in_log = true;
    });
    tell(|_| format!("    log {level}: {}", message.to_string_lossy()));
    maybe_act(|world| world.callbacks.log, |_, _| ());
    with(|world| world.context().in_log = false);
}

pub unsafe extern "C" fn clock(_: *mut c_void) -> u64 {
    let was_in_clock = with(|world| {
        world.look();
        world.context().in_clock
    });
    if !was_in_clock {
        maybe_act(|world| world.callbacks.clock, |context, inside| context.in_clock = inside);
    }
    with(|world| {
        let model = &mut world.model;
        model.now_ns += world.tick_ns;
        let now_ns = model.now_ns;
        if model.running.is_some() && model.current().is_none() && world.context.depth == 0 {
            world.model.loop_ns = now_ns;
        }
        now_ns
    })
}

pub unsafe extern "C" fn wait(at: *mut mj_scheduler, timeout_ns: u64, _: *mut c_void) -> c_int {
    let home = with(|world| {
        let home = world.model.running.expect("the wait function is called outside a run");
        let scheduler = &mut world.model.schedulers[home];
        assert_eq!(scheduler.at, at);
        scheduler.waits += 1;
        world.look();
        let model = &world.model;
        assert_eq!(model.current(), None);
        let earliest = model
            .living(home)
            .filter_map(|(index, task)| task.wait.deadline_ns.filter(|_| model.is_waiting(index)));
        if timeout_ns > 0 {
            // SAFETY: a living scheduler.
            let ready = unsafe { (*at).runnable_count };
            assert_eq!(ready, 0, "the wait function may wait {timeout_ns} ns, and tasks are ready");
            model.check_served(home);
            let earliest = earliest.min().unwrap_or(u64::MAX);
            let longest = earliest.saturating_sub(model.loop_ns);
            assert!(timeout_ns <= longest || earliest == u64::MAX, "{timeout_ns} is too long");
        }
        world.context.depth += 1;
        home
    });
    let step = next().map_or(WaitStep::WholeTime, calls::wait_step);
    tell(|_| format!("the wait function, for {timeout_ns} ns: {step:?}"));
    let result = match step {
        WaitStep::WholeTime if timeout_ns == u64::MAX => {
            wake_all(home);
            1
        }
        WaitStep::WholeTime => pass(timeout_ns),
        WaitStep::PartOfTheTime(part) => pass(timeout_ns.min(1 << 20) / 256 * u64::from(part)),
        WaitStep::NoTime => 0,
        WaitStep::Fail => -1,
        WaitStep::Builtin(which) => {
            let builtin = [mj_wait_epoll, mj_wait_poll, mj_wait_nanosleep];
            let result = builtin[usize::from(which) % 3](at, 0, null_mut());
            assert!(result >= 0);
            result
        }
        WaitStep::Act(call) => {
            act(call);
            1
        }
    };
    with(|world| {
        world.look();
        world.context.depth -= 1;
        if timeout_ns > 0 {
            world.model.expect_events(home);
        }
    });
    result
}

fn pass(ns: u64) -> c_int {
    with(|world| world.model.now_ns += ns);
    0
}

/// No task could ever run again: readies all tasks that are parked or dequeued.
fn wake_all(home: usize) {
    let tasks: Vec<usize> =
        with(|world| world.model.living(home).map(|(index, _)| index).collect());
    for task in tasks {
        let (at, address) =
            with(|world| (world.model.schedulers[home].at, world.model.tasks[task].at));
        assert_eq!(mj_scheduler_enqueue(at, address), 0);
        with(|world| world.model.enqueue(task));
    }
}

#[repr(C)]
struct CookieFunctions {
    read: Option<unsafe extern "C" fn()>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize>,
    seek: Option<unsafe extern "C" fn()>,
    close: Option<unsafe extern "C" fn()>,
}

unsafe extern "C" {
    fn fopencookie(
        cookie: *mut c_void,
        mode: *const c_char,
        functions: CookieFunctions,
    ) -> *mut libc::FILE;
}

/// Calls a function with a stream whose writes call back; returns the text.
pub fn with_stream(write_to: impl FnOnce(*mut libc::FILE)) -> String {
    let mut text: Vec<u8> = Vec::new();
    let functions = CookieFunctions { read: None, write: Some(write), seek: None, close: None };
    // SAFETY: the cookie outlives the stream, which is closed below.
    unsafe {
        let stream = fopencookie((&raw mut text).cast(), c"w".as_ptr(), functions);
        assert!(!stream.is_null());
        libc::setvbuf(stream, null_mut(), libc::_IONBF, 0);
        write_to(stream);
        libc::fclose(stream);
    }
    String::from_utf8(text).expect("the text is UTF-8")
}

unsafe extern "C" fn write(cookie: *mut c_void, text: *const c_char, length: usize) -> isize {
    // SAFETY: the cookie of `with_stream`, and a text of the given length.
    unsafe {
        let bytes = std::slice::from_raw_parts(text.cast::<u8>(), length);
        (*cookie.cast::<Vec<u8>>()).extend_from_slice(bytes);
    }
    maybe_act(|world| world.callbacks.stream, |_, _| ());
    length as isize
}
