//! What other processes and duplicates do to a program: children, and files that stay open when their
//! numbers are used again.

use super::actions::act;
use super::calls::{Call, End, InChild, Which};
use super::{World, uninterrupted, with};

/// A program keeps no more duplicates than that.
const MOST_KEPT: usize = 8;

/// A child that takes longer hangs.
const LIMIT_S: u32 = 20;

/// Makes a child process, and waits for its end. In the child, the program goes on for some
/// instructions, then lets all tasks end and destroys everything, compared with its copy of the
/// model. In the parent nothing has happened.
pub fn fork(first: InChild, instructions: u8) {
    // In a child, tasks that wait at a channel between threads are not told.
    let waits = |world: &mut World| (0..2).any(|home| world.model.waits_at_remote(home));
    if with(|world| world.is_child || waits(world)) {
        return;
    }
    // SAFETY: the program has one thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child > 0 {
        return assert_eq!(end_of(child), 0, "the child has failed");
    }
    // SAFETY: no preconditions.
    unsafe { libc::alarm(LIMIT_S) };
    with(|world| {
        world.is_child = true;
        let last = world.taken + usize::from(instructions);
        world.program.truncate(last);
    });
    match first {
        InChild::Nothing => {}
        InChild::Close => {
            for pipe in 0..3 {
                act(Call::Close(End::Reading(pipe)));
                act(Call::Close(End::Writing(pipe)));
            }
        }
        InChild::Stop => act(Call::Stop(Which::First)),
        InChild::Leave => leave(),
    }
}

fn end_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    let place = &raw mut status;
    // SAFETY: the child, which nobody else waits for.
    let waited = uninterrupted(|| unsafe { libc::waitpid(child, place, 0) });
    assert_eq!(waited, child, "waitpid");
    status
}

/// Ends a child.
pub fn leave() -> ! {
    // SAFETY: ends the process, and runs nothing.
    unsafe { libc::_exit(0) }
}

/// Gives a pipe's numbers to another pipe. Who waits for the first is not told.
pub fn renumber(pipe: usize, writes: bool) {
    with(|world| {
        let ends = world.pipes[pipe];
        let is_full = world.kept.len() == MOST_KEPT;
        if ends.contains(&-1) || is_full || world.context().depth > 0 {
            return;
        }
        let mut others = [0; 2];
        // SAFETY: room for two, and descriptors of this program.
        unsafe {
            if writes {
                libc::write(ends[1], c"x".as_ptr().cast(), 1);
            }
            world.kept.push(libc::fcntl(ends[0], libc::F_DUPFD_CLOEXEC, 0));
            let made = libc::pipe2(others.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC);
            assert_eq!(made, 0);
            for (other, fd) in others.into_iter().zip(ends) {
                assert_eq!(libc::dup3(other, fd, libc::O_CLOEXEC), fd);
                libc::close(other);
            }
        }
        for fd in ends {
            world.model.stop_watching(fd);
        }
    });
}
