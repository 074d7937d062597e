//! Wait queues, and what is made of one: completions, notes, channels.

use std::{future::Future, sync::Arc, task::Context};

use executor::sync::{Completion, Notify as Note, WaitQueue, channel, oneshot};
use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::machine::{block_on, model, poll_once};

fn a_waiter_meets_a_wake() {
    let shared = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
    let other = shared.clone();
    let waker = thread::spawn(move || {
        other.1.store(true, Ordering::Release);
        other.0.wake_one();
    });
    block_on(
        shared
            .0
            .wait_until(|| shared.1.load(Ordering::Acquire).then_some(())),
    );
    waker.join().unwrap();
}

#[test]
fn wait_until_sees_what_was_set_before_the_wake() {
    model(a_waiter_meets_a_wake);
}

mistake!(
    mutant_no_fence_after_join,
    NoFenceAfterJoin,
    model(a_waiter_meets_a_wake)
);

/// A waits and is dropped, B waits, one wake-up: B gets it, however the drop and the wake-up meet.
fn wake_meets_a_dropped_waiter() {
    let queue = Arc::new(WaitQueue::new());
    let mut a = Box::pin(owned_wait(&queue));
    let mut b = Box::pin(owned_wait(&queue));
    let noop = std::task::Waker::noop();
    assert!(a.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    let other = queue.clone();
    let waker = thread::spawn(move || {
        assert!(other.wake_one());
    });
    drop(a);
    waker.join().unwrap();
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_ready());
}

/// A wait that owns its queue, so that the model's threads need no borrows.
fn owned_wait(queue: &Arc<WaitQueue>) -> impl Future<Output = ()> + use<> {
    let queue = queue.clone();
    async move { queue.wait().await }
}

#[test]
fn a_dropped_waiter_hands_its_wakeup_on() {
    model(wake_meets_a_dropped_waiter);
}

mistake!(
    mutant_keep_granted_wake,
    KeepGrantedWake,
    model(wake_meets_a_dropped_waiter)
);

#[test]
fn completion_lets_both_waiters_go() {
    model(|| {
        let done = Arc::new(Completion::new());
        let other = done.clone();
        let waiter = thread::spawn(move || block_on(other.wait()));
        done.complete();
        done.complete();
        block_on(done.wait());
        waiter.join().unwrap();
    });
}

/// A waits for a note and is dropped while one comes; B gets it.
#[test]
fn a_dropped_waiter_for_a_note_hands_it_on() {
    model(|| {
        let note = Arc::new(Note::new());
        let wait = || {
            let note = note.clone();
            Box::pin(async move { note.notified().await })
        };
        let (mut a, mut b) = (wait(), wait());
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        note.notify_one();
        dropper.join().unwrap();
        assert!(poll_once(b.as_mut()).is_ready());
    });
}

#[test]
fn a_dropped_waiter_for_a_completion_hands_it_on() {
    model(|| {
        let done = Arc::new(Completion::new());
        let wait = || {
            let done = done.clone();
            Box::pin(async move { done.wait().await })
        };
        let (mut a, mut b) = (wait(), wait());
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        done.complete();
        dropper.join().unwrap();
        assert!(poll_once(b.as_mut()).is_ready());
    });
}

#[test]
fn a_oneshot_gives_its_value_or_its_end() {
    model(|| {
        let (send, receive) = oneshot();
        let sender = thread::spawn(move || send.send(7));
        assert_eq!(block_on(receive), Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
        let (send, receive) = oneshot::<u32>();
        let sender = thread::spawn(move || drop(send));
        assert_eq!(block_on(receive), None);
        sender.join().unwrap();
    });
}

#[test]
fn channel_of_one_carries_all_values_in_order() {
    model(|| {
        let (send, receive) = channel(1);
        let sender = thread::spawn(move || {
            for i in 0..2 {
                block_on(send.send(i)).unwrap();
            }
        });
        assert_eq!(block_on(receive.recv()), Some(0));
        assert_eq!(block_on(receive.recv()), Some(1));
        assert_eq!(block_on(receive.recv()), None);
        sender.join().unwrap();
    });
}
