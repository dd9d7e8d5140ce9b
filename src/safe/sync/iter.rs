//! Receiving one element after the other.

use super::Receiver;

impl<T> Receiver<T> {
    /// Receives until the channel is closed and empty, or receiving fails.
    ///
    /// ```
    /// let (sender, receiver) = majjen::sync::channel(2);
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// sender.close();
    /// assert_eq!(receiver.iter().sum::<i32>(), 3);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }
}

/// The iterators of a module's `Receiver`, which `recv` ends.
macro_rules! receive_one_after_the_other {
    ($(#[$of_iter:meta])* Iter, $(#[$of_into_iter:meta])* IntoIter) => {
        $(#[$of_iter])*
        #[derive(Debug)]
        pub struct Iter<'r, T> {
            receiver: &'r Receiver<T>,
        }

        impl<T> Iterator for Iter<'_, T> {
            type Item = T;

            fn next(&mut self) -> Option<T> {
                self.receiver.recv().ok()
            }
        }

        impl<'r, T> IntoIterator for &'r Receiver<T> {
            type Item = T;
            type IntoIter = Iter<'r, T>;

            fn into_iter(self) -> Iter<'r, T> {
                self.iter()
            }
        }

        $(#[$of_into_iter])*
        #[derive(Debug)]
        pub struct IntoIter<T> {
            receiver: Receiver<T>,
        }

        impl<T> Iterator for IntoIter<T> {
            type Item = T;

            fn next(&mut self) -> Option<T> {
                self.receiver.recv().ok()
            }
        }

        impl<T> IntoIterator for Receiver<T> {
            type Item = T;
            type IntoIter = IntoIter<T>;

            fn into_iter(self) -> IntoIter<T> {
                IntoIter { receiver: self }
            }
        }
    };
}
pub(super) use receive_one_after_the_other;

receive_one_after_the_other! {
    /// What a channel has and gets, until it is closed and empty, or receiving fails: [`Receiver::iter`]
    /// returns it.
    ///
    /// ```
    /// let (sender, receiver) = majjen::sync::channel(2);
    /// sender.send("one")?;
    /// drop(sender);
    /// for word in &receiver {
    ///     assert_eq!(word, "one");
    /// }
    /// # Ok::<(), majjen::Error>(())
    /// ```
    Iter,
    /// [`Iter`], which has the receiver: what a loop over that makes.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::channel};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let (sender, receiver) = channel(1);
    /// scheduler.spawn(move || (1..=10).try_for_each(|number| sender.send(number)));
    /// let sum = scheduler.spawn(move || {
    ///     let mut sum = 0;
    ///     for number in receiver {
    ///         sum += number;
    ///     }
    ///     sum
    /// });
    /// scheduler.run()?;
    /// assert_eq!(sum.join()?, 55);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    IntoIter
}
