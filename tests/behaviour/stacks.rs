//! Where stacks are, and the guards below them.

use std::cell::OnceCell;
use std::rc::Rc;

use super::Api;

behaviours!(
    a_task_lives_within_the_bounds_of_its_stack,
    a_guard_has_the_size_that_was_set,
    a_guard_of_no_use_is_refused,
);

/// Runs something in a task that knows itself.
fn in_a_task<D: Api>(api: &D, body: impl FnOnce(&D::Task) + 'static) -> D::Task {
    let own = Rc::new(OnceCell::new());
    let itself = own.clone();
    let task = api.spawn(move || body(itself.get().unwrap()));
    assert!(own.set(task.clone()).is_ok());
    task
}

fn a_task_lives_within_the_bounds_of_its_stack<D: Api>() {
    let api = D::new();
    let task = in_a_task::<D>(&api, |task| {
        let variable = 1;
        let bounds = D::stack_bounds(task).unwrap();
        assert_eq!(bounds.len(), 256 * 1024);
        assert!(bounds.contains(&(&raw const variable as usize)));
        D::yield_now().unwrap();
        assert_eq!(D::stack_bounds(task), Some(bounds));
    });
    assert_eq!(D::stack_bounds(&task), None);
    api.run();
    assert_eq!(D::stack_bounds(&task), None);
}

fn a_guard_has_the_size_that_was_set<D: Api>() {
    /// Whether a byte can be read: as another process would read it, without a fault.
    fn is_readable(address: usize) -> bool {
        let mut byte = 0u8;
        let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: 1 };
        let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: `here` is good to write. `there` may be any address.
        unsafe { libc::process_vm_readv(libc::getpid(), &here, 1, &there, 1, 0) == 1 }
    }
    for bytes in [1, 4096, 1 << 20, 16 << 20] {
        let api = D::with_guards(bytes).unwrap();
        in_a_task::<D>(&api, move |task| {
            let lowest = D::stack_bounds(task).unwrap().start;
            assert!(is_readable(lowest));
            for below in (1..=bytes).step_by(2048).chain([bytes]) {
                assert!(!is_readable(lowest - below), "{below} below, of {bytes}");
            }
        });
        api.run();
    }
}

fn a_guard_of_no_use_is_refused<D: Api>() {
    for bytes in [0, (16 << 20) + 1, usize::MAX] {
        assert_eq!(D::with_guards(bytes).err(), Some(libc::EINVAL));
    }
}
