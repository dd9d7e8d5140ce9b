//! What the tasks of a core wait for on other cores. A core that is over before the others keeps what its tasks and its
//! mailbox have until no core runs any more. So it answers nothing, and who waits for it has to be told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::safe::sync::remote::Receiver;

/// Where an answer of another core arrives.
pub trait Answer {
    fn will_not_come(&self);
}

impl<T> Answer for Receiver<T> {
    fn will_not_come(&self) {
        self.close();
    }
}

/// With the index of the other core.
type OfCore = (usize, Rc<dyn Answer>);

/// Those that a core's tasks wait for.
#[derive(Default)]
pub struct Answers {
    next: Cell<u64>,
    awaited: RefCell<BTreeMap<u64, OfCore>>,
}

impl Answers {
    /// It is one of them until what is returned is dropped.
    pub fn add(self: &Rc<Self>, core: usize, answer: Rc<dyn Answer>) -> Awaited {
        let number = self.next.replace(self.next.get() + 1);
        self.awaited.borrow_mut().insert(number, (core, answer));
        Awaited { of: self.clone(), number }
    }

    /// Tells those who wait for cores that are over.
    pub fn give_up(&self, is_over: impl Fn(usize) -> bool) {
        let awaited = self.awaited.borrow();
        let lost = awaited.values().filter(|(core, _)| is_over(*core));
        lost.for_each(|(_, answer)| answer.will_not_come());
    }
}

/// A task waits for an answer.
pub struct Awaited {
    of: Rc<Answers>,
    number: u64,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.of.awaited.borrow_mut().remove(&self.number);
    }
}
