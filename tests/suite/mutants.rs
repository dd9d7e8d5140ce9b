//! The sweeps of faults, the simulation and a test find bugs: with each of these mutants of the library, a
//! test that otherwise passes must fail, and say why. Part of `make torture`, since each mutant
//! takes a build.

mod edits;

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::library::TempDir;
use crate::process::{self, Finished};
use crate::sanitizers;
use crate::sources::{self, Mutant, Sources};
use crate::sources::{call, condition, delete, delete_arm, mutant, replace, words};
use crate::toolchain::torture;

const ALLOCATIONS: &str = "faults::allocations";
const SYSTEM_CALLS: &str = "faults::system_calls";
const SIMULATION: &str = "c_programs::simulation::shared";
const PARK: &str = "c_programs::park::shared";
const POST: &str = "c_programs::post::shared";
const XCHAN: &str = "c_programs::xchan::shared";
const OFFLOAD: &str = "c_programs::offload::shared";
const OFFLOAD_PROCESS: &str = "c_programs::offload_process::shared";
const POLL: &str = "c_programs::io_poll::shared";
const NAMES: &str = "c_programs::names::shared";
const NAMES_SLOW: &str = "c_programs::names_slow::shared";
const FILES: &str = "c_programs::files::shared";
const DIRECTORIES: &str = "c_programs::directories::shared";
const SIGNALS: &str = "c_programs::signals::shared";
const SIGNALS_PASSED: &str = "c_programs::signals_passed::shared";
const PROCESS: &str = "c_programs::process::shared";
const DEFER: &str = "c_programs::defer::shared";
const DAEMONS: &str = "c_programs::daemons::shared";
const TASK_VALUES: &str = "c_programs::task_values::shared";
const CLUSTER_EDGES: &str = "c_programs::cluster_edges::shared";
const CLUSTER_LOST: &str = "c_programs::cluster_lost::shared";
const CLUSTER_FORK: &str = "c_programs::cluster_fork::shared";
const FORK: &str = "c_programs::fork::shared";

/// What a sweep and the simulation print for any failure.
const A_RUN: &str = "for a debugger: sweep one";
const SEED: &str = "seed ";

/// A mutant, the test that must fail, and a part of its output.
struct Case {
    test: &'static str,
    said: &'static str,
    mutant: Mutant,
}

const fn case(test: &'static str, said: &'static str, mutant: Mutant) -> Case {
    Case { test, said, mutant }
}

/// When a function in `src/` is renamed, its mutants have to be changed as well.
#[rustfmt::skip] // A row: which test fails, and with what text; below that, the place.
const CASES: &[Case] = &[
    case(ALLOCATIONS, "killed by signal 6", mutant("descriptors' table grows or aborts",
        "Reactor::grow", delete("table.reserve"))),
    case(ALLOCATIONS, "killed by signal 6", mutant("tasks' table grows or aborts",
        "Directory::grow", delete("by_address.reserve"))),
    case(ALLOCATIONS, "live_mappings", mutant("arenas not unmapped",
        "unmap", call("munmap", "0"))),
    case(ALLOCATIONS, "live_blocks", mutant("timer heap not freed",
        "TimerHeap::drop", delete("release"))),
    case(ALLOCATIONS, "open_descriptors", mutant("epoll set not closed",
        "Reactor::drop", delete("close_marked"))),
    case(ALLOCATIONS, "killed by signal 11", mutant("malloc of a long log line not checked",
        "majjen_shim_vlog", words("if (heap != NULL)", "if (1)"))),
    case(ALLOCATIONS, A_RUN, mutant("waiter left in its wait queue when its timer has no memory",
        "block::park", replace("end_wait", "scheduler.run_queue.push(task);"))),
    case(ALLOCATIONS, "ended == created", mutant("post without memory for its task dropped",
        "Scheduler::begin_posts", delete("push_front"))),
    case(SYSTEM_CALLS, "written", mutant("failure of a guard ignored",
        "Arena::allocate", replace("guard(first, self.shape.guard_bytes)?", "let _ = guard(first, self.shape.guard_bytes);"))),
    case(SYSTEM_CALLS, A_RUN, mutant("no fallback from epoll_pwait2",
        "epoll_wait", words("is_refusal(refused)", "false"))),
    case(SYSTEM_CALLS, A_RUN, mutant("EINTR treated as an error",
        "Reactor::poll_batch", delete_arm("EINTR"))),
    case(SYSTEM_CALLS, A_RUN, mutant("transient failure of the clock not retried",
        "monotonic_ns", call("read_clock_again", "0"))),
    case(SYSTEM_CALLS, A_RUN, mutant("task without a stack not tried again",
        "Starved::retry_if_due", condition("is_empty", "false"))),
    case(SYSTEM_CALLS, A_RUN, mutant("no function runs where the pool can have no thread",
        "Workers::do_without", delete("Job::post"))),
    case(SYSTEM_CALLS, "open_descriptors", mutant("a child forgets what an attempt has opened",
        "Remote::renew_wake_up_fd", condition("opened_by", "true"))),
    case(PARK, "EINTR", mutant("enqueue lost when a task yields in the middle of a call",
        "spend::yield_spent", condition("was_enqueued", "false"))),
    case(SIMULATION, "simulated_ns >= deadline", mutant("timers 1 us early",
        "TimerHeap::collect_due", words("<= now_ns", "$.saturating_add(1000)"))),
    case(SIMULATION, "parent->wake_time_ns", mutant("heap does not sift up after a removal",
        "TimerHeap::remove", condition("parent", "false"))),
    // Its node is on the stack that it has left.
    case(SIMULATION, "killed by signal 11", mutant("waiter left in its wait queue after a timeout",
        "block::suspend_parked", call("leave", "Left::Now"))),
    case(SIMULATION, SEED, mutant("timer left in the heap by a cancel",
        "Scheduler::cancel_timer", condition("NOT_IN_HEAP", "($) && !task.canceled.get()"))),
    case(SIMULATION, SEED, mutant("cancel lost",
        "Scheduler::cancel", delete("canceled.set"))),
    case(SIMULATION, SEED, mutant("outcome of a wait lost when its task is dequeued",
        "Scheduler::enqueue", call("outcome.get", "Outcome::Interrupted"))),
    case(SIMULATION, SEED, mutant("a child waits at its parent's set",
        "Scheduler::reinit_after_fork", condition("is_of_this_process", "true"))),
    case(SIMULATION, "may_be_over", mutant("a descriptor is not asked once more when the time is over",
        "descriptor::wait_for", words("(scheduler.poll_late(&node, events), true)", "(Err(Error::TimedOut), true)"))),
    case(SIMULATION, "may_be_closed", mutant("an event of an earlier file wakes who waits for the next one",
        "Entry::fire_armed_for", words("may_be_woken(node) && ", ""))),
    case(POST, "posts_of_a_thread_begin_in_order", mutant("a post overtakes",
        "posts::take", words("queue.push", "queue.push_front"))),
    case(POST, "each_post_is_a_task_of_its_own", mutant("a post has the id of the one before it",
        "Scheduler::next_post", delete("tasks.renew"))),
    case(POST, "more_than_the_limit_are_refused", mutant("any number of posts may wait",
        "Quota::take", words("waiting < self.most.load(Relaxed)", "true"))),
    case(POST, "more_than_the_limit_are_refused", mutant("a post that was refused counts",
        "Quota::take", delete("give_back"))),
    case(POST, "more_than_the_limit_are_refused", mutant("a post that has begun counts",
        "Scheduler::next_post", delete("count_begun"))),
    case(POST, "what_has_not_begun_is_abandoned_once", mutant("a post to a destroyed scheduler is to be tried again",
        "Remote::post", words("Error::Disconnected", "Error::WouldBlock"))),
    case(POST, "what_has_not_begun_is_abandoned_once", mutant("a post is abandoned twice",
        "Posted::abandon", replace("callback::abandon", "$; $"))),
    case(POST, "what_had_no_turn_is_abandoned_once", mutant("a post whose task had no turn is not abandoned",
        "Scheduler::abandon_posts", words("task.words().abandon", "$.filter(|_| false)"))),
    case(XCHAN, "an_element_waits_for_whichever_scheduler_runs_first", mutant("a note to a scheduler that does not run counts",
        "remote_channel::deliver", words("remote.rank() != Rank::Away", "true"))),
    case(OFFLOAD, "a_result_that_nobody_waits_for_is_written", mutant("a call waits for a function that it may abandon",
        "Job::try_abandon", words("self.work.abandon.is_some()", "false"))),
    case(OFFLOAD, "without_abandon_a_begun_function_is_waited_for", mutant("a call leaves a function that it may not abandon",
        "Job::try_abandon", words("&& may_leave", ""))),
    case(OFFLOAD, "without_abandon_a_begun_function_is_waited_for", mutant("a function is not told that its call is canceled",
        "job::is_canceled", words("GIVEN_UP | ABANDONED", "ABANDONED"))),
    case(OFFLOAD, "killed by signal 6", mutant("an argument is abandoned by the call and by the thread",
        "call::run", words("!is_in_pool &&", ""))),
    case(OFFLOAD, "is_abandoned_before_the_call_returns", mutant("what has not begun is not abandoned",
        "call::leave", delete("NOT_BEGUN"))),
    case(OFFLOAD, "cancel_while_queued_without_abandon", mutant("functions that wait for a thread are not counted",
        "Workers::counts", words("queued: state.queued", "queued: 0"))),
    case(OFFLOAD_PROCESS, "without_threads_functions_run_in_the_loop", mutant("functions that the loop runs are not counted",
        "Workers::do_without", delete("inline.fetch_add"))),
    case(POLL, "few_and_many", mutant("a poll goes on when a descriptor of it was closed",
        "fd::poll::suspend", delete("closed += "))),
    case(POLL, "what_is_there_is_told_though_the_call_is_canceled", mutant("a poll that is canceled does not look again",
        "fd::poll::poll", words("ready => Ok(ready)", "_ => Err(error)"))),
    case(POLL, "a_poll_that_need_not_wait_yields_in_time", mutant("a poll costs nothing of the budget",
        "fd::poll::poll", condition("scheduler.spend", "false"))),
    case(NAMES, "what_is_numeric_takes_no_thread", mutant("what is numeric is looked up by a thread",
        "find_addresses", words("sys::find_addresses(host, service, hints.numeric())", "Err(NameError::NO_NAME)"))),
    case(NAMES, "an_attempt_that_nobody_answers_ends", mutant("sockets of attempts are left open",
        "Attempts::drop", delete("close_fd"))),
    case(NAMES_SLOW, "the_one_that_says_most", mutant("of several failures the one that says least is told",
        "race::note", words("weight(known) < weight(error)", "weight(known) > weight(error)"))),
    case(FILES, "whole_files", mutant("a file may have any number of bytes",
        "whole::fill", condition("> most", "false"))),
    case(FILES, "whole_files", mutant("no NUL behind a file",
        "whole::fill", delete("address.write(0)"))),
    case(DIRECTORIES, "a_directory_of_many_names", mutant("a directory may have any number of names",
        "list_directory", condition("== most", "false"))),
    case(SIGNALS, "what_cannot_be_waited_for_is_refused", mutant("what a signal did is not put back",
        "end_use", words("before.set(signal)", "true"))),
    case(SIGNALS, "what_the_program_has_set_meanwhile_stays", mutant("what the program has set meanwhile is undone",
        "end_use", words("if now.is(on_signal)", ""))),
    case(SIGNALS, "all_that_can_be_had_are", mutant("of several signals the highest is told first",
        "Interest::take", call("next", "numbers(self.pending()).last()"))),
    case(SIGNALS, "another_set_takes_the_place", mutant("what came for one set is lost when another takes its place",
        "Caught::interest_of", delete("interest.add"))),
    case(SIGNALS, "a_child_has_what_the_program_had", mutant("a child's signals go to its parent's tasks",
        "Place::with_own", words("remote.is_of_this_process() &&", ""))),
    case(SIGNALS_PASSED, "each_thread_hands_on_its_own_signal", mutant("a signal that comes back is handed on as it was",
        "hand_on", words("(&BENEATH, delivery | BENEATH_BIT)", "(&FORMER, delivery | BENEATH_BIT)"))),
    case(SIGNALS_PASSED, "a_handler_may_leave_by_a_jump", mutant("a signal that was left counts as one that comes back",
        "hand_on", words("&& here < outer.by", ""))),
    case(PROCESS, "begins_clean", mutant("a child has its parent's mask",
        "Attributes::new", words("| libc::POSIX_SPAWN_SETSIGMASK", ""))),
    case(PROCESS, "ends_are_told", mutant("descriptors of children are left open",
        "Child::release", delete("close_private_fd"))),
    case(PROCESS, "all_who_wait_are_told", mutant("two tasks end one child",
        "Child::end", condition("After::Kept", "false"))),
    case(PROCESS, "a_canceled_task_ends_its_child", mutant("a cancellation cuts the grace short",
        "Child::has_ended_within", words("regardless(|| self.wait_once(limit, &mut pauses)).flatten()", "self.wait_once(limit, &mut pauses)"))),
    case(PROCESS, "those_let_go_are_waited_for", mutant("nobody waits for those that were let go",
        "children::spawn::spawn", delete("wait_for_those_let_go"))),
    case(DEFER, "the_newest_is_called_first", mutant("what was deferred first is called again and again",
        "Belongings::pop", words("part.entries[left]", "part.entries[0]"))),
    case(DEFER, "there_is_a_limit", mutant("what has been called counts as deferred",
        "Belongings::pop", delete("self.count.set"))),
    case(DAEMONS, "a_run_ends_when_the_others_have", mutant("a task in the place of a daemon is one",
        "Scheduler::end_belongings", delete("set_daemon"))),
    case(DAEMONS, "there_is_time_to_clean_up", mutant("daemons have no time to end",
        "Scheduler::awaits_daemons", words("now_ns.saturating_add(limit_ns.get())", "now_ns"))),
    case(TASK_VALUES, "what_makes_them_inherit_may_refuse", mutant("a new task gets its maker's own value",
        "Scheduler::inherit", words("made.set_value(index, copy)", "made.set_value(index, value)"))),
    case(ALLOCATIONS, "live_blocks", mutant("a member of another core that has had no turn is not freed",
        "cluster_work::abandon_member", delete("sys::free"))),
    case(SYSTEM_CALLS, A_RUN, mutant("threads are left of a cluster that lacks one",
        "Cluster::create", delete("shut"))),
    case(CLUSTER_EDGES, "what_a_core_was_given_is_abandoned_if_its_set_up_fails", mutant("cores wait for what a lost one holds",
        "Cluster::has_lost_a_core", words("any(Core::is_over)", "any(|_| false)"))),
    case(CLUSTER_EDGES, "ended == CALLS_IN_VAIN", mutant("calls wait for a core that is lost",
        "call::leave_lost_calls", condition("is_lost", "false"))),
    case(CLUSTER_EDGES, "on_core[i] > 0", mutant("no connection is handed over",
        "Core::least_loaded_or_self", condition("mine >", "false"))),
    case(CLUSTER_EDGES, "open_descriptors() == before", mutant("a cluster leaves its sockets to tasks that are destroyed",
        "Service::free", delete("Listener::close"))),
    case(CLUSTER_EDGES, "callers_of_a_cluster_that_never_starts_leave", mutant("a call that has not begun is waited for",
        "Call::send_leave", words("!has_begun ||", ""))),
    case(FORK, "killed at the time limit", mutant("a child takes what it closes out of its parent's set",
        "Scheduler::close", words("self.reinit_after_fork().is_ok()", "true"))),
    case(CLUSTER_LOST, "abandoned == 1", mutant("what a core was given whose thread ends is not abandoned",
        "Scheduler::close_lost", delete("part"))),
    case(CLUSTER_FORK, "status_of(child) == 0", mutant("a core waits for the others in a child of fork()",
        "Core::end_run", condition("has_others", "true"))),
    case(CLUSTER_FORK, "a_child_serves_what_it_accepts", mutant("a child hands connections over to its parent's cores",
        "Core::least_loaded_or_self", condition("is_of_this_process", "false"))),
];

/// The trials of this module; the long one is for `make torture`.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("mutants::have_their_places", find_places),
        Trial::test("mutants::edits", edits::test),
    ];
    if torture() {
        trials.push(Trial::test("mutants::are_noticed", find_all));
    }
    trials
}

/// Reports early when a change of the source has left the long tests without a mutant.
fn find_places() -> Result<(), Failed> {
    let mutants = CASES.iter().map(|case| &case.mutant);
    Ok(sources::find_places(mutants.chain(sanitizers::mutants()))?)
}

fn find_all() -> Result<(), Failed> {
    let copy = Copy { sources: Sources::copy_to(&target().join("mutants-sources-suite"))? };
    for test in CASES.iter().map(|case| case.test).collect::<BTreeSet<_>>() {
        let finished = copy.run(test)?;
        if !finished.succeeded() {
            return Err(format!("the library as it is: {test} {}", finished.describe()).into());
        }
    }
    let mut missed = Vec::new();
    for Case { test, said, mutant } in CASES {
        let finished = copy.sources.with(mutant, || copy.run(test))??;
        // Only this test has run.
        let failed = finished.output.contains("0 passed; 1 failed");
        match finished.output.lines().find(|line| line.contains(said)) {
            Some(line) if failed => println!("mutants: {}: {test}: {}", mutant.name, line.trim()),
            _ => missed.push(format!("{}: {test} {}", mutant.name, finished.describe())),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n\n").into()) }
}

fn target() -> PathBuf {
    // Cargo makes `tmp` in the target directory for tests.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory").to_owned()
}

/// A copy of the sources, in which each mutant is built.
struct Copy {
    sources: Sources,
}

impl Copy {
    /// Builds the library, and runs one test of this suite with it, in its short form.
    fn run(&self, test: &str) -> Result<Finished, Failed> {
        const LIMIT: Duration = Duration::from_secs(600);
        let temp_dir = TempDir::new()?;
        let target = target().join("mutants-suite");
        let mut cargo = self.sources.cargo(&target);
        cargo.args(["rustc", "--release", "--lib", "--crate-type=cdylib"]);
        let built = process::run(&mut cargo, LIMIT, temp_dir.path())?;
        if !built.succeeded() {
            return Err(format!("cargo {}", built.describe()).into());
        }
        let mut suite = Command::new(env::current_exe()?);
        suite.args(["--exact", test]).env("MAJJEN_LIB_DIR", target.join("release"));
        // Cargo sets it for tests, and it takes precedence over the programs' own path.
        suite.env_remove("LD_LIBRARY_PATH");
        suite.env_remove("MAJJEN_TORTURE").env_remove("MAJJEN_TESTS");
        Ok(process::run(&mut suite, LIMIT, temp_dir.path())?)
    }
}
