//! Models of the word of an owned descriptor for loom, which tries all executions that the memory model
//! allows: `make loom`.

use loom::sync::Arc;
use loom::thread;

use super::{Error, FIRST, SCHEDULER, Word};

/// Ownerships, as `Ownership::next` numbers them.
const OLD: u64 = FIRST;
const NEW: u64 = 2 * FIRST;

fn registered(ownership: u64, scheduler: u64) -> u64 {
    ownership | scheduler
}

/// A scheduler's task waits for the descriptor for the first time, as `Ownership::register` has it:
/// `None` for one that is raw by now, or another scheduler's.
fn wait_first(word: &Word, scheduler: u64) -> Option<u64> {
    let known = word.load();
    if known == 0 { None } else { word.register(known, scheduler).ok() }
}

fn word(content: u64) -> Arc<Word> {
    let word = Word::new();
    word.take(content);
    Arc::new(word)
}

#[test]
fn of_two_schedulers_one_has_it() {
    loom::model(|| {
        let word = word(OLD);
        let others = word.clone();
        let other = thread::spawn(move || wait_first(&others, 2));
        let this = wait_first(&word, 1);
        match (this, other.join().unwrap()) {
            (Some(_), None) => assert_eq!(word.load(), registered(OLD, 1)),
            (None, Some(_)) => assert_eq!(word.load(), registered(OLD, 2)),
            both => panic!("{both:?}"),
        }
    });
}

#[test]
fn what_is_given_up_is_not_registered_afterwards() {
    loom::model(|| {
        let word = word(OLD);
        let others = word.clone();
        let other = thread::spawn(move || wait_first(&others, 2));
        word.give_up();
        let _ = other.join().unwrap(); // It may have been before.
        assert_eq!(word.load(), 0);
    });
}

/// The number is closed, and another file's that the library has opened, while a scheduler waits for what
/// it had before.
#[test]
fn a_new_ownership_is_not_registered_by_who_waits_for_the_old_one() {
    loom::model(|| {
        let word = word(OLD);
        let others = word.clone();
        let other = thread::spawn(move || wait_first(&others, 2));
        word.give_up();
        word.take(NEW);
        let expected = match other.join().unwrap() {
            Some(entry) if entry == registered(NEW, 2) => entry,
            // Of the old one: what its entry repeats is not the word, and so is not valid.
            Some(entry) => {
                assert_eq!(entry, registered(OLD, 2));
                NEW
            }
            None => NEW,
        };
        assert_eq!(word.load(), expected);
    });
}

/// A scheduler is destroyed, while the number is taken anew, or adopted by another scheduler's task.
#[test]
fn letting_go_leaves_a_new_ownership_alone() {
    loom::model(|| {
        let word = word(registered(OLD, 1));
        let others = word.clone();
        let other = thread::spawn(move || others.let_go(1));
        word.take(NEW);
        other.join().unwrap();
        assert_eq!(word.load(), NEW);
    });
}

#[test]
fn what_is_adopted_while_a_scheduler_lets_go_is_free_or_busy() {
    loom::model(|| {
        let word = word(registered(OLD, 1));
        let others = word.clone();
        let other = thread::spawn(move || others.let_go(1));
        let adopted = word.adopt(NEW, 2);
        other.join().unwrap();
        match adopted {
            Ok(()) => assert_eq!(word.load(), NEW),
            Err(error) => {
                assert_eq!(error, Error::Busy);
                assert_eq!(word.load(), OLD);
            }
        }
    });
}

/// One scheduler's task adopts what another's waits for, for the first time.
#[test]
fn adopting_takes_nothing_from_a_scheduler() {
    loom::model(|| {
        let word = word(OLD);
        let others = word.clone();
        let other = thread::spawn(move || wait_first(&others, 2));
        let adopted = word.adopt(NEW, 1);
        let entry = other.join().unwrap();
        let now = word.load();
        match (adopted, entry) {
            // Whoever has an entry has the word, if nobody else has been told that it is free.
            (Err(error), Some(entry)) => assert_eq!((error, now), (Error::Busy, entry)),
            (Ok(()), Some(entry)) => assert_eq!(now, entry),
            (Ok(()), None) => assert_eq!(now & !SCHEDULER, NEW),
            (Err(_), None) => panic!("nobody has it"),
        }
    });
}
