//! The validator tells of what may deadlock, without a deadlock.
#![cfg(all(debug_assertions, not(loom)))]

use std::{cell::RefCell, panic::Location};

use executor::{
    cpu,
    sync::{
        SpinLock, SpinLockIrq,
        validator::{self, Report},
    },
};

thread_local! {
    static SEEN: RefCell<Vec<Report>> = const { RefCell::new(Vec::new()) };
}

static NOTE: fn(&Report) = |report| SEEN.with_borrow_mut(|seen| seen.push(*report));

/// What is reported on this thread while `f` runs.
fn reports(f: impl FnOnce()) -> Vec<Report> {
    validator::enable(&NOTE);
    f();
    SEEN.take()
}

fn line_of(site: &Location<'_>) -> u32 {
    assert!(site.file().ends_with("validator.rs"));
    site.line()
}

#[test]
fn an_order_and_its_inversion_are_told_once() {
    let (a, b) = (SpinLock::new(()), SpinLock::new(()));
    let fine = reports(|| {
        for _ in 0..3 {
            let _outer = a.lock();
            let _inner = b.lock();
        }
    });
    assert_eq!(fine, []);
    let told = reports(|| {
        for _ in 0..2 {
            let _outer = b.lock();
            let _inner = a.lock();
        }
    });
    let [Report::Order(held, wanted)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(line_of(held), line_of(wanted));
    assert!(held.column() > wanted.column(), "b, and then a");
    assert!(told[0].to_string().contains("validator.rs"));
}

#[test]
fn a_circle_of_three_is_found_at_its_last_step() {
    let a = SpinLock::new(());
    let b = SpinLockIrq::new(());
    let c = SpinLock::new(());
    assert_eq!(
        reports(|| {
            let _x = a.lock();
            let _y = b.lock();
        }),
        []
    );
    assert_eq!(
        reports(|| {
            let _x = b.lock();
            let _y = c.lock();
        }),
        []
    );
    let told = reports(|| {
        let _x = c.lock();
        let _y = a.lock();
    });
    assert!(matches!(told[..], [Report::Order(..)]), "{told:?}");
}

#[test]
fn two_of_a_class_at_a_time_are_recursion() {
    let make = || SpinLock::new(());
    let (a, b) = (make(), make());
    let told = reports(|| {
        let _a = a.lock();
        let _b = b.lock();
    });
    assert!(matches!(told[..], [Report::Recursion(_)]), "{told:?}");
    assert_eq!(
        reports(|| {
            drop(a.lock());
            drop(b.lock());
        }),
        []
    );
}

#[test]
fn a_lock_open_to_interrupts_under_one_that_they_take_is_told() {
    let (handler, task) = (SpinLockIrq::new(()), SpinLock::new(()));
    let fine = reports(|| {
        // Interrupts are on where this is taken.
        drop(task.lock());
        cpu::hardirq_enter();
        drop(handler.lock());
        cpu::hardirq_exit();
        // The other way round nothing is wrong: who holds the inner one is not interrupted.
        let _outer = task.lock();
        drop(handler.lock());
    });
    assert_eq!(fine, []);
    let told = reports(|| {
        let _outer = handler.lock();
        let _inner = task.lock();
    });
    assert!(
        told.iter().any(|r| matches!(r, Report::Interrupt(..))),
        "{told:?}"
    );
}

#[test]
fn a_guard_left_behind_by_a_poll_is_named() {
    let told = reports(|| {
        let gone = std::panic::catch_unwind(|| {
            let executor = executor::Executor::new(executor::Fifo::new());
            executor::spawn("forgets", async {
                static LOCK: SpinLock<()> = SpinLock::new(());
                std::mem::forget(LOCK.lock());
            })
            .detach();
            executor.run_until_idle(&executor::NoHooks);
        });
        assert!(gone.is_err(), "the executor stops there");
    });
    assert!(
        matches!(told[..], [Report::HeldAtPollEnd(_), ..]),
        "{told:?}"
    );
}

#[test]
fn an_interrupts_locks_are_not_under_those_of_what_it_interrupted() {
    let (task, handler) = (SpinLock::new(()), SpinLockIrq::new(()));
    let told = reports(|| {
        let held = task.lock();
        cpu::hardirq_enter();
        drop(handler.lock());
        cpu::hardirq_exit();
        drop(held);
    });
    assert_eq!(told, []);
    // So this is no inversion, though it is told for another reason.
    let told = reports(|| {
        let _outer = handler.lock();
        let _inner = task.lock();
    });
    assert!(
        !told.iter().any(|r| matches!(r, Report::Order(..))),
        "{told:?}"
    );
}

#[test]
fn a_lock_that_is_given_back_out_of_order_is_forgotten() {
    let (a, b) = (SpinLock::new(()), SpinLock::new(()));
    let told = reports(|| {
        let first = a.lock();
        let second = b.lock();
        drop(first);
        drop(second);
        drop(b.lock());
        drop(a.lock());
    });
    assert_eq!(told, []);
}
