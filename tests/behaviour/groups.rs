//! Groups of tasks, tested through both APIs: `mj_group` and `JoinSet`.

mod c_abi;
mod rust_api;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::sync::api_that_pretends;
use super::{Api, End, Events, HOUR, MS};

/// One API of groups. Copies refer to the same group.
pub trait Groups: Api {
    type Group: Clone + 'static;

    /// A group of at most so many members at a time; 0 for any number.
    fn group(&self, limit: usize) -> Self::Group;
    fn go(
        group: &Self::Group,
        body: impl FnOnce() + 'static,
        timeout: Option<Duration>,
    ) -> Result<(), i32>;
    fn wait(group: &Self::Group, timeout: Option<Duration>) -> Result<(), i32>;
    fn cancel_all(group: &Self::Group);
    fn end(group: &Self::Group, grace: Duration) -> Result<(), i32>;
}

behaviours!(
    a_group_has_so_many_members_at_a_time,
    a_wait_for_room_has_a_limit,
    a_canceled_wait_for_room_leaves_it_to_the_next,
    all_who_wait_for_a_group_return,
    members_add_members,
    a_group_is_canceled,
    a_closed_group_takes_nobody,
    a_place_that_was_given_is_not_taken_in_a_closed_group,
    a_group_ends_by_itself_within_the_grace,
    what_is_left_after_the_grace_is_canceled,
    a_canceled_task_sleeps_until_its_group_has_ended,
    nothing_cuts_the_end_short,
    two_tasks_end_a_group,
    members_do_not_wait_for_their_group,
    a_member_cancels_its_group,
    an_empty_group_has_ended,
    a_group_is_of_one_scheduler,
    adding_members_is_counted_in_the_budget,
    a_group_outlives_its_scheduler,
    members_inherit_the_deadline,
    the_end_does_not_count_the_deadline,
);

const TOLD: Result<(), i32> = Err(libc::ECANCELED);
const CLOSED: Result<(), i32> = Err(libc::EPIPE);

/// Runs a test as the body of a task. All tasks must end.
fn in_a_task<D: Groups>(body: impl FnOnce(D) + 'static) {
    let api = api_that_pretends::<D>();
    let inner = api.clone();
    api.spawn(move || body(inner));
    assert_eq!(api.run(), End::Completed);
    let (added, ended) = api.tasks();
    assert_eq!(added, ended);
}

/// A member that parks until it is canceled.
fn parks<D: Groups>(log: &Events<Result<(), i32>>) -> impl FnOnce() + 'static {
    let log = log.clone();
    move || log.push(D::park(None))
}

fn a_group_has_so_many_members_at_a_time<D: Groups>() {
    in_a_task(|api: D| {
        let (group, living, order) = (api.group(3), Rc::new(Cell::new(0)), Events::new());
        for number in 0..10 {
            let (living, order) = (living.clone(), order.clone());
            let member = move || {
                living.set(living.get() + 1);
                assert!(living.get() <= 3);
                order.push(number);
                D::sleep((number % 3) * MS).unwrap();
                living.set(living.get() - 1);
            };
            D::go(&group, member, None).unwrap();
        }
        D::wait(&group, None).unwrap();
        order.are(&(0..10).collect::<Vec<_>>());
        assert_eq!(living.get(), 0);
    });
}

fn a_wait_for_room_has_a_limit<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(1), Events::new());
        D::go(&group, parks::<D>(&log), None).unwrap();
        D::yield_now().unwrap();
        for limit in [Duration::ZERO, 2 * MS] {
            assert_eq!(D::go(&group, || unreachable!(), Some(limit)), Err(libc::ETIMEDOUT));
        }
        D::end(&group, Duration::ZERO).unwrap();
        log.are(&[TOLD]);
    });
}

fn a_canceled_wait_for_room_leaves_it_to_the_next<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(1), Events::new());
        D::go(&group, || D::sleep(3 * MS).unwrap(), None).unwrap();
        let waiting = ["first", "second"].map(|name| {
            let (group, log) = (group.clone(), log.clone());
            api.spawn(move || {
                let member = log.clone();
                let added = D::go(&group, move || member.push((name, Ok(()))), None);
                log.push((name, added));
            })
        });
        D::yield_now().unwrap();
        D::cancel(&waiting[0]);
        D::join(&waiting[1], None).unwrap();
        D::wait(&group, None).unwrap();
        log.are(&[("first", TOLD), ("second", Ok(())), ("second", Ok(()))]);
    });
}

fn all_who_wait_for_a_group_return<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        for number in 1..=3 {
            D::go(&group, move || D::sleep(number * MS).unwrap(), None).unwrap();
        }
        assert_eq!(D::wait(&group, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
        let waiting = [(); 2].map(|()| {
            let (group, log) = (group.clone(), log.clone());
            api.spawn(move || log.push(D::wait(&group, Some(HOUR))))
        });
        D::wait(&group, None).unwrap();
        waiting.iter().for_each(|task| D::join(task, None).unwrap());
        log.are(&[Ok(()), Ok(())]);
        // It may be used again.
        D::go(&group, || (), None).unwrap();
        D::wait(&group, None).unwrap();
    });
}

fn members_add_members<D: Groups>() {
    fn split<D: Groups>(group: &D::Group, depth: u32, count: &Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        for _ in 0..if depth > 0 { 3 } else { 0 } {
            let (inner, count) = (group.clone(), count.clone());
            D::go(group, move || split::<D>(&inner, depth - 1, &count), None).unwrap();
        }
    }
    in_a_task(|api: D| {
        let (group, count) = (api.group(0), Rc::new(Cell::new(0)));
        split::<D>(&group, 5, &count);
        D::wait(&group, None).unwrap();
        assert_eq!(count.get(), 1 + 3 + 9 + 27 + 81 + 243);
    });
}

fn a_group_is_canceled<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        for _ in 0..3 {
            D::go(&group, parks::<D>(&log), None).unwrap();
        }
        D::yield_now().unwrap();
        D::cancel_all(&group);
        log.are(&[]);
        D::wait(&group, None).unwrap();
        log.are(&[TOLD; 3]);
    });
}

/// At once, and not only when a member ends.
fn a_closed_group_takes_nobody<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(1), Events::new());
        let told = log.clone();
        let member = move || {
            told.push(D::park(None));
            D::shield(|| D::sleep(5 * MS)).unwrap();
            told.push(Ok(()));
        };
        D::go(&group, member, None).unwrap();
        let (inner, told) = (group.clone(), log.clone());
        let adds = api.spawn(move || told.push(D::go(&inner, || unreachable!(), None)));
        D::yield_now().unwrap();
        D::cancel_all(&group);
        assert_eq!(D::go(&group, || unreachable!(), None), CLOSED);
        D::join(&adds, None).unwrap();
        D::wait(&group, None).unwrap();
        assert_eq!(D::go(&group, || unreachable!(), Some(HOUR)), CLOSED);
        log.are(&[CLOSED, TOLD, Ok(())]);
    });
}

/// The member has ended and its place is another task's, which has not run since.
fn a_place_that_was_given_is_not_taken_in_a_closed_group<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log, is_over) = (api.group(1), Events::new(), Rc::new(Cell::new(false)));
        let over = is_over.clone();
        let member = move || {
            D::yield_now().unwrap();
            over.set(true);
        };
        D::go(&group, member, None).unwrap();
        let (inner, told) = (group.clone(), log.clone());
        let adds = api.spawn(move || told.push(D::go(&inner, || unreachable!(), None)));
        let (inner, told) = (group.clone(), log.clone());
        let waits = api.spawn(move || told.push(D::wait(&inner, None)));
        while !is_over.get() {
            D::yield_now().unwrap();
        }
        D::cancel_all(&group);
        D::join(&adds, None).unwrap();
        D::join(&waits, None).unwrap();
        log.are(&[CLOSED, Ok(())]);
    });
}

fn a_group_ends_by_itself_within_the_grace<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        for number in [2, 1] {
            let (own, log) = (group.clone(), log.clone());
            let member = move || {
                D::sleep(number * MS).unwrap();
                assert_eq!(D::go(&own, || unreachable!(), None), CLOSED); // In the grace already.
                log.push(number);
            };
            D::go(&group, member, None).unwrap();
        }
        D::end(&group, HOUR).unwrap();
        log.are(&[1, 2]);
        assert_eq!(D::go(&group, || unreachable!(), None), CLOSED);
    });
}

fn what_is_left_after_the_grace_is_canceled<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        let quick = log.clone();
        D::go(&group, move || quick.push(D::sleep(MS)), None).unwrap();
        let (inner, slow) = (group.clone(), log.clone());
        let member = move || {
            slow.push(D::sleep(HOUR));
            slow.push(D::go(&inner, || unreachable!(), None));
            D::shield(|| slow.push(D::sleep(5 * MS))); // Cleans up, as long as it takes.
        };
        D::go(&group, member, None).unwrap();
        D::end(&group, 20 * MS).unwrap();
        log.are(&[Ok(()), TOLD, CLOSED, Ok(())]);
    });
}

/// It does not go round in circles: the members have so many turns, and it has none.
fn a_canceled_task_sleeps_until_its_group_has_ended<D: Groups>() {
    in_a_task(|api: D| {
        let (inner, log) = (api.clone(), Events::new());
        let told = log.clone();
        let owner = api.spawn(move || {
            let group = inner.group(0);
            let member = told.clone();
            let member = move || {
                let result = D::park(None);
                D::shield(|| D::sleep(5 * MS)).unwrap();
                member.push(("member", result));
            };
            D::go(&group, member, None).unwrap();
            told.push(("owner", D::park(None)));
            D::end(&group, 2 * MS).unwrap();
            told.push(("ended", D::yield_now()));
        });
        D::yield_now().unwrap();
        D::yield_now().unwrap();
        D::cancel(&owner);
        D::join(&owner, None).unwrap();
        log.are(&[("owner", TOLD), ("member", TOLD), ("ended", TOLD)]);
    });
}

/// Neither a cancellation nor wake-ups, in the grace and after it.
fn nothing_cuts_the_end_short<D: Groups>() {
    in_a_task(|api: D| {
        let (inner, log, may_end) = (api.clone(), Events::new(), Rc::new(Cell::new(false)));
        let (told, let_go) = (log.clone(), may_end.clone());
        let owner = api.spawn(move || {
            let group = inner.group(0);
            let member = told.clone();
            let member = move || {
                D::shield(|| {
                    while !let_go.get() {
                        D::sleep(MS).unwrap();
                    }
                    member.push("member");
                });
            };
            D::go(&group, member, None).unwrap();
            D::end(&group, 3 * MS).unwrap();
            told.push("ended");
        });
        for _ in 0..6 {
            D::sleep(MS).unwrap();
            D::wake(&owner);
            D::cancel(&owner);
        }
        log.are(&[]);
        may_end.set(true);
        D::join(&owner, None).unwrap();
        log.are(&["member", "ended"]);
    });
}

fn two_tasks_end_a_group<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        D::go(&group, parks::<D>(&log), None).unwrap();
        let ending = [HOUR, Duration::ZERO].map(|grace| {
            let (group, log) = (group.clone(), log.clone());
            api.spawn(move || log.push(D::end(&group, grace)))
        });
        ending.iter().for_each(|task| D::join(task, None).unwrap());
        log.are(&[TOLD, Ok(()), Ok(())]);
    });
}

fn members_do_not_wait_for_their_group<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        let (own, told) = (group.clone(), log.clone());
        let member = move || {
            told.push(D::wait(&own, None));
            told.push(D::end(&own, HOUR));
            told.push(D::go(&own, || (), None)); // It was not closed by that.
        };
        D::go(&group, member, None).unwrap();
        D::wait(&group, None).unwrap();
        log.are(&[Err(libc::EDEADLK), Err(libc::EDEADLK), Ok(())]);
    });
}

fn a_member_cancels_its_group<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        D::go(&group, parks::<D>(&log), None).unwrap();
        let (own, told) = (group.clone(), log.clone());
        let member = move || {
            D::cancel_all(&own);
            told.push(D::yield_now());
        };
        D::go(&group, member, None).unwrap();
        D::wait(&group, None).unwrap();
        log.are(&[TOLD, TOLD]);
    });
}

fn an_empty_group_has_ended<D: Groups>() {
    let api = D::new();
    assert_eq!(D::end(&api.group(0), HOUR), Ok(())); // It need not wait, so it need not be a task.
    in_a_task(|api: D| {
        let (inner, log) = (api.clone(), Events::new());
        let told = log.clone();
        let canceled = api.spawn(move || {
            let group = inner.group(1);
            told.push(D::park(None));
            told.push(D::wait(&group, Some(Duration::ZERO)));
            told.push(D::end(&group, HOUR));
            told.push(D::end(&group, Duration::ZERO));
            told.push(D::go(&group, || unreachable!(), None));
        });
        D::yield_now().unwrap();
        D::cancel(&canceled);
        D::join(&canceled, None).unwrap();
        log.are(&[TOLD, Ok(()), Ok(()), Ok(()), CLOSED]);
    });
}

fn a_group_is_of_one_scheduler<D: Groups>() {
    let (api, other, log) = (D::new(), D::new(), Events::new());
    let group = api.group(0);
    let own = group.clone();
    let member = parks::<D>(&log);
    api.spawn(move || D::go(&own, member, None).unwrap());
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    let (foreign, told) = (group.clone(), log.clone());
    other.spawn(move || {
        told.push(D::go(&foreign, || (), None));
        told.push(D::wait(&foreign, None));
        told.push(D::end(&foreign, HOUR));
    });
    other.run();
    log.are(&[Err(libc::EPERM); 3]);
    // Outside of tasks nobody can wait, but cancel.
    assert_eq!(D::wait(&group, None), Err(libc::EPERM));
    assert_eq!(D::end(&group, HOUR), Err(libc::EPERM));
    D::cancel_all(&group);
    assert_eq!(api.run(), End::Completed);
    log.are(&[Err(libc::EPERM), Err(libc::EPERM), Err(libc::EPERM), TOLD]);
}

/// A task that does nothing but add members lets them run.
fn adding_members_is_counted_in_the_budget<D: Groups>() {
    in_a_task(|api: D| {
        let (group, ended) = (api.group(0), Rc::new(Cell::new(0)));
        for _ in 0..200 {
            let ended = ended.clone();
            D::go(&group, move || ended.set(ended.get() + 1), None).unwrap();
        }
        assert!(ended.get() >= 100);
        D::wait(&group, None).unwrap();
    });
}

/// Its members are gone with it, and it serves the next one.
fn a_group_outlives_its_scheduler<D: Groups>() {
    let api = D::new();
    let group = api.group(1);
    let own = group.clone();
    api.spawn(move || {
        let member = || {
            let _ = D::park(None);
        };
        D::go(&own, member, None).unwrap();
        let _ = D::go(&own, member, None); // Waits for room, for good.
    });
    let own = group.clone();
    api.spawn(move || {
        let _ = D::wait(&own, None);
    });
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    drop(api);
    let (next, log) = (D::new(), Events::new());
    let told = log.clone();
    next.spawn(move || {
        told.push(D::wait(&group, None));
        told.push(D::go(&group, || (), Some(Duration::ZERO)));
        told.push(D::end(&group, HOUR));
    });
    assert_eq!(next.run(), End::Completed);
    log.are(&[Ok(()); 3]);
}

fn members_inherit_the_deadline<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        D::set_deadline(Some(2 * MS)).unwrap();
        let (inner, told) = (group.clone(), log.clone());
        let member = move || {
            let grandchild = told.clone();
            D::go(&inner, move || grandchild.push(D::park(None)), None).unwrap();
            told.push(D::park(Some(HOUR)));
        };
        D::go(&group, member, None).unwrap();
        D::set_deadline(None).unwrap();
        D::wait(&group, None).unwrap();
        log.are(&[Err(libc::ETIMEDOUT); 2]);
    });
}

/// Neither before the grace is over nor afterwards, and it is there again when the group has ended.
fn the_end_does_not_count_the_deadline<D: Groups>() {
    in_a_task(|api: D| {
        let (group, log) = (api.group(0), Events::new());
        for takes in [4 * MS, HOUR] {
            let log = log.clone();
            D::go(&group, move || log.push(D::sleep(takes)), None).unwrap();
        }
        D::set_deadline(Some(MS)).unwrap();
        D::end(&group, 200 * MS).unwrap();
        log.push(D::park(None));
        log.are(&[Ok(()), TOLD, Err(libc::ETIMEDOUT)]);
    });
}
