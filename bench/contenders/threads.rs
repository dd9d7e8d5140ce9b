//! Row 11 for contenders written in Rust; see `threads.h`, which says the same in C.
#![allow(dead_code)] // Each contender uses some of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::contender::*;

pub const POSTERS: u64 = 2;

/// A function that is left for the loop, with its argument.
pub type Posted = (fn(&Shared, u64), u64);

/// What the threads of a test share.
#[derive(Default)]
pub struct Shared {
    pub begun: AtomicU64,
    answered: AtomicBool,
    posted_ns: AtomicU64,
    took_ns: Mutex<Vec<i64>>,
}

pub fn count_post(shared: &Shared, _argument: u64) {
    shared.begun.store(shared.begun.load(Relaxed) + 1, Relaxed);
}

/// Two threads, which leave `count` functions by `post`; it returns whether there was room.
pub fn post_many(
    count: u64,
    post: impl Fn(Posted) -> bool + Clone + Send + 'static,
) -> Vec<thread::JoinHandle<()>> {
    let poster = |_| {
        let post = post.clone();
        thread::spawn(move || {
            for _ in 0..count / POSTERS {
                while !post((count_post, 0)) {
                    thread::yield_now();
                }
            }
        })
    };
    (0..POSTERS).map(poster).collect()
}

pub fn report_posts(shared: &Shared, count: u64, (wall, cpu): (u64, u64)) {
    report("work", shared.begun.load(Relaxed) as f64);
    report("ns", (wall_ns() - wall) as f64 / count as f64);
    report("cpu_ns", (cpu_ns() - cpu) as f64 / count as f64);
}

fn answer_post(shared: &Shared, argument: u64) {
    if argument != 0 {
        let took = wall_ns() - shared.posted_ns.load(Relaxed);
        shared.took_ns.lock().unwrap().push(took as i64);
    }
    shared.answered.store(true, Release);
    shared.begun.store(shared.begun.load(Relaxed) + 1, Relaxed);
}

/// A thread that leaves functions one at a time.
pub fn post_one_by_one(
    shared: &Arc<Shared>,
    count: u64,
    idle: bool,
    post: impl Fn(Posted) -> bool + Send + 'static,
) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        for _ in 0..count {
            thread::sleep(Duration::from_micros(if idle { 500 } else { 20 }));
            shared.answered.store(false, Release);
            let began = wall_ns();
            shared.posted_ns.store(began, Relaxed);
            assert!(post((answer_post, u64::from(idle))));
            let took = wall_ns() - began;
            if !idle {
                shared.took_ns.lock().unwrap().push(took as i64);
            }
            while !shared.answered.load(Acquire) {
                thread::yield_now();
            }
        }
    })
}

pub fn report_post_once(shared: &Shared) {
    report_lateness(std::mem::take(&mut shared.took_ns.lock().unwrap()));
}

/// A thread that sends 1 to `count`.
pub fn send_elements(count: u64, send: impl Fn(u64) + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || (1..=count).for_each(send))
}

pub fn report_elements(count: u64, sum: u64, (wall, cpu): (u64, u64)) {
    assert_eq!(sum, count * (count + 1) / 2);
    report("work", count as f64);
    report("ns", (wall_ns() - wall) as f64 / count as f64);
    report("cpu_ns", (cpu_ns() - cpu) as f64 / count as f64);
}
