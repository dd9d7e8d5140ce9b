//! The groups of the Rust API.

use std::rc::Rc;
use std::time::Duration;

use majjen::Error;
use majjen::task::{JoinSet, no_unwind};

use super::Groups;
use crate::rust_api::RustApi;

impl Groups for RustApi {
    type Group = Rc<JoinSet<()>>;

    fn group(&self, limit: usize) -> Rc<JoinSet<()>> {
        Rc::new(JoinSet::with_limit(limit))
    }

    fn go(
        group: &Rc<JoinSet<()>>,
        body: impl FnOnce() + 'static,
        timeout: Option<Duration>,
    ) -> Result<(), i32> {
        let timeout = timeout.unwrap_or(Duration::MAX);
        no_unwind(|| group.spawn_timeout(body, timeout)).map(drop).map_err(Error::errno)
    }

    fn wait(group: &Rc<JoinSet<()>>, timeout: Option<Duration>) -> Result<(), i32> {
        no_unwind(|| match timeout {
            Some(timeout) => group.wait_timeout(timeout),
            None => group.wait(),
        })
        .map_err(Error::errno)
    }

    fn cancel_all(group: &Rc<JoinSet<()>>) {
        group.cancel_all();
    }

    fn end(group: &Rc<JoinSet<()>>, grace: Duration) -> Result<(), i32> {
        no_unwind(|| group.end(grace)).map_err(Error::errno)
    }
}
