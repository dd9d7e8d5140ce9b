//! Programs of I/O calls, of streams and of groups: a second model, beside the one of the other calls.
//!
//! That one foresees in which order tasks run. Here a call may be woken, find nothing and wait again, and
//! what it finds depends on other calls, so this model says instead
//!
//! - what each call may return, in the state that the files are in when it does (`verdict.rs`),
//! - that what is read is what was written, in order, and nothing is lost (`files.rs`),
//! - that nobody waits for what is there, or for a time that is over, when the scheduler is idle
//!   (`idle.rs`).
//!
//! A program begins with [`MAGIC`]. Its second instruction says whether time is simulated. Then the scheduler
//! does all that follows from the bytes alone; else it uses its own clock, waits of owned descriptors are
//! checked as in a real program, and limits are short.

mod calls;
mod descriptors;
mod files;
mod groups;
mod idle;
mod posts;
mod program;
mod streams;
mod transfers;
mod verdict;
mod waits;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

use super::majjen_h::*;
use super::{open_descriptors, write_out};
use files::{File, Flow};
use groups::Group;
use posts::Post;
use program::Act;
use streams::Stream;
use transfers::Source;
use verdict::Op;

/// The first instruction of such a program.
pub const MAGIC: [u8; 4] = *b"I/O\n";

/// The most tasks of a program.
const MOST_TASKS: usize = 40;

/// What a task has for what it reads and writes.
const ROOM: usize = 1 << 15;

/// So many descriptors a program has at a time; the last one is of a listener.
const SLOTS: usize = 7;

/// A task: of mj_go() or of a post, or a member of a group.
pub struct Task {
    pub id: mj_task_id,
    pub alive: bool,
    pub canceled: bool,
    /// Another thread has woken it, of which the scheduler may not know yet.
    pub will_be_told: bool,
    pub deadline_ns: u64,
    /// The group that it is a member of.
    pub group: Option<usize>,
    /// The call that it is in.
    pub op: Option<Op>,
    /// How many parts of calls it may have spent its budget for, in all.
    pub spent: usize,
    /// Not on its stack, which may be dropped with the scheduler.
    pub room: Box<[u8]>,
}

/// A place for a descriptor: its number, also after it was closed.
#[derive(Clone, Copy)]
pub struct Slot {
    pub number: c_int,
}

pub struct World {
    program: Vec<[u8; 4]>,
    taken: usize,
    tell: bool,
    pub at: *mut mj_scheduler,
    pub is_simulated: bool,
    /// In simulated time.
    pub clock_ns: u64,
    pub tasks: Vec<Task>,
    pub posts: Vec<Post>,
    pub running: bool,
    pub stopped: bool,
    pub slots: [Slot; SLOTS],
    /// All files that there ever were, and the descriptors that are open.
    pub files: Vec<File>,
    pub flows: Vec<Flow>,
    pub numbers: HashMap<c_int, usize>,
    /// The numbers that the library owns, also when close(2) has closed them.
    pub owned: Vec<c_int>,
    /// Numbers of those that were closed by close(2), which the library does not see: a wait for the next file of such
    /// a number may be found out only when waits are checked.
    pub closed_unseen: Vec<c_int>,
    pub listener: Option<files::Listener>,
    pub streams: [Option<Stream>; 2],
    pub groups: [Group; 2],
    /// What is sent from a file, one behind the other: the kernel may keep its pages.
    pub source: Source,
    /// Calls that have begun.
    pub serial: u64,
    idle: idle::Idle,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Borrows the world for a moment: never while the library is called.
pub fn with<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("there is no program")))
}

/// Runs a program, without its first instruction.
pub fn run(program: &[[u8; 4]], tell: bool) {
    let open_before = open_descriptors();
    let (is_simulated, program) = match program.split_first() {
        Some((config, rest)) => (config[0] % 4 != 0, rest),
        None => (true, program),
    };
    WORLD.set(Some(World {
        program: program.to_vec(),
        taken: 0,
        tell,
        at: null_mut(),
        is_simulated,
        clock_ns: 1_000_000_000,
        tasks: Vec::new(),
        posts: Vec::new(),
        running: false,
        stopped: false,
        slots: [Slot { number: -1 }; SLOTS],
        files: Vec::new(),
        flows: Vec::new(),
        numbers: HashMap::new(),
        owned: Vec::new(),
        closed_unseen: Vec::new(),
        listener: None,
        streams: [None, None],
        groups: [Group::default(), Group::default()],
        source: Source::new(),
        serial: 0,
        idle: idle::Idle::default(),
    }));
    mj_log_set_level(MJ_LOG_WARN);
    mj_log_set_callback(Some(log), null_mut());
    let at = mj_scheduler_create();
    assert!(!at.is_null());
    with(|world| world.at = at);
    if is_simulated {
        assert_eq!(mj_scheduler_set_clock(at, Some(clock), null_mut()), 0);
    }
    mj_scheduler_set_wait_func(at, Some(idle::wait), null_mut());
    spawn();
    with(|world| world.running = true);
    mj_scheduler_run(at);
    with(|world| {
        world.running = false;
        let left = world.tasks.iter().filter(|task| task.alive).count();
        assert!(world.stopped || left == 0, "the run is over, and {left} tasks are left");
    });
    finish();
    mj_log_set_callback(None, null_mut());
    WORLD.set(None);
    assert_eq!(open_descriptors(), open_before, "descriptors");
}

/// Releases everything, after the run.
fn finish() {
    let at = with(|world| std::mem::replace(&mut world.at, null_mut()));
    streams::release_idle();
    posts::destroy(at);
    with(|world| world.tasks.iter_mut().for_each(|task| (task.alive, task.op) = (false, None)));
    groups::destroy_all();
    streams::destroy_all();
    descriptors::close_all();
}

unsafe extern "C" fn clock(_: *mut c_void) -> u64 {
    with(|world| world.clock_ns)
}

unsafe extern "C" fn log(level: u32, message: *const c_char, _: *mut c_void) {
    tell(|_| {
        // SAFETY: a string, says the header.
        let message = unsafe { std::ffi::CStr::from_ptr(message) };
        format!("    log {level}: {}", message.to_string_lossy())
    });
}

/// Prints, when the program is to be printed.
pub fn tell(text: impl FnOnce(&World) -> String) {
    if let Some(line) = with(|world| world.tell.then(|| text(world))) {
        write_out(&format!("{line}\n"));
    }
}

/// The next instruction, if `is_wanted` says so.
pub fn next_if(is_wanted: impl FnOnce([u8; 4]) -> bool) -> Option<Act> {
    with(|world| {
        let instruction = world.program.get(world.taken).copied()?;
        is_wanted(instruction).then(|| {
            world.taken += 1;
            program::act(instruction)
        })
    })
}

impl World {
    /// The running task.
    pub fn current(&self) -> Option<usize> {
        let task = mj_task_current();
        if task.is_null() {
            return None;
        }
        let id = mj_task_get_id(task);
        self.tasks.iter().position(|task| task.id == id)
    }

    /// The time by the scheduler's clock.
    pub fn now_ns(&self) -> u64 {
        if self.is_simulated {
            return self.clock_ns;
        }
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: room for one.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    fn new_task(&mut self, group: Option<usize>, deadline_ns: u64) -> usize {
        self.tasks.push(Task {
            id: 0,
            alive: true,
            canceled: false,
            will_be_told: false,
            deadline_ns,
            group,
            op: None,
            spent: 0,
            room: vec![0; ROOM].into(),
        });
        self.tasks.len() - 1
    }
}

/// Adds a task, which takes instructions.
pub fn spawn() {
    let made = with(|world| {
        (world.tasks.len() < MOST_TASKS).then(|| (world.new_task(None, u64::MAX), world.at))
    });
    let Some((task, at)) = made else { return };
    let mut id = 0;
    assert_eq!(mj_go(at, Some(body), task as *mut c_void, &raw mut id), 0);
    with(|world| world.tasks[task].id = id);
}

unsafe extern "C" fn body(task: *mut c_void) {
    take_instructions(task as usize);
    with(|world| world.tasks[task as usize].alive = false);
}

/// Takes instructions until one is to return, which says with what.
pub fn take_instructions(task: usize) -> c_int {
    with(|world| {
        let it = &mut world.tasks[task];
        it.id = mj_task_get_id(mj_task_current());
        assert!(it.alive && it.op.is_none());
    });
    loop {
        let act = next_if(|_| true).unwrap_or(Act::Return(0));
        tell(|_| format!("task {task}: {act:?}"));
        if let Act::Return(result) = act {
            return result;
        }
        calls::perform(act);
    }
}
