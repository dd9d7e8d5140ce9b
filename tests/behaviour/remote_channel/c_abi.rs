//! The channels between threads of the C ABI.

use std::time::Duration;

use super::Remotes;
use crate::c_abi::{CAbi, ns, result};
use crate::majjen_h::*;

#[derive(Clone, Copy)]
pub struct Xchan(*mut mj_xchan);

// SAFETY: all threads may use it.
unsafe impl Send for Xchan {}

impl Remotes for CAbi {
    type Channel = Xchan;

    fn channel(capacity: usize) -> Xchan {
        Xchan(mj_xchan_create(size_of::<u64>(), capacity))
    }

    fn send(channel: Xchan, number: u64, timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_xchan_send(channel.0, (&raw const number).cast(), ns(timeout)))
    }

    fn receive(channel: Xchan, timeout: Option<Duration>) -> Result<u64, i32> {
        let mut number = 0_u64;
        result(mj_xchan_recv(channel.0, (&raw mut number).cast(), ns(timeout))).map(|()| number)
    }

    fn try_send(channel: Xchan, number: u64) -> Result<(), i32> {
        result(mj_xchan_try_send(channel.0, (&raw const number).cast()))
    }

    fn try_receive(channel: Xchan) -> Result<u64, i32> {
        let mut number = 0_u64;
        result(mj_xchan_try_recv(channel.0, (&raw mut number).cast())).map(|()| number)
    }

    fn close(channel: Xchan) {
        assert_eq!(mj_xchan_close(channel.0), 0);
    }

    fn len(channel: Xchan) -> usize {
        mj_xchan_length(channel.0)
    }

    fn select(cases: &[(Xchan, Option<u64>)], time: Duration) -> Result<(usize, Option<u64>), i32> {
        let mut numbers: Vec<u64> =
            cases.iter().map(|(_, number)| number.unwrap_or_default()).collect();
        let elements = numbers.as_mut_ptr();
        let mut list: Vec<mj_select_case> = cases
            .iter()
            .enumerate()
            .map(|(index, (channel, number))| mj_select_case {
                op: if number.is_some() { MJ_SELECT_XSEND } else { MJ_SELECT_XRECV },
                xchan: channel.0,
                element: elements.wrapping_add(index).cast(),
                ..mj_select_case::default()
            })
            .collect();
        list.push(mj_select_case {
            op: MJ_SELECT_DEADLINE,
            deadline_ns: mj_scheduler_now_ns(mj_scheduler_current()) + ns(Some(time)),
            ..mj_select_case::default()
        });
        let index = mj_select(list.as_mut_ptr(), list.len(), u64::MAX);
        result(index)?;
        let index = index as usize;
        result(list[index].result)?;
        let is_receive = cases.get(index).is_some_and(|(_, number)| number.is_none());
        Ok((index, is_receive.then(|| numbers[index])))
    }
}
