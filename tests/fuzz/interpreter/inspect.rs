//! Calls that read state or change settings.

use std::ffi::{CStr, CString, c_int};
use std::ptr::null_mut;

use libc::{EBUSY, EINVAL};

use super::actions::{find, logs, name, task_stack_size, using};
use super::budget::Yield;
use super::callbacks::{self, with_stream};
use super::calls::{Call, Which};
use super::majjen_h::*;
use super::model::{For, Model};
use super::objects::Aim;
use super::{World, with};

/// Makes one of the calls, and compares its result with the model.
pub fn act(call: Call) {
    match call {
        Call::Find(which, who) => find(which, with(|world| world.id(who))),
        Call::FindAny(which, id) => find(which, id),
        Call::Current => with(|world| {
            let task = world.model.current().map(|task| world.model.tasks[task].at);
            assert_eq!(mj_task_current(), task.unwrap_or(null_mut()));
            let scheduler = world.model.running.map(|home| world.model.schedulers[home].at);
            assert_eq!(mj_scheduler_current(), scheduler.unwrap_or(null_mut()));
        }),
        Call::Poll(which) => match with(|world| world.home(which)) {
            Some(_) => assert!(using(which, |at| mj_wait_epoll(at, 0, null_mut())) >= 0),
            None => assert_eq!(logs(|| mj_wait_epoll(null_mut(), 0, null_mut())), -1),
        },
        Call::NowNs(which) => now(which),
        Call::BackendFd(which) => match with(|world| world.home(which)) {
            Some(_) => assert!(super::is_open(using(which, |at| mj_scheduler_backend_fd(at)))),
            None => assert_eq!(logs(|| mj_scheduler_backend_fd(null_mut())), -EINVAL),
        },
        Call::StackUsed(who) => {
            let task = with(|world| world.living(who));
            let address = task.map(|task| with(|world| world.model.tasks[task].at));
            let used = mj_task_stack_used(address.unwrap_or(null_mut()));
            let turns = task.map_or(0, |task| with(|world| world.model.tasks[task].turns));
            assert!(turns == 0 || used > 0);
            assert!(task.is_some() || used == 0);
        }
        Call::Name(who, length) => name(who, length),
        Call::SchedulerName(which, length) => scheduler_name(which, length),
        Call::DumpOnSignal(which, signal) => {
            let exists = with(|world| world.home(which)).is_some();
            let is_valid = [0, libc::SIGUSR1, libc::SIGUSR2].contains(&signal);
            let set = |at| mj_scheduler_dump_on_signal(at, signal);
            let result = if exists { using(which, set) } else { logs(|| set(null_mut())) };
            assert_eq!(result, if is_valid && exists { 0 } else { -EINVAL });
        }
        Call::GetMetrics(which) => get_metrics(which),
        Call::WriteMetrics(which, format, bytes) => write_metrics(which, format, bytes),
        Call::PrintMetrics(which, to_nobody) => print_metrics(which, to_nobody),
        Call::Dump(which, to_nobody) => dump(which, to_nobody),
        Call::ResetMetrics(which) => reset_metrics(which),
        Call::SetClock(which) => set_clock(which),
        Call::SetWaitFunction(which) => match with(|world| world.home(which)) {
            Some(_) => using(which, set_wait_function),
            None => logs(|| set_wait_function(null_mut())),
        },
        Call::StackSize(which, bytes) => {
            let is_valid = (16 << 10..=1 << 30).contains(&bytes);
            let exists = with(|world| world.home(which)).is_some();
            let result = using(which, |at| mj_scheduler_set_stack_size(at, bytes));
            assert_eq!(result, if is_valid && exists { 0 } else { -EINVAL });
        }
        Call::TaskStackSize(who, bytes) => task_stack_size(who, bytes),
        Call::ReportOverflow(which, report) => {
            let (home, running) = with(|world| (world.home(which), world.model.running));
            let result = using(which, |at| mj_scheduler_set_overflow_report(at, report));
            let is_running = home.is_some() && home == running;
            assert_eq!(
                result,
                if home.is_none() {
                    -EINVAL
                } else if is_running {
                    -EBUSY
                } else {
                    0
                }
            );
        }
        Call::SetLevel(level) => set_level(level),
        Call::Configure(level) => configure(level),
        Call::Log(level) => log(level),
        _ => unreachable!("{call:?} is an action"),
    }
}

fn now(which: Which) {
    let before_ns = with(|world| world.model.now_ns);
    let exists = with(|world| world.home(which)).is_some();
    let now_ns = using(which, |at| mj_scheduler_now_ns(at));
    let after_ns = with(|world| world.model.now_ns);
    let is_right = if exists { (before_ns..=after_ns).contains(&now_ns) } else { now_ns == 0 };
    assert!(is_right, "mj_scheduler_now_ns: {now_ns}");
}

fn set_wait_function(at: *mut mj_scheduler) {
    mj_scheduler_set_wait_func(at, Some(callbacks::wait), null_mut());
}

fn set_clock(which: Which) {
    let home = with(|world| world.home(which));
    let result = using(which, |at| mj_scheduler_set_clock(at, Some(callbacks::clock), null_mut()));
    let expected = with(|world| {
        let Some(home) = home else { return -EINVAL };
        // SAFETY: a living scheduler.
        let timers = unsafe { (*world.model.schedulers[home].at).timer_count };
        if world.model.running == Some(home) || timers > 0 { -EBUSY } else { 0 }
    });
    assert_eq!(result, expected);
}

fn get_metrics(which: Which) {
    let Some(home) = with(|world| world.home(which)) else {
        return assert!(logs(|| mj_scheduler_get_metrics(null_mut())).is_null());
    };
    let metrics = using(which, |at| mj_scheduler_get_metrics(at));
    // SAFETY: the scheduler's, which is alive. Its other counters are compared in `look`.
    let metrics = unsafe { *metrics };
    let turns = with(|world| world.model.schedulers[home].turns);
    assert_eq!(metrics.task_executions, turns);
    assert!(metrics.min_execution_time_ns <= metrics.max_execution_time_ns);
    assert!(metrics.max_execution_time_ns <= metrics.total_execution_time_ns);
    assert!(metrics.memory_allocated_bytes > 0);
}

fn reset_metrics(which: Which) {
    let Some(home) = with(|world| world.home(which)) else {
        return logs(|| mj_scheduler_reset_metrics(null_mut()));
    };
    using(which, |at| mj_scheduler_reset_metrics(at));
    with(|world| {
        let alive = world.model.living(home).filter(|(_, task)| !task.counted).count() as u64;
        let scheduler = &mut world.model.schedulers[home];
        (scheduler.created, scheduler.ended, scheduler.turns, scheduler.waits) = (0, 0, 0, 0);
        scheduler.peak = alive;
        // SAFETY: a living scheduler.
        scheduler.timers_at_reset = unsafe { (*scheduler.at).timer_count } as u64;
    });
}

fn write_metrics(which: Which, format: u32, bytes: usize) {
    const GUARD: u8 = 0xA5;
    let mut buffer = vec![GUARD; bytes + 1];
    let exists = with(|world| world.home(which)).is_some();
    let result = using(which, |at| {
        mj_scheduler_write_metrics(at, buffer.as_mut_ptr().cast(), bytes, format)
    });
    assert_eq!(buffer[bytes], GUARD, "written past the end");
    if !exists || format > 2 {
        return assert_eq!(result, -EINVAL);
    }
    assert!(result > 0);
    if bytes > 0 {
        let text = CStr::from_bytes_until_nul(&buffer[..bytes]).expect("a NUL");
        assert_eq!(text.to_bytes().len(), (bytes - 1).min(result as usize));
        assert!(text.to_str().is_ok());
    }
    let no_buffer = using(which, |at| mj_scheduler_write_metrics(at, null_mut(), 1, format));
    assert_eq!(no_buffer, -EINVAL);
}

/// The name is the label of the metrics, and nowhere once it is taken away.
fn scheduler_name(which: Which, length: u8) {
    let name = CString::new("front".repeat(usize::from(length) % 8)).expect("no NUL");
    if with(|world| world.home(which)).is_none() {
        return assert_eq!(logs(|| mj_scheduler_set_name(null_mut(), name.as_ptr())), -EINVAL);
    }
    let taken = with(|world| world.taken);
    using(which, |at| {
        assert_eq!(mj_scheduler_set_name(at, std::ptr::null()), -EINVAL);
        assert_eq!(mj_scheduler_set_name(at, name.as_ptr()), 0);
    });
    let mut buffer = vec![0u8; 32 << 10];
    using(which, |at| {
        mj_scheduler_write_metrics(
            at,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            MJ_METRICS_PROMETHEUS,
        )
    });
    if with(|world| world.taken) != taken {
        return; // A callback may have given it another one.
    }
    let text = CStr::from_bytes_until_nul(&buffer).expect("a NUL").to_string_lossy();
    let shown = &name.to_str().expect("text")[..name.count_bytes().min(23)];
    assert!(text.contains("_total"), "{text}");
    let label = format!("scheduler=\"{shown}\"");
    assert_eq!(text.contains(&label), !shown.is_empty(), "{label} {text}");
    assert_eq!(text.contains("scheduler="), !shown.is_empty(), "{text}");
}

fn print_metrics(which: Which, to_nobody: bool) {
    if to_nobody {
        return using(which, |at| logs(|| mj_scheduler_print_metrics(at, null_mut())));
    }
    let exists = with(|world| world.home(which)).is_some();
    let print = |at| with_stream(|stream| mj_scheduler_print_metrics(at, stream));
    let text = if exists { using(which, print) } else { logs(|| print(null_mut())) };
    assert_eq!(text.contains("Current:"), exists);
}

fn dump(which: Which, to_nobody: bool) {
    if to_nobody {
        return using(which, |at| logs(|| mj_scheduler_dump(at, null_mut())));
    }
    let Some(home) = with(|world| world.home(which)) else {
        let text = logs(|| with_stream(|stream| mj_scheduler_dump(null_mut(), stream)));
        return assert!(text.is_empty());
    };
    let taken = with(|world| world.taken);
    let text = using(which, |at| with_stream(|stream| mj_scheduler_dump(at, stream)));
    with(|world| {
        world.look();
        // Otherwise a callback may have changed the tasks while they were printed.
        if world.taken == taken {
            check_dump(&world.model, home, &text);
        }
    });
}

/// One line for each living task, which agrees with the model. The others are about tasks that wait for each other.
fn check_dump(model: &Model, home: usize, text: &str) {
    let (tasks, others): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("task "));
    assert_eq!(tasks.len(), model.living(home).count(), "the dump is\n{text}");
    assert!(others.iter().all(|line| line.starts_with("deadlock: task ")), "the dump is\n{text}");
    for (index, task) in model.living(home) {
        let begin = format!("task {:#x} ", task.id);
        let line = text.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("task {index} is not in the dump\n{text}"));
        let place = if model.schedulers[home].current == Some(index) {
            "running".to_owned()
        } else if model.is_queued(index) {
            "ready".to_owned()
        } else {
            match task.wait.what {
                For::Object(Aim::Turn(..)) => "waiting for its turn".to_owned(),
                For::Object(_) if task.taken_out && task.wait.yields == Yield::Ready => {
                    "waiting for its turn".to_owned()
                }
                _ if task.taken_out => "parked".to_owned(),
                For::Fd { fd, .. } => format!("waiting for fd {fd}"),
                For::End(other) => format!("waiting for task {:#x}", model.tasks[other].id),
                For::Object(aim) => {
                    let (kind, object) = match aim {
                        Aim::Lock(mutex) | Aim::Relock(mutex, _) => ("mutex", mutex),
                        Aim::Signal(condition, _) => ("condition", condition),
                        Aim::Permits(semaphore, _) => ("semaphore", semaphore),
                        Aim::Zero(group) => ("wait group", group),
                        Aim::Transfer | Aim::Turn(..) => ("", 0), // Described otherwise.
                    };
                    match task.cases.as_slice() {
                        _ if aim != Aim::Transfer => {
                            format!("waiting for {kind} {:p}", model.objects[object].at)
                        }
                        [case] => {
                            let at =
                                case.object.map_or(null_mut(), |object| model.objects[object].at);
                            let kind = if case.is_remote() { " between threads" } else { "" };
                            format!("waiting for channel{kind} {at:p}")
                        }
                        cases => {
                            let all = cases.iter().all(|case| case.object.is_some());
                            let what = if all { "channels" } else { "things" };
                            format!("waiting for one of {} {what}", cases.len())
                        }
                    }
                }
                _ if task.wait.limit.is_some() => "sleeping until".to_owned(),
                _ => "parked".to_owned(),
            }
        };
        let turns = format!(", {} turns, ", task.turns);
        assert!(
            line.contains(&format!("\" {place}")) && line.contains(&turns),
            "not \"{place}{turns}\": {line}"
        );
    }
}

fn set_level(level: u32) {
    if level > 6 {
        logs(|| mj_log_set_level(level));
    } else {
        mj_log_set_level(level);
        with(|world| world.threshold = level);
    }
    check_levels();
}

fn configure(level: u32) {
    let mut logger = mj_logger {
        min_level: 9,
        callback: None,
        user_data: null_mut(),
        include_time: false,
        include_level: false,
    };
    mj_log_get_config(&raw mut logger);
    with(|world| assert_eq!(logger.min_level, world.threshold));
    assert!(logger.callback.is_some());
    logger.min_level = level;
    let result = mj_log_set_config(&raw const logger);
    assert_eq!(result, if level > 6 { -EINVAL } else { 0 });
    if result == 0 {
        with(|world| world.threshold = level);
    }
    check_levels();
}

fn check_levels() {
    let threshold = with(|world| world.threshold);
    for level in 0..9 {
        assert_eq!(mj_log_enabled(level), level < 6 && level >= threshold, "level {level}");
    }
}

fn log(level: u32) {
    let comes = |world: &mut World| level >= world.threshold && !world.context().in_log;
    let (comes, lines) = with(|world| (comes(world), world.lines));
    if level >= 6 {
        return logs(|| mj_log(level, c"%d".as_ptr(), 1 as c_int));
    }
    mj_log(level, c"%s %d".as_ptr(), c"a line".as_ptr(), 1 as c_int);
    assert!(with(|world| world.lines > lines) || !comes, "a line is lost");
    if level == 5 {
        logs(|| mj_log(level, std::ptr::null()));
    }
}
