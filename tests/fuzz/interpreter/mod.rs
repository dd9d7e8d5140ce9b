//! The interpreter: runs a program against the library, in simulated time, and compares what the
//! library does with the model. A broken promise is a panic; the driver of the interpreter has set
//! a hook, which ends the process.
//!
//! The library calls back into the interpreter from everywhere, so the world is borrowed for a moment
//! at a time, and never while the library is called.

mod actions;
mod budget;
mod callbacks;
mod calls;
mod channels;
mod comparison;
mod inspect;
mod io;
#[path = "../../support/majjen_h.rs"]
mod majjen_h;
mod model;
mod objects;
mod processes;
mod reach;
mod remote_channels;
mod schedulers;
mod sync;
mod sync_calls;
mod waits;

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

#[allow(unused_imports, reason = "libFuzzer finds it by itself")]
pub use io::MAGIC as IO;

use calls::{Call, End, Program, Which, Who};
use majjen_h::*;
use model::{Context, Model};

/// The state of a program.
pub struct World {
    pub program: Vec<[u8; 4]>,
    pub taken: usize,
    pub model: Model,
    /// The calls that `main` and the loop are in.
    pub context: Context,
    /// Descriptors: two for each pipe, -1 when closed, and the numbers that they had.
    pub pipes: [[i32; 2]; 3],
    pub earlier: [[i32; 2]; 3],
    pub file: i32,
    /// Duplicates of what the pipes were.
    pub kept: Vec<i32>,
    /// This is a child process.
    pub is_child: bool,
    pub tick_ns: u64,
    pub callbacks: Callbacks,
    pub threshold: u32,
    /// Lines that the log callback received.
    pub lines: u64,
    /// Calls that have to log a line.
    pub misuses: u64,
    pub tell: bool,
}

/// Which callbacks run instructions.
#[derive(Clone, Copy, Default)]
pub struct Callbacks {
    pub log: bool,
    pub clock: bool,
    pub stream: bool,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Borrows the world for a moment.
pub fn with<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("there is no program")))
}

/// Runs a program. With `tell`, prints each call before it is made, and its result.
pub fn run(bytes: &[u8], tell: bool) {
    let open_before = open_descriptors();
    let mut program = Program::new(bytes);
    let program: Vec<[u8; 4]> = std::iter::from_fn(|| program.next()).collect();
    if let [io::MAGIC, rest @ ..] = program.as_slice() {
        return io::run(rest, tell);
    }
    let world = World {
        program,
        taken: 0,
        model: Model { now_ns: 1_000_000_000, ..Model::default() },
        context: Context::default(),
        pipes: [[-1; 2]; 3],
        earlier: [[-1; 2]; 3],
        // SAFETY: a string.
        file: unsafe { libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC) },
        kept: Vec::new(),
        is_child: false,
        tick_ns: 0,
        callbacks: Callbacks::default(),
        threshold: MJ_LOG_WARN,
        lines: 0,
        misuses: 0,
        tell,
    };
    WORLD.set(Some(world));
    mj_log_set_level(MJ_LOG_WARN);
    mj_log_set_callback(Some(callbacks::log), null_mut());
    // SAFETY: no handler is set. Programs write to pipes without a reader.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    actions::act(Call::Create(Which::First, false));
    actions::act(Call::Open(0));
    while let Some(instruction) = next() {
        actions::act(calls::call(instruction));
    }
    schedulers::finish();
    mj_log_set_callback(None, null_mut());
    let world = WORLD.take().expect("there is no program");
    let fds = world.pipes.into_iter().flatten().chain([world.file]).chain(world.kept);
    for fd in fds.filter(|fd| *fd >= 0) {
        // SAFETY: opened by this program.
        unsafe { libc::close(fd) };
    }
    assert_eq!(open_descriptors(), open_before, "descriptors");
    if world.is_child {
        processes::leave();
    }
}

/// The next instruction.
pub fn next() -> Option<[u8; 4]> {
    with(|world| {
        let instruction = world.program.get(world.taken).copied()?;
        world.taken += 1;
        Some(instruction)
    })
}

/// Prints, when the program is to be printed; to descriptor 2 and not to `stderr`, which has a
/// lock.
pub fn tell(text: impl FnOnce(&World) -> String) {
    let line = with(|world| world.tell.then(|| text(world)));
    if let Some(line) = line {
        write_out(&format!("{line}\n"));
    }
}

/// Writes to descriptor 2, in any state of the process.
pub fn write_out(text: &str) {
    // SAFETY: the text is as long as said.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// Describes a failure, in the hook that a driver sets: the caller, and the panic.
pub fn describe(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let text = panic.payload_as_str().unwrap_or("?");
    match panic.location() {
        Some(place) => format!("{text}\n(the check is at {}:{})", place.file(), place.line()),
        None => text.to_owned(),
    }
}

impl World {
    /// The context of the caller.
    pub fn context(&mut self) -> &mut Context {
        self.context_of(self.model.current())
    }

    /// The context of a task, or of `main` and the loop.
    pub fn context_of(&mut self, task: Option<usize>) -> &mut Context {
        match task {
            Some(task) => &mut self.model.tasks[task].context,
            None => &mut self.context,
        }
    }

    /// Describes which code is making calls.
    pub fn caller(&self) -> String {
        let (who, context) = match (self.model.current(), self.model.running) {
            (Some(task), _) => (format!("task {task}"), &self.model.tasks[task].context),
            (None, Some(_)) => ("the loop".to_owned(), &self.context),
            (None, None) => ("main".to_owned(), &self.context),
        };
        let callback = if context.in_clock {
            ", in the clock"
        } else if context.in_log {
            ", in the log callback"
        } else if context.depth > 0 {
            ", in a callback"
        } else {
            ""
        };
        format!("{who}{callback}")
    }

    pub fn home(&self, which: Which) -> Option<usize> {
        let home = match which {
            Which::First => 0,
            Which::Second => 1,
            Which::Null => return None,
        };
        (!self.model.schedulers[home].at.is_null()).then_some(home)
    }

    pub fn scheduler(&self, which: Which) -> *mut mj_scheduler {
        self.home(which).map_or(null_mut(), |home| self.model.schedulers[home].at)
    }

    /// An address to be passed as a task.
    pub fn address(&self, who: Who) -> *mut mj_task {
        static NOWHERE: u64 = 0;
        let nth = |n: u8| self.model.tasks.get(usize::from(n) % self.model.tasks.len().max(1));
        match who {
            Who::Task(n) => nth(n).map_or(null_mut(), |task| task.at),
            Who::Oneself => {
                self.model.current().map_or(null_mut(), |task| self.model.tasks[task].at)
            }
            Who::Null => null_mut(),
            Who::Nowhere => (&raw const NOWHERE).cast_mut().cast(),
            Who::Inside(n) => nth(n).map_or(null_mut(), |task| task.at.wrapping_byte_add(8)),
        }
    }

    /// A living task, for the functions that accept no other.
    pub fn living(&self, who: Who) -> Option<usize> {
        let address = self.address(who);
        (0..2).find_map(|home| self.model.at(home, address))
    }

    /// The id of a task that was created, alive or not; 0 for an invalid one.
    pub fn id(&self, who: Who) -> u64 {
        match who {
            Who::Task(n) if !self.model.tasks.is_empty() => {
                self.model.tasks[usize::from(n) % self.model.tasks.len()].id
            }
            Who::Oneself => self.model.current().map_or(0, |task| self.model.tasks[task].id),
            Who::Inside(n) => u64::from(n) << 24 | 3,
            _ => 0,
        }
    }

    /// A descriptor number, open or not, but never an open descriptor that is not the program's.
    pub fn fd(&self, end: End) -> i32 {
        const NOT_OPEN: i32 = 900;
        let (pipe, side) = match end {
            End::Reading(pipe) => (pipe, 0),
            End::Writing(pipe) => (pipe, 1),
            End::File => return self.file,
            End::Negative => return -1,
            End::NotOpen => return NOT_OPEN,
        };
        let earlier = self.earlier[pipe][side];
        match self.pipes[pipe][side] {
            -1 if is_open(earlier) => -1,
            -1 => earlier,
            fd => fd,
        }
    }

    pub fn look(&mut self) {
        for home in 0..2 {
            self.model.look(home);
        }
    }
}

/// Makes a system call again while a signal interrupts it, as that of libFuzzer's timer.
pub fn uninterrupted(call: impl Fn() -> c_int) -> c_int {
    loop {
        let result = call();
        if result >= 0 || waits::get_errno() != libc::EINTR {
            return result;
        }
    }
}

/// The open descriptors among those that a program may open, a bit for each.
fn open_descriptors() -> u64 {
    (0..64).filter(|fd| is_open(*fd)).fold(0, |open, fd| open | 1 << fd)
}

pub fn is_open(fd: i32) -> bool {
    // SAFETY: no pointers.
    fd >= 0 && unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1
}

/// The body of every task: `user_state` is its number.
pub unsafe extern "C" fn body(scheduler: *mut mj_scheduler, user_state: *mut c_void) {
    // SAFETY: the memory that the task was created with.
    let task = unsafe { *user_state.cast::<usize>() };
    with(|world| {
        let it = &world.model.tasks[task];
        assert!(it.alive && !it.leaving, "task {task} is called after it has ended");
        assert_eq!(it.at, mj_task_current());
        let home = it.home;
        assert_eq!(world.model.schedulers[home].at, scheduler);
        world.look();
        assert_eq!(world.model.current(), Some(task));
    });
    let call = loop {
        match next().map_or(Call::ExitAndReturn, calls::call) {
            call @ (Call::Return | Call::ExitAndReturn) => break call,
            call => actions::act(call),
        }
    };
    tell(|world| format!("{}: {call:?}", world.caller()));
    if call == Call::ExitAndReturn {
        mj_task_exit();
    }
    with(|world| world.model.leave(task));
}
