//! Values that belong to one task: `task_local!`.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::OnceLock;

use crate::engine::scheduler;
use crate::engine::sys::{Error, Result};
use crate::engine::threads::make_key;
use crate::safe::panics::{drop_quietly, forget_payload};

/// Declares values of which each task has its own, as `thread_local!` does for threads. A task's value is made
/// when it first uses it, and dropped when the task ends, in the task, where its destructor may suspend.
///
/// ```
/// use majjen::{Scheduler, task, task_local};
/// use std::cell::Cell;
///
/// task_local! {
///     /// The number of the request that the task works on.
///     static REQUEST: Cell<u64> = Cell::new(0);
/// }
///
/// fn log(text: &str) -> String {
///     let request = REQUEST.with(Cell::get).unwrap_or(0);
///     format!("request {request}: {text}")
/// }
///
/// let scheduler = Scheduler::new()?;
/// let lines: Vec<_> = (1..=2)
///     .map(|number| {
///         scheduler.spawn(move || {
///             REQUEST.with(|request| request.set(number)).unwrap();
///             task::yield_now().unwrap(); // Other tasks have other numbers.
///             log("done")
///         })
///     })
///     .collect();
/// scheduler.run()?;
/// let lines: Result<Vec<_>, _> = lines.into_iter().map(|line| line.join()).collect();
/// assert_eq!(lines?, ["request 1: done", "request 2: done"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With `inherited` before `static` a new task begins with a clone of the value of the task that makes it, if
/// that has one. It is cloned outside a task, where nothing can suspend:
///
/// ```
/// use majjen::{Scheduler, task, task_local};
/// use std::{cell::RefCell, rc::Rc};
///
/// task_local! {
///     pub inherited static USER: RefCell<Rc<str>> = RefCell::new("nobody".into());
/// }
///
/// let scheduler = Scheduler::new()?;
/// let parent = scheduler.spawn(|| {
///     USER.with(|user| user.replace("ada".into())).unwrap();
///     task::spawn(|| USER.with(|user| user.borrow().to_string())).join()
/// });
/// scheduler.run()?;
/// assert_eq!(parent.join()???, "ada");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Outside a task there is no value: see [`LocalKey::with`]. There can be 128 such declarations in a process, of
/// those that are used. A destructor that uses values makes new ones, which are dropped in turn, in four rounds
/// altogether; what is made in the last one is leaked, and a WARN line says so.
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$about:meta])* $sight:vis static $name:ident: $type:ty = $value:expr $(; $($rest:tt)*)?) => {
        $(#[$about])*
        $sight static $name: $crate::task::LocalKey<$type> =
            $crate::task::LocalKey::new(|| $value, None);
        $($crate::task_local! { $($rest)* })?
    };
    (
        $(#[$about:meta])* $sight:vis inherited static $name:ident: $type:ty = $value:expr
        $(; $($rest:tt)*)?
    ) => {
        $(#[$about])*
        $sight static $name: $crate::task::LocalKey<$type> =
            $crate::task::LocalKey::new(|| $value, Some(Clone::clone));
        $($crate::task_local! { $($rest)* })?
    };
}

/// The key of values that belong to one task each, from [`task_local!`](crate::task_local).
///
/// ```
/// use majjen::{Error, Scheduler, task_local};
/// use std::cell::Cell;
///
/// task_local!(static CALLS: Cell<u32> = Cell::new(0));
///
/// let scheduler = Scheduler::new()?;
/// let calls = scheduler.spawn(|| {
///     CALLS.with(|calls| calls.set(calls.get() + 1))?;
///     CALLS.with(Cell::get)
/// });
/// scheduler.run()?;
/// assert_eq!(calls.join()?, Ok(1));
/// assert_eq!(CALLS.with(Cell::get), Err(Error::NotInTask));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LocalKey<T: 'static> {
    make: fn() -> T,
    clone: Option<fn(&T) -> T>,
    /// The core's key, made at the first use.
    index: OnceLock<Result<usize>>,
}

/// What the core has as a task's value.
struct Value<T: 'static> {
    value: T,
    key: &'static LocalKey<T>,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(make: fn() -> T, clone: Option<fn(&T) -> T>) -> LocalKey<T> {
        LocalKey { make, clone, index: OnceLock::new() }
    }

    /// Calls a function with the running task's value, which is made if there is none. The function may
    /// suspend.
    ///
    /// ```
    /// use majjen::{Scheduler, task, task_local};
    /// use std::cell::RefCell;
    ///
    /// task_local!(static SEEN: RefCell<Vec<u32>> = RefCell::default());
    ///
    /// let scheduler = Scheduler::new()?;
    /// let seen = scheduler.spawn(|| {
    ///     for number in 0..3 {
    ///         SEEN.with(|seen| seen.borrow_mut().push(number)).unwrap();
    ///         task::yield_now().unwrap();
    ///     }
    ///     SEEN.with(RefCell::take)
    /// });
    /// scheduler.run()?;
    /// assert_eq!(seen.join()??, [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotInTask`] outside a task, and [`Error::OutOfMemory`], also when there are too many keys.
    pub fn with<R>(&'static self, function: impl FnOnce(&T) -> R) -> Result<R> {
        let made = || make_key(Some(destroy::<T>), self.clone.map(|_| inherit::<T> as _));
        let index = (*self.index.get_or_init(made))?;
        let mut address = scheduler::value(index).cast::<Value<T>>();
        if address.is_null() {
            address = self.begin(index)?;
        }
        // SAFETY: made by `begin` or `inherit`, of this key. It is dropped only when the task ends: it is not
        // there any more to be found by then.
        Ok(function(unsafe { &(*address).value }))
    }

    #[cold]
    fn begin(&'static self, index: usize) -> Result<*mut Value<T>> {
        scheduler::running_task().ok_or(Error::NotInTask)?;
        let value = Value { value: (self.make)(), key: self };
        // What makes a value may have used the key itself, and that value may be in use.
        let there = scheduler::value(index).cast::<Value<T>>();
        if !there.is_null() {
            return Ok(there);
        }
        let address = Box::into_raw(Box::new(value));
        if let Err(error) = scheduler::set_value(index, address.cast()) {
            // SAFETY: from above, and the core has not taken it.
            drop(unsafe { Box::from_raw(address) });
            return Err(error);
        }
        Ok(address)
    }
}

/// # Safety
/// The value of a task, which is not used any more.
unsafe extern "C" fn destroy<T: 'static>(value: *mut c_void) {
    // SAFETY: made by `begin` or `inherit`.
    drop_quietly(unsafe { Box::from_raw(value.cast::<Value<T>>()) });
}

/// # Safety
/// The value of a task that is there.
unsafe extern "C" fn inherit<T: 'static>(value: *mut c_void) -> *mut c_void {
    // SAFETY: made by `begin` or here.
    let parent = unsafe { &*value.cast::<Value<T>>() };
    let Some(clone) = parent.key.clone else { return null_mut() };
    match catch_unwind(AssertUnwindSafe(|| clone(&parent.value))) {
        Ok(value) => Box::into_raw(Box::new(Value { value, key: parent.key })).cast(),
        Err(payload) => {
            forget_payload(payload);
            null_mut()
        }
    }
}

impl<T> std::fmt::Debug for LocalKey<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
