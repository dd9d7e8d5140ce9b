//! The fuzzing finds bugs: with each of these mutants of the library, the random programs, which
//! pass otherwise, must fail. Part of `make torture`, since each mutant takes a build.

#[path = "../support/mutants.rs"]
mod sources;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Output;

use libtest_mimic::{Failed, Trial};
use sources::{Mutant, Sources, condition, delete, mutant, replace, words};

/// When a function in `src/` is renamed, its mutants have to be changed as well.
const MUTANTS: [Mutant; 30] = [
    mutant(
        "lost_wake_up",
        "Entry::mark_pending",
        condition("Stage::Idle", "($) && !self.registered"),
    ),
    mutant("two_queues", "Scheduler::end_wait", condition("leave", "true")),
    mutant("wrong_counter", "Scheduler::cancel_timer", delete("timer_cancellations")),
    mutant("timer_order", "Key::number", words("self.serial", "!$")),
    mutant("early_timer", "TimerHeap::collect_due", words("<= now_ns", "$.saturating_add(1000)")),
    mutant("heap_order", "TimerHeap::expire", words("(0..count).rev()", "0..count")),
    mutant("cancel_ends_no_wait", "Scheduler::cancel", delete("end_wait")),
    mutant("slot_freed_in_the_queue", "Scheduler::end", condition("task.queued", "false")),
    mutant("descriptor_left_open", "Reactor::drop", delete("close_marked")),
    mutant("permits_kept_from_those_behind", "semaphore::leave", delete("serve")),
    mutant("close_wakes_no_receiver", "Channel::disconnect", words(", &self.receivers", "")),
    mutant(
        "no_last_look_at_a_descriptor",
        "descriptor::wait_for",
        words("(scheduler.poll_late(&node, events), true)", "(Err(Error::TimedOut), true)"),
    ),
    mutant("no_last_look_at_an_object", "Scheduler::expire", condition("expires_at_once", "true")),
    mutant(
        "child_waits_at_its_parents_set",
        "Scheduler::reinit_after_fork",
        condition("is_of_this_process", "true"),
    ),
    mutant(
        "event_of_an_earlier_file",
        "Entry::fire_armed_for",
        words("may_be_woken(node) && ", ""),
    ),
    mutant(
        "owners_of_mutexes_yield",
        "Scheduler::must_yield",
        words("(task.locks.get() == 0 || task.is_canceled()) && ", ""),
    ),
    mutant(
        "cancellation_not_told_when_the_budget_is_spent",
        "spend::yield_spent",
        condition("is_canceled", "false"),
    ),
    mutant(
        "closed_meanwhile_is_not_seen",
        "Generation::check",
        condition("Ownership::closes(self.fd) != self.closes", "false"),
    ),
    mutant(
        "places_are_not_handed_on",
        "Group::give_place_back",
        condition("wake_first(&self.adding, Outcome::Ready(GIVEN))", "false"),
    ),
    mutant(
        "what_was_collected_is_written_twice",
        "Session::write_out",
        delete("buffer.skip(collected)"),
    ),
    mutant(
        "a_tasks_deadline_is_no_limit",
        "Scheduler::resolve_earlier",
        words("moment_ns <= own_ns", "moment_ns < u64::MAX"),
    ),
    mutant(
        "events_that_others_wait_for",
        "Case::take_fired",
        words("happened & (events | FAILURE)", "happened"),
    ),
    mutant(
        "a_post_overtakes",
        "posts::take",
        words("scheduler.posts.queue.push(message)", "scheduler.posts.queue.push_front(message)"),
    ),
    mutant(
        "a_receive_tells_no_sender",
        "RemoteChannel::attempt",
        words("&self.senders", "&self.receivers"),
    ),
    mutant("those_left_at_a_port_are_not_told", "Parties::serve", delete("self.enlist(party)")),
    mutant(
        "the_last_at_a_port_is_served_first",
        "remote_channel::run",
        words("port.waiters.first()", "port.waiters.iter().last()"),
    ),
    mutant(
        "close_tells_no_sender",
        "RemoteChannel::close",
        delete("self.senders.parties.notify_all()"),
    ),
    mutant(
        "no_last_look_at_a_channel_between_threads",
        "select::leave",
        words("attempt(cases(waiting), is_remote, false)", "attempt(&[], is_remote, false)"),
    ),
    mutant(
        "a_wait_at_a_channel_between_threads_spends_twice",
        "RemoteChannel::transfer_later",
        words("later == Later::Yields", "$ || running.0.spend(running.1)"),
    ),
    mutant("mutex_of_two_owners", "Mutex::hand_off", replace("acquire", "self.owner.set(0);")),
];

/// The trials of this module; the long one is for `make torture`.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("mutants::have_their_places", find_places)];
    if env::var_os("MAJJEN_TORTURE").is_some() {
        trials.push(Trial::test("mutants::are_noticed", find_all));
    }
    trials
}

/// Reports early when a change of the source has left the long test without a mutant.
fn find_places() -> Result<(), Failed> {
    Ok(sources::find_places(&MUTANTS)?)
}

fn find_all() -> Result<(), Failed> {
    let sources = Sources::copy_to(&target().join("mutants-sources"))?;
    if !random_programs(&sources)?.status.success() {
        return Err("they fail with the library as it is".into());
    }
    let mut missed = Vec::new();
    for mutant in &MUTANTS {
        let (output, old_ones_fail) = sources.with(mutant, || {
            let output = random_programs(&sources)?;
            // What libFuzzer has found may be too rare for these.
            let are_needed = output.status.success();
            let old_ones_fail = are_needed && !run(&sources, "regressions")?.status.success();
            Ok::<_, Failed>((output, old_ones_fail))
        })??;
        if old_ones_fail {
            println!("mutants: {}: found by one of the regressions", mutant.name);
            continue;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text.lines().find_map(|line| line.find(super::FOUND).map(|at| &line[at..]));
        match found.filter(|_| !output.status.success()) {
            Some(found) => println!("mutants: {}: {found}", mutant.name),
            None => missed.push(mutant.name),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {missed:?}").into()) }
}

fn target() -> PathBuf {
    // Cargo makes `tmp` in the target directory for tests.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory").to_owned()
}

/// Builds the copy, which must succeed, and runs the random programs with it.
fn random_programs(sources: &Sources) -> Result<Output, Failed> {
    let built = cargo(sources, &["--no-run"])?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned().into());
    }
    run(sources, "random_programs")
}

fn run(sources: &Sources, tests: &str) -> Result<Output, Failed> {
    cargo(sources, &["--", tests])
}

fn cargo(sources: &Sources, arguments: &[&str]) -> Result<Output, Failed> {
    let mut command = sources.cargo(&target().join("mutants"));
    command.args(["test", "--release", "--quiet", "--test", "fuzz"]).args(arguments);
    Ok(command.env("MAJJEN_FUZZ_SHRINK", "0").env_remove("MAJJEN_TORTURE").output()?)
}
