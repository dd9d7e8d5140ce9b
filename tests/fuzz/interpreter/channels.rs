//! Channel calls that take elements: each is made, and its result and the received element are
//! compared with the model.

use std::ffi::c_int;
use std::ptr::null_mut;

use libc::{EAGAIN, EINVAL, EPERM};

use super::calls::Span;
use super::majjen_h::*;
use super::objects::{Aim, CHANNELS, Case, ELEMENT_BYTES, Given};
use super::sync::{Use, at, made, visit, wait_for_cases};
use super::sync_calls::{Cases, Element, Flaw, It};
use super::{World, with};

/// What memory contains into which nothing was received.
const EMPTY: u64 = 0xA5A5_A5A5_A5A5_A5A5;

/// The bits of an element that a channel carries.
fn bits(channel: It) -> u64 {
    match channel.map_or(0, |it| ELEMENT_BYTES[it - CHANNELS.start]) {
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
    let case = Case { object: it, sends, element: new_element(it) };
    let mut memory = if sends { case.element } else { EMPTY };
    let place = if element == Element::Here { (&raw mut memory).cast() } else { null_mut() };
    let is_right = element == Element::Here || bits(it) == 0;
    let given = if let Some(span) = span {
        wait_for_cases(&[(it, is_right)], Aim::Transfer, vec![case], false, span, || {
            if sends {
                mj_chan_send(at(it), place, span)
            } else {
                mj_chan_recv(at(it), place, span)
            }
        })
    } else {
        let mut given = None;
        let make = || {
            if sends { mj_chan_try_send(at(it), place) } else { mj_chan_try_recv(at(it), place) }
        };
        visit(it.filter(|_| is_right), make, |world, _| {
            given = world.model.can_be_done(case).then(|| world.model.transfer(case, 0));
            given.map_or(-EAGAIN, |given| given.status)
        });
        given
    };
    if !sends {
        check_element(it, memory, given.and_then(|given| given.element));
    }
}

/// A select; without a timeout it does not wait.
pub fn select(Cases { count, sends, channels, flaw }: Cases, span: Option<Span>) {
    let mut cases = [Case { object: None, sends: false, element: 0 }; 3];
    let mut memory = [EMPTY; 3];
    let mut real = [mj_select_case { result: 1, fd: -1, ..Default::default() }; 3];
    let mut uses: [Use; 3] = [(None, true); 3];
    for index in 0..count {
        let flaw = if index + 1 == count { flaw } else { Flaw::None };
        let channel = CHANNELS.start + usize::from(channels >> (2 * index)) % CHANNELS.len();
        let object = made(Some(channel)).filter(|_| flaw != Flaw::NoChannel);
        let sends = sends >> index & 1 == 1;
        cases[index] = Case { object, sends, element: new_element(object) };
        if sends {
            memory[index] = cases[index].element;
        }
        let has_element = flaw != Flaw::NoElement;
        real[index].chan = at(object);
        real[index].op = if flaw == Flaw::NoOperation { 7 } else { u32::from(!sends) };
        if has_element {
            real[index].element = (&raw mut memory[index]).cast();
        }
        let has_what_it_needs = object.is_none() || has_element || bits(object) == 0;
        uses[index] = (object, flaw != Flaw::NoOperation && has_what_it_needs);
    }
    let (cases, uses, all) = (&cases[..count], &uses[..count], real.as_mut_ptr());
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
        assert!(given.is_none_or(|given| given.status == real[index].result));
        if !case.sends {
            check_element(case.object, memory[index], given.and_then(|given| given.element));
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
