//! A call on one side of a stream.

use super::object::Stream;
use super::side::Side;
use crate::engine::fd::Call;
use crate::engine::scheduler::{Limit, spend_in_task};
use crate::engine::sys::{Error, Result};

/// A call that uses a side, until it is dropped.
pub struct Session<'s> {
    stream: &'s Stream,
    pub side: &'s Side,
    limit: Limit,
    /// Once it has needed the descriptor.
    call: Option<Call>,
}

impl Stream {
    /// Begins a call; [`Error::Busy`] while another one uses the side. It spends of the budget when it
    /// needs the descriptor, or is [`served`](Session::served) without.
    pub fn session<'s>(&'s self, side: &'s Side, limit: Limit) -> Result<Session<'s>> {
        self.check_caller()?;
        if side.in_use.replace(true) {
            return Err(Error::Busy);
        }
        Ok(Session { stream: self, side, limit, call: None })
    }
}

impl Session<'_> {
    /// The call on the descriptor, which has spent for another part. It may suspend.
    pub fn call(&mut self) -> Result<&mut Call> {
        match &mut self.call {
            Some(call) => call.go_on()?,
            None => {
                let fd = self.stream.fd()?;
                self.call.insert(Call::new(fd, self.side.events, self.limit)?).begin()?;
            }
        }
        self.call.as_mut().ok_or(Error::NotInTask) // It is there.
    }

    /// The buffer alone has what the call wants. Spends for it, if the descriptor was not needed: then the
    /// task may yield, while the side stays in use. Nothing may be taken from the buffer before.
    pub fn served(&self) -> Result<()> {
        if self.call.is_none() { spend_in_task() } else { Ok(()) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.side.in_use.set(false);
    }
}
