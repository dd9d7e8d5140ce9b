//! Sanitizers of the program: AddressSanitizer and ThreadSanitizer must be told when the stack
//! changes under them, and LeakSanitizer which stacks there are, or they report nonsense.
//!
//! Their hooks are looked up at run time, so the ordinary library works in a program that was built
//! with `-fsanitize=address`, `-fsanitize=thread` or `-fsanitize=leak`. A program without them pays one comparison a
//! switch. The hooks are described in the compilers' headers `sanitizer/common_interface_defs.h`
//! and `sanitizer/tsan_interface.h`.

use std::cell::Cell;
use std::ffi::{c_uint, c_void};
use std::mem::transmute;
use std::ptr::{from_ref, null, null_mut};

use super::hook::Hook;
use super::leak_roots;
use crate::engine::sys::{self, SignalMask};

type StartSwitch = unsafe extern "C" fn(*mut *mut c_void, *const u8, usize);
type FinishSwitch = unsafe extern "C" fn(*mut c_void, *mut *const u8, *mut usize);
type IsPoisoned = unsafe extern "C" fn(*const u8, usize) -> *const u8;
type Unpoison = unsafe extern "C" fn(*const u8, usize);
type CreateFiber = unsafe extern "C" fn(c_uint) -> *mut c_void;
type CurrentFiber = unsafe extern "C" fn() -> *mut c_void;
type UseFiber = unsafe extern "C" fn(*mut c_void);
type Synchronize = unsafe extern "C" fn(*mut c_void);
type SwitchToFiber = unsafe extern "C" fn(*mut c_void, c_uint);

/// AddressSanitizer's hooks.
struct Address {
    start_switch: StartSwitch,
    finish_switch: FinishSwitch,
}

/// ThreadSanitizer's hooks. It calls a context a fiber.
#[derive(Clone, Copy)]
struct Thread {
    create: CreateFiber,
    current: CurrentFiber,
    destroy: UseFiber,
    switch_to: SwitchToFiber,
}

static START_SWITCH: Hook = Hook::named(c"__sanitizer_start_switch_fiber");
static FINISH_SWITCH: Hook = Hook::named(c"__sanitizer_finish_switch_fiber");
static CREATE_FIBER: Hook = Hook::named(c"__tsan_create_fiber");
static CURRENT_FIBER: Hook = Hook::named(c"__tsan_get_current_fiber");
static DESTROY_FIBER: Hook = Hook::named(c"__tsan_destroy_fiber");
static SWITCH_TO_FIBER: Hook = Hook::named(c"__tsan_switch_to_fiber");
static ACQUIRE: Hook = Hook::named(c"__tsan_acquire");
static RELEASE: Hook = Hook::named(c"__tsan_release");

/// The program's sanitizers, and the loop's stack and fiber.
pub struct Sanitizer {
    address: Option<Address>,
    thread: Option<Thread>,
    /// Whether LeakSanitizer is to know the stacks.
    leak: bool,
    /// The stack of the loop.
    loop_stack: Cell<(*const u8, usize)>,
    /// The fiber of the loop.
    loop_fiber: Cell<*mut c_void>,
    /// The fiber of a task that has ended, until another context runs.
    ended_fiber: Cell<*mut c_void>,
    /// The saved signal mask, during a switch.
    signal_mask: Cell<Option<SignalMask>>,
}

/// The target of a switch: its stack's lowest address and size, and its fiber.
pub struct Target {
    pub lowest: *const u8,
    pub bytes: usize,
    pub fiber: *mut c_void,
}

impl Sanitizer {
    /// The sanitizers that the program was built with, if any.
    pub fn find() -> Option<Sanitizer> {
        look_up_tsan_hooks();
        let (address, thread) = find_hooks();
        let leak = leak_roots::are_wanted();
        (address.is_some() || thread.is_some() || leak).then(|| Sanitizer {
            address,
            thread,
            leak,
            loop_stack: Cell::new((null(), 0)),
            loop_fiber: Cell::new(null_mut()),
            ended_fiber: Cell::new(null_mut()),
            signal_mask: Cell::new(None),
        })
    }

    /// The calling thread runs the loop from now on.
    pub fn enter_loop(&self) {
        if self.address.is_some() {
            self.loop_stack.set(sys::thread_stack());
        }
        if let Some(thread) = self.thread {
            // SAFETY: the program's sanitizer, which is running.
            self.loop_fiber.set(unsafe { (thread.current)() });
        }
    }

    /// As [`enter_loop`](Self::enter_loop), on a stack that is not the thread's own.
    pub fn enter_loop_on(&self, lowest: *const u8, bytes: usize) {
        self.enter_loop();
        self.loop_stack.set((lowest, bytes));
    }

    /// The loop, as a target.
    pub fn the_loop(&self) -> Target {
        let (lowest, bytes) = self.loop_stack.get();
        Target { lowest, bytes, fiber: self.loop_fiber.get() }
    }

    /// A task begins to use a stack. Returns its fiber; null without ThreadSanitizer.
    pub fn begin_stack(&self, lowest: *const u8, bytes: usize) -> *mut c_void {
        if self.leak {
            leak_roots::register(lowest, bytes);
        }
        // SAFETY: the program's sanitizer, which is running.
        self.thread.map_or(null_mut(), |thread| unsafe { (thread.create)(0) })
    }

    /// No task uses a stack any more: what it still holds is no reference to anything.
    pub fn end_stack(&self, lowest: *const u8, bytes: usize) {
        if self.leak {
            leak_roots::unregister(lowest, bytes);
        }
    }

    /// Destroys the fiber of a task that will not run again.
    pub fn destroy_fiber(&self, fiber: *mut c_void) {
        if let Some(thread) = self.thread.filter(|_| !fiber.is_null()) {
            // SAFETY: from `begin_stack`, and not used again.
            unsafe { (thread.destroy)(fiber) };
        }
    }

    /// Call before a switch. Pass the result to [`resumed`](Self::resumed).
    pub fn suspending(&self, target: &Target) -> *mut c_void {
        let mut fake_stack = null_mut();
        self.announce(&mut fake_stack, target);
        fake_stack
    }

    /// Call before the last switch of a context. Its fiber is destroyed once another context runs.
    pub fn ending(&self, target: &Target, fiber: *mut c_void) {
        self.announce(null_mut(), target);
        self.ended_fiber.set(fiber);
    }

    fn announce(&self, fake_stack: *mut *mut c_void, target: &Target) {
        if let Some(address) = &self.address {
            // SAFETY: the target's stack; the sanitizer keeps what it needs in `fake_stack`.
            unsafe { (address.start_switch)(fake_stack, target.lowest, target.bytes) };
        }
        if let Some(thread) = self.thread {
            // ThreadSanitizer delays a signal until its fiber calls an intercepted function. So
            // block signals, then read the clock, which is such a function.
            self.signal_mask.set(Some(sys::block_all_signals()));
            sys::monotonic_ns();
            // SAFETY: the target's fiber, which is alive.
            unsafe { (thread.switch_to)(target.fiber, 0) };
        }
    }

    /// Call after a switch, in the resumed context, with the result of its
    /// [`suspending`](Self::suspending), or null in a new one.
    pub fn resumed(&self, fake_stack: *mut c_void) {
        if let Some(address) = &self.address {
            // SAFETY: what the sanitizer gave for this stack.
            unsafe { (address.finish_switch)(fake_stack, null_mut(), null_mut()) };
        }
        self.destroy_fiber(self.ended_fiber.replace(null_mut()));
        if let Some(mask) = self.signal_mask.take() {
            sys::restore_signal_mask(&mask);
        }
    }
}

/// Looks up the hooks of [`release`] and [`acquire`], which do nothing before. Creating a scheduler
/// does it too. Not async-signal-safe.
pub fn look_up_tsan_hooks() {
    ACQUIRE.find();
    RELEASE.find();
}

/// Tells ThreadSanitizer of a release at an address, which pairs with a later [`acquire`]. Needed
/// beside the library's own atomics, which are not instrumented. Async-signal-safe.
pub fn release<T>(address: &T) {
    synchronize(&RELEASE, from_ref(address).cast());
}

/// See [`release`].
pub fn acquire<T>(address: &T) {
    synchronize(&ACQUIRE, from_ref(address).cast());
}

fn synchronize(hook: &Hook, address: *const c_void) {
    if let Some(hook) = hook.known() {
        // SAFETY: one of the program's sanitizer, which is running, of this type; it takes any
        // address, and changes nothing there.
        unsafe { transmute::<*mut c_void, Synchronize>(hook)(address.cast_mut()) };
    }
}

/// Clears AddressSanitizer's shadow memory of stacks that are about to be unmapped: only where it has been
/// written to, since to write there takes memory, an eighth of the address space of the stacks, which
/// nobody gives back.
pub fn unpoison(memory: *const u8, bytes: usize) {
    /// So much has a page of shadow memory, and a search for the poison in it is short.
    const PART_BYTES: usize = 32 << 10;
    static IS_POISONED: Hook = Hook::named(c"__asan_region_is_poisoned");
    static UNPOISON: Hook = Hook::named(c"__asan_unpoison_memory_region");
    let Some((is_poisoned, unpoison)) = IS_POISONED.find().zip(UNPOISON.find()) else { return };
    // SAFETY: the symbols have these types, by the header `sanitizer/asan_interface.h`.
    let (is_poisoned, unpoison) = unsafe {
        (
            transmute::<*mut c_void, IsPoisoned>(is_poisoned),
            transmute::<*mut c_void, Unpoison>(unpoison),
        )
    };
    for first in (0..bytes).step_by(PART_BYTES) {
        let (part, bytes) = (memory.wrapping_add(first), PART_BYTES.min(bytes - first));
        // SAFETY: they take any range, and touch nothing but the sanitizer's own memory.
        unsafe {
            if !is_poisoned(part, bytes).is_null() {
                unpoison(part, bytes);
            }
        }
    }
}

fn find_hooks() -> (Option<Address>, Option<Thread>) {
    // SAFETY: the symbols have these types, by the headers named above.
    unsafe {
        let address =
            START_SWITCH.find().zip(FINISH_SWITCH.find()).map(|(start, finish)| Address {
                start_switch: transmute::<*mut c_void, StartSwitch>(start),
                finish_switch: transmute::<*mut c_void, FinishSwitch>(finish),
            });
        let thread = match (
            CREATE_FIBER.find(),
            CURRENT_FIBER.find(),
            DESTROY_FIBER.find(),
            SWITCH_TO_FIBER.find(),
        ) {
            (Some(create), Some(current), Some(destroy), Some(switch_to)) => Some(Thread {
                create: transmute::<*mut c_void, CreateFiber>(create),
                current: transmute::<*mut c_void, CurrentFiber>(current),
                destroy: transmute::<*mut c_void, UseFiber>(destroy),
                switch_to: transmute::<*mut c_void, SwitchToFiber>(switch_to),
            }),
            _ => None,
        };
        (address, thread)
    }
}
