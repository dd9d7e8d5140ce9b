//! What a task has lent to another thread is not dropped while that uses it, whatever becomes of
//! the task's scheduler when its own thread ends.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::{self, LocalKey};
use std::time::Duration;

use majjen::{Scheduler, task};
use support::{HOUR, OnDrop, in_child, run_for_a_moment, scheduler};

/// What has become of a thread-local and of the task that has lent it.
#[derive(Default)]
struct Fate {
    is_unwound: AtomicBool,
    /// The other thread has been told of the unwinding, and has used the value until its own end.
    is_returned: AtomicBool,
    is_dropped: AtomicBool,
    is_used_after_drop: AtomicBool,
}

/// Something that a thread-local holds. It says when it is dropped.
#[derive(Default)]
struct Lent(RefCell<Option<Arc<Fate>>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(fate) = self.0.take() {
            fate.is_dropped.store(true, SeqCst);
        }
    }
}

/// A thread-local with nothing in it yet.
macro_rules! lent {
    ($name:ident) => {
        thread_local!(static $name: Lent = const { Lent(RefCell::new(None)) });
    };
}

/// The body of a task: lends a thread-local to a thread, and suspends until it is unwound.
fn lend(key: &'static LocalKey<Lent>, fate: Arc<Fate>) {
    key.with(|lent| {
        *lent.0.borrow_mut() = Some(fate.clone());
        let _lent: &Lent = lent;
        thread::scope(|scope| {
            scope.spawn(|| use_until_unwound(&fate));
            let _unwound = OnDrop(|| fate.is_unwound.store(true, SeqCst));
            let _ = task::sleep(HOUR);
        });
    });
}

/// What the other thread does. It is done a while after it has been told to, and at once when it has
/// found what it was lent gone.
fn use_until_unwound(fate: &Fate) {
    let mut left = 20;
    while left > 0 {
        if fate.is_dropped.load(SeqCst) {
            return fate.is_used_after_drop.store(true, SeqCst);
        }
        left -= u32::from(fate.is_unwound.load(SeqCst));
        thread::sleep(Duration::from_millis(1));
    }
    fate.is_returned.store(true, SeqCst);
}

/// Runs a function in a thread, whose end must return what tasks have lent before it drops it.
fn is_kept(body: impl FnOnce(&Arc<Fate>) + Send + 'static) {
    let fate = Arc::new(Fate::default());
    let of_thread = fate.clone();
    thread::spawn(move || body(&of_thread)).join().unwrap();
    // Of a task that is not unwound the other thread learns only by the drop.
    while !fate.is_returned.load(SeqCst) && !fate.is_used_after_drop.load(SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!fate.is_used_after_drop.load(SeqCst), "dropped while another thread had it");
    assert!(fate.is_unwound.load(SeqCst) && fate.is_dropped.load(SeqCst));
}

/// A scheduler with a task that has lent a thread-local and is suspended.
fn lender(key: &'static LocalKey<Lent>, fate: &Arc<Fate>) -> Scheduler {
    let scheduler = scheduler();
    spawn_lender(&scheduler, key, fate);
    run_for_a_moment(&scheduler);
    scheduler
}

fn spawn_lender(scheduler: &Scheduler, key: &'static LocalKey<Lent>, fate: &Arc<Fate>) {
    let fate = fate.clone();
    scheduler.spawn(move || lend(key, fate));
}

lent!(OF_FORGOTTEN);

#[test]
fn of_a_forgotten_scheduler() {
    is_kept(|fate| std::mem::forget(lender(&OF_FORGOTTEN, fate)));
}

lent!(OF_LEAKED);

#[test]
fn of_a_scheduler_on_a_leaked_box() {
    is_kept(|fate| {
        Box::leak(Box::new(lender(&OF_LEAKED, fate)));
    });
}

lent!(OF_CYCLE);

/// The last owner is dropped when its own task is unwound: it is leaked then.
#[test]
fn of_a_scheduler_that_its_own_task_owns() {
    is_kept(|fate| {
        let scheduler = Rc::new(scheduler());
        let (own, fate) = (scheduler.clone(), fate.clone());
        scheduler.spawn(move || {
            let _own = own;
            lend(&OF_CYCLE, fate);
        });
        run_for_a_moment(&scheduler);
    });
}

lent!(OF_EARLIER_LOCAL);
lent!(OF_LATER_LOCAL);
thread_local!(static KEPT: RefCell<Option<Scheduler>> = const { RefCell::new(None) });

/// It is dropped after what its task has lent.
#[test]
fn of_a_scheduler_in_a_thread_local_that_was_used_first() {
    is_kept(|fate| {
        KEPT.with(|_| ());
        let scheduler = lender(&OF_EARLIER_LOCAL, fate);
        KEPT.with(|kept| *kept.borrow_mut() = Some(scheduler));
    });
}

/// It is dropped before.
#[test]
fn of_a_scheduler_in_a_thread_local_that_was_used_last() {
    is_kept(|fate| {
        let scheduler = lender(&OF_LATER_LOCAL, fate);
        KEPT.with(|kept| *kept.borrow_mut() = Some(scheduler));
    });
}

lent!(OF_SECOND_RUN);

/// What the second run is the first to use is dropped before what the first one has used.
#[test]
fn that_is_used_first_in_a_later_run() {
    is_kept(|fate| {
        let scheduler = scheduler();
        scheduler.spawn(|| task::sleep(HOUR));
        run_for_a_moment(&scheduler);
        spawn_lender(&scheduler, &OF_SECOND_RUN, fate);
        run_for_a_moment(&scheduler);
        std::mem::forget(scheduler);
    });
}

lent!(OF_FIRST_OF_TWO);
lent!(OF_SECOND_OF_TWO);

#[test]
fn of_two_forgotten_schedulers() {
    is_kept(|fate| {
        std::mem::forget(lender(&OF_FIRST_OF_TWO, fate));
        let other = Arc::new(Fate::default());
        std::mem::forget(lender(&OF_SECOND_OF_TWO, &other));
    });
}

lent!(OF_DESTRUCTOR);

/// In the end of a thread, a destructor of a thread-local runs a scheduler of its own.
#[test]
fn by_a_task_of_a_destructor() {
    struct Runs(Arc<Fate>);
    impl Drop for Runs {
        fn drop(&mut self) {
            std::mem::forget(lender(&OF_DESTRUCTOR, &self.0));
        }
    }
    thread_local!(static RUNS: RefCell<Option<Runs>> = const { RefCell::new(None) });
    is_kept(|fate| RUNS.with(|runs| *runs.borrow_mut() = Some(Runs(fate.clone()))));
}

/// Tasks that have not begun have borrowed nothing: a forgotten closure stays so. And after its
/// thread-locals nothing of a scheduler runs.
#[test]
fn and_only_tasks_that_have_begun_are_ended() {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    thread::spawn(|| {
        let scheduler = scheduler();
        scheduler.spawn(|| task::sleep(HOUR));
        run_for_a_moment(&scheduler);
        let closure = OnDrop(|| {
            DROPPED.fetch_add(1, SeqCst);
        });
        scheduler.spawn(move || drop(closure));
        std::mem::forget(scheduler);
    })
    .join()
    .unwrap();
    assert_eq!(DROPPED.load(SeqCst), 0);
}

// ---- tasks that cannot be unwound, and other ends of a process: each in a process of its own

/// The process has ended itself, and has said why.
fn is_aborted(output: &Output) {
    use std::os::unix::process::ExitStatusExt;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("majjen: fatal error: there are tasks that were not unwound"), "{text}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{text}");
}

/// A task that does not end, however often it is told to.
fn stubborn() {
    loop {
        let _ = catch_unwind(AssertUnwindSafe(|| task::sleep(HOUR)));
    }
}

/// In a thread, since a process that ends would not wait for it.
fn in_thread(body: impl FnOnce() + Send + 'static) {
    thread::spawn(body).join().unwrap();
}

/// Given up when the thread ends: there are other threads, as everywhere in this program.
#[test]
fn a_forgotten_task_that_cannot_be_unwound_ends_the_process() {
    let name = "a_forgotten_task_that_cannot_be_unwound_ends_the_process";
    is_aborted(&in_child(name, || {
        in_thread(|| {
            let scheduler = scheduler();
            scheduler.spawn(stubborn);
            run_for_a_moment(&scheduler);
            std::mem::forget(scheduler);
        });
    }));
}

/// Given up when its scheduler is dropped: it does no harm until the thread ends.
#[test]
fn a_task_that_was_given_up_ends_the_process_when_its_thread_ends() {
    let name = "a_task_that_was_given_up_ends_the_process_when_its_thread_ends";
    let output = in_child(name, || {
        in_thread(|| {
            let scheduler = scheduler();
            scheduler.spawn(stubborn);
            run_for_a_moment(&scheduler);
            drop(scheduler);
            eprintln!("the scheduler has been dropped");
        });
    });
    is_aborted(&output);
    let text = String::from_utf8_lossy(&output.stderr);
    let place = |part| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}"));
    assert!(place("could not be unwound") < place("has been dropped"));
    assert!(place("has been dropped") < place("fatal error"));
}

/// In the turns in which a task is asked to end it can be the first one to use a thread-local.
#[test]
fn what_a_task_has_used_last_is_kept_too() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            eprintln!("dropped before");
        }
    }
    thread_local!(static LATE: Late = const { Late });
    let output = in_child("what_a_task_has_used_last_is_kept_too", || {
        in_thread(|| {
            let scheduler = scheduler();
            scheduler.spawn(|| {
                let _ = catch_unwind(|| task::sleep(HOUR));
                LATE.with(|_| stubborn());
            });
            run_for_a_moment(&scheduler);
            drop(scheduler);
        });
    });
    is_aborted(&output);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("dropped before"), "{output:?}");
}

/// A process without other threads ends as it wants: nobody is left to use what was lent. This is
/// the first thread of a child that a process has made by fork().
#[test]
fn without_other_threads_a_task_may_be_given_up() {
    let name = "without_other_threads_a_task_may_be_given_up";
    let output = in_child(name, || {
        // SAFETY: the child has this thread only, in which no lock is held.
        if unsafe { libc::fork() } == 0 {
            let scheduler = scheduler();
            scheduler.spawn(stubborn);
            run_for_a_moment(&scheduler);
            std::mem::forget(scheduler);
            std::process::exit(5);
        }
        let mut status = 0;
        // SAFETY: its only child, and a place for the status.
        unsafe { libc::wait(&mut status) };
        std::process::exit(libc::WEXITSTATUS(status));
    });
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

/// exit() between runs is an end of the thread too: the forgotten task is unwound.
#[test]
fn exit_between_runs_ends_the_tasks() {
    thread_local!(static USED: Cell<u8> = const { Cell::new(0) });
    let output = in_child("exit_between_runs_ends_the_tasks", || {
        let scheduler = scheduler();
        scheduler.spawn(|| {
            USED.with(|_| {
                let _guard = OnDrop(|| eprintln!("unwound"));
                let _ = task::sleep(HOUR);
            });
        });
        run_for_a_moment(&scheduler);
        std::mem::forget(scheduler);
    });
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("unwound"), "{output:?}");
}

/// In a child of fork() there is no thread to which a task could have lent anything. Nor does it
/// wait for one that the parent has.
#[test]
fn a_child_of_fork_leaves_the_tasks_alone() {
    lent!(OF_PARENT);
    let output = in_child("a_child_of_fork_leaves_the_tasks_alone", || {
        let fate = Arc::new(Fate::default());
        std::mem::forget(lender(&OF_PARENT, &fate));
        // SAFETY: the other thread only sleeps and reads atomics: it holds no lock for long.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: no preconditions. It ends a child that waits.
            unsafe { libc::alarm(20) };
            std::process::exit(6);
        }
        let mut status = 0;
        // SAFETY: its only child, and a place for the status.
        unsafe { libc::wait(&mut status) };
        assert!(!fate.is_unwound.load(SeqCst));
        assert_eq!(libc::WEXITSTATUS(status), 6);
    });
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}
