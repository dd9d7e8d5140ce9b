//! Channel calls that take elements, of both kinds of channels: each is made, and its result and the received
//! element are compared with the model.

use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};

use libc::{EAGAIN, EINVAL, EPERM, ETIMEDOUT};

use super::calls::Span;
use super::majjen_h::*;
use super::objects::{Aim, CHANNELS, Case, Given, REMOTE, layout};
use super::remote_channels::{EMPTY, UNSET};
use super::sync::{Use, at, made, visit, wait_for_cases};
use super::sync_calls::{Cases, Element, Flaw, It};
use super::{World, with};

/// The bits of an element that a channel carries.
fn bits(channel: It) -> u64 {
    match channel.map_or(0, |it| layout(it).1) {
        8 => u64::MAX,
        bytes => (1 << (8 * bytes)) - 1,
    }
}

/// An element that was not sent before.
fn new_element(channel: It) -> u64 {
    with(|world| {
        world.model.elements += 1;
        world.model.elements & bits(channel)
    })
}

/// Compares a receiver's memory with the element that it was handed.
fn check_element(channel: It, memory: u64, received: Option<u64>) {
    let expected = received.map_or(EMPTY, |element| EMPTY & !bits(channel) | element);
    assert_eq!(memory, expected, "what was received");
}

/// Sends or receives one element; without a timeout it does not wait.
pub fn transfer(it: It, sends: bool, element: Element, span: Option<Span>) {
    let element_sent = new_element(it);
    let mut memory = if sends { element_sent } else { EMPTY };
    let memory = &raw mut memory;
    let case = Case { object: it, sends, element: element_sent, memory, result: null() };
    let place = if element == Element::Here { memory.cast() } else { null_mut() };
    let is_right = element == Element::Here || bits(it) == 0;
    // Where no scheduler runs, the thread would wait.
    let blocks = case.is_remote() && with(|world| world.model.running.is_none());
    let given = match span {
        Some(span) if !blocks => {
            let make = || call(it, sends, place, Some(span));
            wait_for_cases(&[(it, is_right)], Aim::Transfer, vec![case], false, span, make)
        }
        _ => {
            let (span, none) = if span.is_some() { (Some(0), -ETIMEDOUT) } else { (None, -EAGAIN) };
            let mut given = None;
            visit(
                it.filter(|_| is_right),
                || call(it, sends, place, span),
                |world, _| {
                    given = world.model.can_be_done(case).then(|| world.model.transfer(case, 0));
                    given.map_or(none, |given| given.status)
                },
            );
            given
        }
    };
    if !sends {
        // SAFETY: a number of this frame.
        let memory = unsafe { memory.read() };
        check_element(it, memory, given.and_then(|given| given.element));
    }
}

/// Sends or receives at a channel of its kind.
fn call(it: It, sends: bool, place: *mut c_void, span: Option<Span>) -> c_int {
    match (it.is_some_and(|it| REMOTE.contains(&it)), sends, span) {
        (false, true, Some(span)) => mj_chan_send(at(it), place, span),
        (false, false, Some(span)) => mj_chan_recv(at(it), place, span),
        (false, true, None) => mj_chan_try_send(at(it), place),
        (false, false, None) => mj_chan_try_recv(at(it), place),
        (true, true, Some(span)) => mj_xchan_send(at(it), place, span),
        (true, false, Some(span)) => mj_xchan_recv(at(it), place, span),
        (true, true, None) => mj_xchan_try_send(at(it), place),
        (true, false, None) => mj_xchan_try_recv(at(it), place),
    }
}

/// A select; without a timeout it does not wait.
pub fn select(Cases { count, sends, channels, remote, flaw }: Cases, span: Option<Span>) {
    let nothing = Case { object: None, sends: false, element: 0, memory: null(), result: null() };
    let mut cases = [nothing; 3];
    let mut memory = [EMPTY; 3];
    let memory = memory.as_mut_ptr();
    let mut real = [mj_select_case { result: UNSET, fd: -1, ..Default::default() }; 3];
    let all = real.as_mut_ptr();
    let mut uses: [Use; 3] = [(None, true); 3];
    for index in 0..count {
        let flaw = if index + 1 == count { flaw } else { Flaw::None };
        let is_remote = match remote {
            0 => false,
            1 => index == 0,
            2 => index + 1 == count,
            _ => true,
        };
        let kind = if is_remote { REMOTE } else { CHANNELS };
        let channel = kind.start + usize::from(channels >> (2 * index) & 3) % kind.len();
        let object = made(Some(channel)).filter(|_| flaw != Flaw::NoChannel);
        let sends = sends >> index & 1 == 1;
        let element = new_element(object);
        // SAFETY: elements of the arrays above.
        let (place, real) = unsafe { (memory.add(index), &mut *all.add(index)) };
        cases[index] =
            Case { object, sends, element, memory: place, result: &raw const real.result };
        if sends {
            // SAFETY: as above.
            unsafe { place.write(element) };
        }
        let has_element = flaw != Flaw::NoElement;
        if is_remote {
            real.xchan = at(object);
        } else {
            real.chan = at(object);
        }
        real.op = match (is_remote, sends) {
            _ if flaw == Flaw::NoOperation => 7,
            (false, true) => MJ_SELECT_SEND,
            (false, false) => MJ_SELECT_RECV,
            (true, true) => MJ_SELECT_XSEND,
            (true, false) => MJ_SELECT_XRECV,
        };
        if has_element {
            real.element = place.cast();
        }
        let has_what_it_needs = object.is_none() || has_element || bits(object) == 0;
        uses[index] = (object, flaw != Flaw::NoOperation && has_what_it_needs);
    }
    let (cases, uses) = (&cases[..count], &uses[..count]);
    let given = match span {
        Some(span) => wait_for_cases(uses, Aim::Transfer, cases.to_vec(), true, span, || {
            mj_select(all, count, span)
        }),
        None => {
            let result = mj_try_select(all, count);
            with(|world| try_select(world, uses, cases, result))
        }
    };
    let chosen = given.and_then(|given| Some((given.case?, given)));
    for (index, case) in cases.iter().enumerate() {
        let given = chosen.filter(|(case, _)| *case == index).map(|(_, given)| given);
        // SAFETY: elements of the arrays above.
        let (memory, result) = unsafe { (*memory.add(index), (*all.add(index)).result) };
        assert!(given.is_none_or(|given| given.status == result));
        if !case.sends {
            check_element(case.object, memory, given.and_then(|given| given.element));
        }
    }
}

fn try_select(world: &mut World, uses: &[Use], cases: &[Case], result: c_int) -> Option<Given> {
    let refused = uses.iter().find_map(|(it, right)| match it {
        _ if !right => Some(-EINVAL),
        Some(it) if !world.model.may_visit(*it) => Some(-EPERM),
        _ => None,
    });
    let none = || (!cases.iter().any(|case| world.model.can_be_done(*case))).then_some(-EAGAIN);
    if let Some(expected) = refused.or_else(none) {
        assert_eq!(result, expected);
        return None;
    }
    assert!((0..cases.len() as c_int).contains(&result), "it returned {result}");
    Some(world.model.transfer(cases[result as usize], result as usize))
}
