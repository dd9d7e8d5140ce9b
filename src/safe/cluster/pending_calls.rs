//! The calls of other cores that the tasks of a core wait for. A core that is over before the others keeps what its
//! tasks and its mailbox have until no core runs any more. So it answers nothing, and who waits for it has to be told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Default)]
pub struct PendingCalls {
    next: Cell<u64>,
    calls: RefCell<BTreeMap<u64, OfCore>>,
}

/// The index of the other core, and what tells the task that it will not answer.
type OfCore = (usize, Box<dyn Fn()>);

impl PendingCalls {
    /// It is one of them until what is returned is dropped.
    pub fn add(self: &Rc<Self>, core: usize, give_up: Box<dyn Fn()>) -> PendingCall {
        let number = self.next.replace(self.next.get() + 1);
        self.calls.borrow_mut().insert(number, (core, give_up));
        PendingCall { of: self.clone(), number }
    }

    /// Tells those who wait for cores that are over.
    pub fn give_up(&self, is_over: impl Fn(usize) -> bool) {
        let calls = self.calls.borrow();
        calls.values().filter(|(core, _)| is_over(*core)).for_each(|(_, give_up)| give_up());
    }
}

/// A task waits for it.
pub struct PendingCall {
    of: Rc<PendingCalls>,
    number: u64,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        let call = self.of.calls.borrow_mut().remove(&self.number);
        drop(call); // When nothing is borrowed any more.
    }
}
