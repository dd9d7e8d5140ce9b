//! Who waits for whom: circles of tasks, in the line that ends a run by deadlock and in a dump.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::without_provenance_mut;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use majjen::task;

use super::c_abi::{CAbi, text_of};
use super::groups::Groups;
use super::majjen_h::*;
use super::rust_api::RustApi;
use super::sync::{Sync, Thing};
use super::{Api, End, HOUR, MS};

behaviours!(
    three_mutexes_in_a_circle_are_named,
    joins_mutexes_and_groups_in_a_circle_are_named,
    a_member_that_waits_for_its_own_place_is_named,
    a_select_of_one_task_is_a_join,
    two_groups_that_wait_for_each_other_are_named,
    without_a_circle_none_is_named,
    a_long_circle_is_cut,
    who_waits_for_a_circle_is_not_in_it,
    a_dump_names_a_circle_while_others_go_on,
    a_dump_says_who_holds_what,
    every_circle_is_in_the_dump_once,
);

pub trait Seen: Sync + Groups {
    fn spawn_named(&self, name: &str, body: impl FnOnce() + 'static) -> Self::Task;
    fn dump(&self) -> String;
}

impl Seen for RustApi {
    fn spawn_named(&self, name: &str, body: impl FnOnce() + 'static) -> Self::Task {
        Rc::new(task::Builder::new().name(name).spawn_on(self.scheduler(), body).unwrap())
    }

    fn dump(&self) -> String {
        self.scheduler().dump()
    }
}

impl Seen for CAbi {
    fn spawn_named(&self, name: &str, body: impl FnOnce() + 'static) -> Self::Task {
        let task = self.spawn(body);
        let name = CString::new(name).unwrap();
        let at = mj_task_find(self.scheduler(), task.id);
        assert_eq!(mj_task_set_name(at, name.as_ptr()), 0);
        task
    }

    fn dump(&self) -> String {
        text_of(|stream| mj_scheduler_dump(self.scheduler(), stream))
    }
}

thread_local! {
    /// The lines of level ERROR on this thread.
    static ERRORS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn take_line(level: mj_log_level, message: *const c_char, _: *mut c_void) {
    // SAFETY: a C string, from the logger.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    if level >= MJ_LOG_ERROR {
        ERRORS.with_borrow_mut(|lines| lines.push(text));
    }
}

/// Runs a scheduler that is to end by deadlock. Returns the line that says so, with each number of an object or a
/// task replaced by `#`.
fn deadlock<D: Api>(api: &D) -> String {
    // Another receiver each time, which lifts the limit of such lines.
    static RECEIVERS: AtomicUsize = AtomicUsize::new(1);
    let receiver = without_provenance_mut(RECEIVERS.fetch_add(1, Relaxed));
    mj_log_set_callback(Some(take_line), receiver);
    ERRORS.take();
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    let lines = ERRORS.take();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    without_numbers(line)
}

fn without_numbers(text: &str) -> String {
    let mut parts = text.split("0x");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push('#');
        plain += part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
    }
    plain
}

/// The circle in such a line.
fn circle(line: &str) -> &str {
    let (_, rest) = line.split_once(" can wake any of them: ").unwrap_or_else(|| panic!("{line}"));
    rest.split_once("; the run ends").unwrap_or_else(|| panic!("{line}")).0
}

fn ignore(_: Result<(), i32>) {}

fn settle<D: Api>() {
    (0..20).for_each(|_| D::yield_now().unwrap());
}

/// Tasks that each lock a mutex, and then that of the next one.
fn lock_in_a_circle<D: Seen>(api: &D, names: &[&str]) {
    let mutexes: Vec<D::Mutex> = names.iter().map(|_| api.mutex()).collect();
    for (index, name) in names.iter().enumerate() {
        let (own, next) = (mutexes[index], mutexes[(index + 1) % names.len()]);
        api.spawn_named(name, move || {
            D::lock(own, None).unwrap();
            settle::<D>();
            let _ = D::lock(next, None);
        });
    }
}

fn three_mutexes_in_a_circle_are_named<D: Seen>() {
    let api = D::new();
    lock_in_a_circle(&api, &["reader", "writer", "a \"third\"\n"]);
    let line = deadlock(&api);
    assert!(line.starts_with("deadlock: 3 tasks are parked, and no timer"), "{line}");
    assert_eq!(
        circle(&line),
        "task # \"reader\" waits for mutex # held by task # \"writer\", \
         which waits for mutex # held by task # \"a \\\"third\\\"\\n\", \
         which waits for mutex # held by task # \"reader\""
    );
}

fn joins_mutexes_and_groups_in_a_circle_are_named<D: Seen>() {
    let api = D::new();
    let (first, second) = (api.mutex(), api.mutex());
    let last = Rc::new(RefCell::new(None));
    let joined = last.clone();
    api.spawn_named("locks", move || {
        D::lock(first, None).unwrap();
        settle::<D>();
        let _ = D::lock(second, None);
    });
    let inner = api.clone();
    let groups = api.spawn_named("has a group", move || {
        D::lock(second, None).unwrap();
        let group = Groups::group(&inner, 0);
        D::go(&group, || ignore(D::park(None)), None).unwrap();
        D::go(&group, move || ignore(D::join(&joined.take().unwrap(), None)), None).unwrap();
        settle::<D>();
        let _ = <D as Groups>::wait(&group, None);
    });
    let joins = api.spawn_named("joins", move || ignore(D::lock(first, None)));
    last.replace(Some(joins));
    let line = deadlock(&api);
    assert_eq!(
        circle(&line),
        "task # \"locks\" waits for mutex # held by task # \"has a group\", \
         which waits for group # with member task #, which waits for task # \"joins\", \
         which waits for mutex # held by task # \"locks\""
    );
    drop(groups);
}

fn a_member_that_waits_for_its_own_place_is_named<D: Seen>() {
    let api = D::new();
    let inner = api.clone();
    api.spawn_named("starts it", move || {
        let group = Rc::new(Groups::group(&inner, 1));
        let own = group.clone();
        D::go(&group, move || ignore(D::go(&own, || (), None)), None).unwrap();
        let _ = D::park(None);
    });
    let line = deadlock(&api);
    assert_eq!(circle(&line), "task # waits for place in group # taken by task #");
}

fn a_select_of_one_task_is_a_join<D: Seen>() {
    let api = D::new();
    let mutex = api.mutex();
    let holder = api.spawn_named("holds", || ignore(D::park(None)));
    let waits = api.spawn_named("selects", move || {
        D::lock(mutex, None).unwrap();
        let _ = D::select_any(&[Thing::Ended(&holder)], None);
    });
    let line = deadlock(&api);
    assert!(!line.contains(" waits for task "), "{line}");
    let other = D::new();
    let mutex = other.mutex();
    let locks = Rc::new(RefCell::new(None));
    let awaited = locks.clone();
    other.spawn_named("selects", move || {
        D::lock(mutex, None).unwrap();
        let _ = D::select_any(&[Thing::Ended(&awaited.take().unwrap())], None);
    });
    locks.replace(Some(other.spawn_named("locks", move || ignore(D::lock(mutex, None)))));
    assert_eq!(
        circle(&deadlock(&other)),
        "task # \"selects\" waits for task # \"locks\", \
         which waits for mutex # held by task # \"selects\""
    );
    drop(waits);
}

/// The circle goes through the second member of each group.
fn two_groups_that_wait_for_each_other_are_named<D: Seen>() {
    let api = D::new();
    let tasks = [0, 1].map(|_| Rc::new(RefCell::new(None::<D::Task>)));
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        let (inner, other) = (api.clone(), tasks[1 - index].clone());
        let task = api.spawn_named(name, move || {
            let group = Groups::group(&inner, 0);
            D::go(&group, || ignore(D::park(None)), None).unwrap();
            D::go(&group, move || ignore(D::join(&other.take().unwrap(), None)), None).unwrap();
            settle::<D>();
            let _ = <D as Groups>::wait(&group, None);
        });
        tasks[index].replace(Some(task));
    }
    assert_eq!(
        circle(&deadlock(&api)),
        "task # \"one\" waits for group # with member task #, which waits for task # \"two\", \
         which waits for group # with member task #, which waits for task # \"one\""
    );
}

fn without_a_circle_none_is_named<D: Seen>() {
    let api = D::new();
    let (mutex, semaphore) = (api.mutex(), api.semaphore(0));
    let holder = api.spawn_named("holder", move || {
        D::lock(mutex, None).unwrap();
        let _ = D::acquire(semaphore, 1, None);
    });
    api.spawn_named("locks", move || ignore(D::lock(mutex, None)));
    api.spawn_named("joins", move || ignore(D::join(&holder, None)));
    assert_eq!(
        deadlock(&api),
        "deadlock: 3 tasks are parked, and no timer, descriptor or wait function can wake any of \
         them; the run ends (a task dump shows what each task waits for)"
    );
}

fn a_long_circle_is_cut<D: Seen>() {
    let api = D::new();
    let names: Vec<String> = (0..100).map(|number| format!("number {number}")).collect();
    lock_in_a_circle(&api, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let line = deadlock(&api);
    let circle = circle(&line);
    assert!(
        circle.starts_with("task # \"number 0\" waits for mutex # held by task # \"number 1\",")
    );
    assert!(circle.contains("held by task # \"number 8\", and so on in a circle of 100 tasks"));
    assert!(line.ends_with("(a task dump shows what each task waits for)"), "{line}");
}

fn who_waits_for_a_circle_is_not_in_it<D: Seen>() {
    let api = D::new();
    // The first in the list, so that the search begins there.
    let task = Rc::new(RefCell::new(None));
    let joined = task.clone();
    api.spawn_named("outside", move || ignore(D::join(&joined.take().unwrap(), None)));
    let mutexes = [api.mutex(), api.mutex()];
    let bodies = [0, 1].map(|index| {
        move || {
            D::lock(mutexes[index], None).unwrap();
            settle::<D>();
            let _ = D::lock(mutexes[1 - index], None);
        }
    });
    let [one, two] = bodies;
    task.replace(Some(api.spawn_named("one", one)));
    api.spawn_named("two", two);
    assert_eq!(
        circle(&deadlock(&api)),
        "task # \"one\" waits for mutex # held by task # \"two\", \
         which waits for mutex # held by task # \"one\""
    );
}

/// The line of the dump that is about a circle.
fn circles(dump: &str) -> Vec<&str> {
    dump.lines().filter_map(|line| line.strip_prefix("deadlock: ")).collect()
}

fn a_dump_names_a_circle_while_others_go_on<D: Seen>() {
    let api = D::new();
    lock_in_a_circle(&api, &["one", "two"]);
    // These wait for each other too, but one of them gives up in time.
    let (own, other) = (api.mutex(), api.mutex());
    for (own, other, limit) in [(own, other, None), (other, own, Some(HOUR))] {
        api.spawn_named("patient", move || {
            D::lock(own, None).unwrap();
            settle::<D>();
            let _ = D::lock(other, limit);
        });
    }
    let seen = Rc::new(Cell::new(false));
    let (inner, has_seen) = (api.clone(), seen.clone());
    let stop = api.stop();
    api.spawn_named("looks", move || {
        D::sleep(MS).unwrap();
        settle::<D>();
        let dump = inner.dump();
        let plain = without_numbers(&dump);
        assert_eq!(
            circles(&plain),
            ["task # \"one\" waits for mutex # held by task # \"two\", \
              which waits for mutex # held by task # \"one\""],
            "{dump}"
        );
        assert_eq!(dump.lines().filter(|line| line.starts_with("task ")).count(), 5);
        has_seen.set(true);
        D::raise(&stop);
        let _ = D::yield_now();
    });
    assert_eq!(api.run(), End::Stopped);
    assert!(seen.get());
}

fn a_dump_says_who_holds_what<D: Seen>() {
    let api = D::new();
    let (mutex, second) = (api.mutex(), api.mutex());
    let holder = api.spawn_named("holder", move || {
        D::lock(mutex, None).unwrap();
        D::lock(second, None).unwrap();
        let _ = D::park(None);
    });
    api.spawn_named("locks", move || ignore(D::lock(mutex, None)));
    api.spawn_named("joins", move || ignore(D::join(&holder, None)));
    for (name, members) in [("one member", 1), ("two members", 2)] {
        let inner = api.clone();
        api.spawn_named(name, move || {
            let group = Groups::group(&inner, 0);
            for _ in 0..members {
                D::go(&group, || ignore(D::park(None)), None).unwrap();
            }
            let _ = <D as Groups>::wait(&group, None);
        });
    }
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    let dump = without_numbers(&api.dump());
    let line = |name: &str| {
        let begin = format!("task # \"{name}\" ");
        let line = dump.lines().find_map(|line| line.strip_prefix(&*begin));
        line.unwrap_or_else(|| panic!("{name} is not in\n{dump}")).to_owned()
    };
    assert!(line("holder").contains(", holds 2 mutexes, "), "{dump}");
    assert!(line("locks").starts_with("waiting for mutex # held by task # \"holder\", "), "{dump}");
    assert!(line("joins").starts_with("waiting for task # \"holder\", "), "{dump}");
    assert!(line("one member").starts_with("waiting for group # with member task #, "), "{dump}");
    let others = "waiting for group # with member task # and others, ";
    assert!(line("two members").starts_with(others), "{dump}");
    let members = dump.lines().filter(|line| line.contains(", member of group #, "));
    assert_eq!(members.count(), 3, "{dump}");
    assert!(circles(&dump).is_empty(), "{dump}");
}

fn every_circle_is_in_the_dump_once<D: Seen>() {
    let api = D::new();
    for names in [["a", "b"], ["c", "d"], ["e", "f"]] {
        lock_in_a_circle(&api, &names);
    }
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    let dump = without_numbers(&api.dump());
    let found = circles(&dump);
    assert_eq!(found.len(), 3, "{dump}");
    for (line, name) in found.iter().zip(["a", "c", "e"]) {
        assert!(line.starts_with(&format!("task # \"{name}\" waits for mutex ")), "{dump}");
    }
}
