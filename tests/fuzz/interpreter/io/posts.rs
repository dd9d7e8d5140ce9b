//! Posts: tasks that begin by mj_post() or mj_post_with_node(), from here, or from another thread, which has
//! ended before the program goes on. Those of one thread begin in order, each once, and all of them before the
//! scheduler is idle; those that have not begun when it is destroyed are abandoned.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::thread;

use super::super::majjen_h::*;
use super::program::From;
use super::{MOST_TASKS, World, take_instructions, with};

pub struct Post {
    task: usize,
    /// Which thread has posted it: 0 is the scheduler's own.
    thread: usize,
    /// The memory of mj_post_with_node().
    node: Option<Box<mj_post_node>>,
    /// It has a function for when it is abandoned.
    can_be_abandoned: bool,
    has_begun: bool,
    is_abandoned: bool,
}

/// Where a call of mj_post() is made, and with what: addresses.
type Order = (usize, usize, Option<mj_abandon_fn>);

pub fn post(from: From, has_node: bool, count: usize) {
    let (at, orders) = with(|world| {
        let thread = match from {
            From::Here => 0,
            From::Elsewhere => 1 + world.posts.len(),
        };
        let orders: Vec<Order> =
            (0..count).filter_map(|_| world.new_post(thread, has_node)).collect();
        (world.at, orders)
    });
    let remote = mj_scheduler_remote(at);
    assert!(!remote.is_null());
    let address = remote as usize;
    let give = move || {
        for (post, node, abandon) in orders {
            let (remote, node) = (address as *mut mj_remote, node as *mut mj_post_node);
            let argument = post as *mut c_void;
            let result = match node.is_null() {
                true => mj_post(remote, Some(begin), argument, abandon),
                false => mj_post_with_node(remote, node, Some(begin), argument, abandon),
            };
            assert_eq!(result, 0, "posting {post}");
        }
    };
    call(from, give);
    mj_remote_release(remote);
}

/// Calls a function here, or on a thread that has ended then.
fn call<R: Send + 'static>(from: From, function: impl FnOnce() -> R + Send + 'static) -> R {
    match from {
        From::Here => function(),
        From::Elsewhere => thread::spawn(function).join().expect("it ends"),
    }
}

/// mj_remote_cancel() or mj_remote_wake(). From another thread they take effect before the scheduler is idle.
pub fn call_for(
    at: *mut mj_scheduler,
    from: From,
    make: impl FnOnce(*mut mj_remote) -> c_int + Send + 'static,
) -> c_int {
    let remote = mj_scheduler_remote(at);
    assert!(!remote.is_null());
    let address = remote as usize;
    let result = call(from, move || make(address as *mut mj_remote));
    mj_remote_release(remote);
    result
}

impl World {
    fn new_post(&mut self, thread: usize, has_node: bool) -> Option<Order> {
        if self.tasks.len() >= MOST_TASKS {
            return None;
        }
        let (task, post) = (self.new_task(None, u64::MAX), self.posts.len());
        let mut node = has_node.then(Box::<mj_post_node>::default);
        let address = node.as_mut().map_or(0, |node| &raw mut **node as usize);
        let can_be_abandoned = post % 4 != 3;
        self.posts.push(Post {
            task,
            thread,
            node,
            can_be_abandoned,
            has_begun: false,
            is_abandoned: false,
        });
        Some((post, address, can_be_abandoned.then_some(abandon as mj_abandon_fn)))
    }

    /// The scheduler is idle, so all have begun.
    pub fn check_posts(&self) {
        let left = self.posts.iter().position(|post| !post.has_begun);
        assert!(left.is_none(), "post {left:?} has not begun");
    }
}

unsafe extern "C" fn begin(post: *mut c_void) {
    let post = post as usize;
    let task = with(|world| {
        let thread = world.posts[post].thread;
        let mut earlier = world.posts[..post].iter().filter(|it| it.thread == thread);
        assert!(earlier.all(|it| it.has_begun), "post {post} has begun before an earlier one");
        let it = &mut world.posts[post];
        assert!(!it.has_begun && !it.is_abandoned, "post {post} has begun already");
        it.has_begun = true;
        it.node = None; // It is the poster's again.
        it.task
    });
    take_instructions(task);
    with(|world| world.tasks[task].alive = false);
}

unsafe extern "C" fn abandon(post: *mut c_void) {
    with(|world| {
        let it = &mut world.posts[post as usize];
        assert!(!it.has_begun && !it.is_abandoned && it.can_be_abandoned);
        (it.is_abandoned, it.node) = (true, None);
    });
}

/// Destroys the scheduler, which abandons what has not begun.
pub fn destroy(at: *mut mj_scheduler) {
    let remote = mj_scheduler_remote(at);
    mj_scheduler_destroy(at);
    assert_eq!(mj_post(remote, Some(begin), null_mut(), Some(abandon)), -libc::EPIPE);
    mj_remote_release(remote);
    with(|world| {
        for (number, post) in world.posts.iter().enumerate() {
            let is_right = post.has_begun || post.is_abandoned == post.can_be_abandoned;
            assert!(is_right, "post {number} was neither begun nor abandoned");
        }
    });
}
