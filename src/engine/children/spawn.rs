//! Making a child, with its pipes.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;

use super::child::Child;
use super::orphans;
use crate::engine::scheduler::close_fd;
use crate::engine::sys::{self, Beginning, ErrnoGuard, Error, Result, Source};

/// What one of a child's first three descriptors is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// This process's.
    Inherited,
    /// /dev/null.
    Null,
    /// The end of a pipe, whose other end is here: [`Child::take_pipe`].
    Pipe,
    /// The file of a descriptor of this process.
    File(c_int),
    /// What its output is. For the last one.
    Output,
}

pub struct Spawn<'a> {
    pub arguments: *const *const c_char,
    pub environment: *const *const c_char,
    pub directory: Option<&'a CStr>,
    pub descriptors: [Descriptor; 3],
    pub leads_group: bool,
}

impl Spawn<'_> {
    /// With what this process has.
    pub fn of(arguments: *const *const c_char) -> Self {
        Spawn {
            arguments,
            environment: null(),
            directory: None,
            descriptors: [Descriptor::Inherited; 3],
            leads_group: false,
        }
    }
}

/// The library's ends of a child's pipes.
pub struct Pipes([Cell<Option<c_int>>; 3]);

impl Pipes {
    pub const fn none() -> Pipes {
        Pipes([const { Cell::new(None) }; 3])
    }

    pub fn take(&self, number: usize) -> Result<c_int> {
        let place = self.0.get(number).ok_or(Error::InvalidArgument)?;
        place.take().ok_or(Error::Os(libc::EBADF))
    }

    pub fn close(&self) {
        for place in &self.0 {
            if let Some(fd) = place.take() {
                let _ = close_fd(fd);
            }
        }
    }
}

/// The child's ends, which this process has until it has begun.
struct Ends([Source; 3]);

impl Ends {
    /// Opens what it is to have.
    fn open(descriptors: [Descriptor; 3], pipes: &Pipes) -> Result<Ends> {
        let mut ends = Ends([Source::Same; 3]);
        for (number, descriptor) in descriptors.into_iter().enumerate() {
            ends.0[number] = match descriptor {
                Descriptor::Inherited => Source::Same,
                Descriptor::Output => match ends.0[1] {
                    Source::Null => Source::Null,
                    Source::Same => Source::File(sys::copy_from_three_on(1)?),
                    Source::File(fd) => Source::File(sys::copy_from_three_on(fd)?),
                },
                Descriptor::Null => Source::Null,
                // Under a number that the others do not take.
                Descriptor::File(fd) => Source::File(sys::copy_from_three_on(fd)?),
                Descriptor::Pipe => {
                    let [reader, writer] = sys::pipe()?;
                    let (its, ours) = if number == 0 { (reader, writer) } else { (writer, reader) };
                    pipes.0[number].set(Some(ours));
                    Source::File(its)
                }
            };
        }
        Ok(ends)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for source in self.0 {
            if let Source::File(fd) = source {
                sys::close(fd);
            }
        }
    }
}

/// Makes a child. The result is for [`Child::end`] or [`Child::let_go`]. Blocks until it has begun its program, or
/// has failed to, which is an error.
///
/// # Safety
/// As `sys::spawn`.
pub unsafe fn spawn(spawn: &Spawn<'_>) -> Result<*mut Child> {
    let _errno = ErrnoGuard::save();
    orphans::look();
    let child = Child::allocate()?;
    // SAFETY: as this function's contract says, and the memory is fresh.
    let spawned = unsafe { spawn_into(child, spawn) };
    if spawned.is_err() {
        // SAFETY: there is nothing in it.
        unsafe { sys::free(child.cast()) };
    }
    spawned.map(|()| child)
}

/// # Safety
/// As [`spawn`] and [`Child::new`].
unsafe fn spawn_into(child: *mut Child, spawn: &Spawn<'_>) -> Result<()> {
    let pipes = OnError(Pipes::none());
    let ends = Ends::open(spawn.descriptors, &pipes.0)?;
    let beginning = Beginning {
        arguments: spawn.arguments,
        environment: spawn.environment,
        directory: spawn.directory,
        descriptors: ends.0,
        leads_group: spawn.leads_group,
    };
    // SAFETY: as this function's contract says.
    let pid = unsafe { sys::spawn(&beginning)? };
    // Without a descriptor of it, as where there are too many, it is looked for.
    let fd = sys::open_child(pid).unwrap_or(None);
    // SAFETY: as above.
    unsafe { Child::new(child, pid, fd, spawn.leads_group, pipes.keep()) };
    Ok(())
}

/// Pipes that are closed unless they are kept.
struct OnError(Pipes);

impl OnError {
    fn keep(self) -> Pipes {
        let pipes = Pipes::none();
        for (to, from) in pipes.0.iter().zip(&self.0.0) {
            to.set(from.take());
        }
        pipes
    }
}

impl Drop for OnError {
    fn drop(&mut self) {
        self.0.close();
    }
}
