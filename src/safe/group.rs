//! Groups of the core's, whose members are tasks of Rust.

use std::cell::Cell;
use std::rc::Rc;

use super::sync::Owned;
use crate::engine::sync::{Group, Member, Object};
use crate::engine::task::Task;

/// A group. Its members keep it alive.
pub type SharedGroup = Rc<Owned<Group>>;

/// A task's place in a group, given back when this is dropped.
pub struct Membership {
    group: SharedGroup,
    member: Member,
    entered: Cell<bool>,
}

impl Membership {
    /// The place has been taken.
    pub fn new(group: SharedGroup) -> Membership {
        Membership { group, member: Member::default(), entered: Cell::new(false) }
    }

    /// The task has the place, until this is dropped. This stays where it is.
    pub fn enter(&self, task: &Task) {
        self.group.enter(&self.member, task);
        self.entered.set(true);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.entered.get() {
            self.group.leave(&self.member);
        } else if let Ok(Some(scheduler)) = self.group.home().for_drop() {
            self.group.give_place_back(scheduler);
        }
    }
}
