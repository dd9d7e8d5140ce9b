//! The channels between threads of the Rust API.

use std::time::Duration;

use majjen::Error;
use majjen::sync::Select;
use majjen::sync::remote::{Receiver, Sender, channel};
use majjen::task::no_unwind;

use super::Remotes;
use crate::rust_api::RustApi;

fn told<T, E: Into<Error>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, i32> {
    no_unwind(call).map_err(|error| error.into().errno())
}

impl Remotes for RustApi {
    type Channel = &'static (Sender<u64>, Receiver<u64>);

    fn channel(capacity: usize) -> Self::Channel {
        Box::leak(Box::new(channel(capacity)))
    }

    fn send(channel: Self::Channel, number: u64, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => channel.0.send_timeout(number, timeout),
            None => channel.0.send(number),
        })
    }

    fn receive(channel: Self::Channel, timeout: Option<Duration>) -> Result<u64, i32> {
        told(|| match timeout {
            Some(timeout) => channel.1.recv_timeout(timeout),
            None => channel.1.recv(),
        })
    }

    fn try_send(channel: Self::Channel, number: u64) -> Result<(), i32> {
        told(|| channel.0.try_send(number))
    }

    fn try_receive(channel: Self::Channel) -> Result<u64, i32> {
        told(|| channel.1.try_recv())
    }

    fn close(channel: Self::Channel) {
        channel.0.close();
    }

    fn len(channel: Self::Channel) -> usize {
        channel.1.len()
    }

    fn select(
        cases: &[(Self::Channel, Option<u64>)],
        time: Duration,
    ) -> Result<(usize, Option<u64>), i32> {
        let mut select = Select::new();
        for (index, &((sender, receiver), number)) in cases.iter().enumerate() {
            select = match number {
                None => {
                    select.receive(receiver, move |got| got.map(|number| (index, Some(number))))
                }
                Some(number) => select.send(sender, number, move |sent| {
                    sent.map(|()| (index, None)).map_err(Error::from)
                }),
            };
        }
        let count = cases.len();
        told(|| select.after(time, move || Ok((count, None))).wait()?)
    }
}
