//! Making a child, with its pipes.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{null, null_mut};
use std::slice;

use super::child::{Child, wait_for_those_let_go};
use super::pipes::Pipes;
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
    /// Its descriptors from 3 on.
    pub further: &'a [c_int],
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
            further: &[],
            leads_group: false,
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
                    Source::Same => Source::File(sys::copy_above_stdio(1)?),
                    Source::File(fd) => Source::File(sys::copy_above_stdio(fd)?),
                },
                Descriptor::Null => Source::Null,
                // Under a number that the others do not take.
                Descriptor::File(fd) => Source::File(sys::copy_above_stdio(fd)?),
                Descriptor::Pipe => {
                    let [reader, writer] = sys::pipe()?;
                    let (its, ours) = if number == 0 { (reader, writer) } else { (writer, reader) };
                    pipes.put(number, ours);
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

/// Copies of those from 3 on, under numbers that none of them has in the child.
struct Further {
    copies: *mut c_int,
    count: usize,
}

impl Further {
    fn open(fds: &[c_int]) -> Result<Further> {
        let mut further = Further { copies: null_mut(), count: 0 };
        if fds.is_empty() {
            return Ok(further);
        }
        further.copies = sys::allocate(fds.len());
        if further.copies.is_null() {
            return Err(Error::OutOfMemory);
        }
        let lowest = c_int::try_from(fds.len()).map_err(|_| Error::InvalidArgument)? + 3;
        for &fd in fds {
            let copy = sys::copy_from(fd, lowest)?;
            // SAFETY: there is room for as many.
            unsafe { further.copies.add(further.count).write(copy) };
            further.count += 1;
        }
        Ok(further)
    }

    fn as_slice(&self) -> &[c_int] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: so many have been written.
        unsafe { slice::from_raw_parts(self.copies, self.count) }
    }
}

impl Drop for Further {
    fn drop(&mut self) {
        self.as_slice().iter().for_each(|&copy| sys::close(copy));
        // SAFETY: NULL, or from `allocate`.
        unsafe { sys::free(self.copies.cast()) };
    }
}

/// Makes a child. The result is for [`Child::end`] or [`Child::let_go`]. Blocks until it has begun its program, or
/// has failed to, which is an error.
///
/// # Safety
/// As `sys::spawn`.
pub unsafe fn spawn(spawn: &Spawn<'_>) -> Result<*mut Child> {
    let _errno = ErrnoGuard::save();
    wait_for_those_let_go();
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
/// As [`spawn`] and [`Child::place`].
unsafe fn spawn_into(child: *mut Child, spawn: &Spawn<'_>) -> Result<()> {
    let pipes = Pipes::none();
    let ends = Ends::open(spawn.descriptors, &pipes)?;
    let further = Further::open(spawn.further)?;
    let beginning = Beginning {
        arguments: spawn.arguments,
        environment: spawn.environment,
        directory: spawn.directory,
        descriptors: ends.0,
        further: further.as_slice(),
        leads_group: spawn.leads_group,
    };
    // SAFETY: as this function's contract says.
    let pid = unsafe { sys::spawn(&beginning)? };
    let fd = sys::open_child(pid);
    // SAFETY: as above.
    unsafe { Child::place(child, pid, fd, spawn.leads_group, pipes) };
    Ok(())
}
