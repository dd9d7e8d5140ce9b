//! What is dropped without a cancellation point: the standard library's files and sockets call close(2), which is one.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::cancellation::Uncancelable;

pub struct DropsUncanceled<T>(ManuallyDrop<T>);

impl<T> DropsUncanceled<T> {
    pub fn new(value: T) -> DropsUncanceled<T> {
        DropsUncanceled(ManuallyDrop::new(value))
    }

    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: it is not used again, nor dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Deref for DropsUncanceled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for DropsUncanceled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for DropsUncanceled<T> {
    fn drop(&mut self) {
        let _uncancelable = Uncancelable::begin();
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
