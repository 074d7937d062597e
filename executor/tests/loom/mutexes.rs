//! Locks whose holders may wait.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use executor::sync::{Mutex, RwLock, Semaphore, WwClass, WwContext, WwMutex};
use loom::thread;

use crate::machine::{block_on, model, poll_once};

#[test]
fn mutex_excludes_and_is_handed_over() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let other = mutex.clone();
        let t = thread::spawn(move || {
            *block_on(other.lock()) += 1;
        });
        *block_on(mutex.lock()) += 1;
        t.join().unwrap();
        assert_eq!(*block_on(mutex.lock()), 2);
    });
}

/// A waits and is dropped while the holder unlocks; B must get the mutex.
fn unlock_meets_a_dropped_waiter() {
    let mutex = Arc::new(Mutex::new(()));
    let wait = |mutex: &Arc<Mutex<()>>| {
        let mutex = mutex.clone();
        Box::pin(async move { drop(mutex.lock().await) })
    };
    let guard = mutex.try_lock().unwrap();
    let (mut a, mut b) = (wait(&mutex), wait(&mutex));
    let noop = std::task::Waker::noop();
    assert!(a.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    let dropper = thread::spawn(move || drop(a));
    drop(guard);
    dropper.join().unwrap();
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_ready());
    assert!(!mutex.is_locked());
}

#[test]
fn a_dropped_mutex_waiter_hands_the_mutex_on() {
    model(unlock_meets_a_dropped_waiter);
}

mistake!(
    mutant_keep_granted_permits,
    KeepGrantedPermits,
    model(unlock_meets_a_dropped_waiter)
);

/// A waits for two permits and is dropped, B waits for one: a release meets the drop, and B gets its permit.
#[test]
fn a_dropped_semaphore_waiter_hands_its_permits_on() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let wait = |n| {
            let semaphore = semaphore.clone();
            Box::pin(async move { semaphore.acquire(n).await.forget() })
        };
        let (mut a, mut b) = (wait(2), wait(1));
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        semaphore.release(1);
        dropper.join().unwrap();
        assert!(poll_once(b.as_mut()).is_ready());
        assert_eq!(semaphore.available(), 0);
    });
}

/// A writer that waits is dropped while the reader goes; a reader behind it comes in.
#[test]
fn a_dropped_writer_lets_readers_in() {
    model(|| {
        let lock = Arc::new(RwLock::new(()));
        let (w, r) = (lock.clone(), lock.clone());
        let held = lock.try_read().unwrap();
        let mut writer = Box::pin(async move { drop(w.write().await) });
        let mut reader = Box::pin(async move { drop(r.read().await) });
        assert!(poll_once(writer.as_mut()).is_pending() && poll_once(reader.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(writer));
        drop(held);
        dropper.join().unwrap();
        assert!(poll_once(reader.as_mut()).is_ready());
        assert!(!lock.is_locked());
    });
}

/// Two contexts take two mutexes from either end: one of them is refused, and nobody waits for ever.
fn two_contexts_take_two_mutexes() {
    let pair = Arc::new([WwMutex::new(0), WwMutex::new(0)]);
    let class = Arc::new(WwClass::new());
    let both = |pair: Arc<[WwMutex<u32>; 2]>, context: WwContext, from: usize| async move {
        let (mut first, mut second) = (&pair[from], &pair[1 - from]);
        loop {
            let mut a = first.lock_slow(&context).await;
            if let Ok(mut b) = second.lock(&context).await {
                *a += 1;
                *b += 1;
                return;
            }
            drop(a);
            std::mem::swap(&mut first, &mut second);
        }
    };
    let (mine, theirs) = (WwContext::new(&class), WwContext::new(&class));
    let other = pair.clone();
    let t = thread::spawn(move || block_on(both(other, theirs, 1)));
    block_on(both(pair.clone(), mine, 0));
    t.join().unwrap();
    let context = WwContext::new(&class);
    assert!(
        pair.iter()
            .all(|m| m.try_lock(&context).is_some_and(|n| *n == 2))
    );
}

#[test]
fn wait_wound_contexts_do_not_deadlock() {
    model(two_contexts_take_two_mutexes);
}

mistake!(
    mutant_let_the_younger_wait,
    LetTheYoungerWait,
    model(two_contexts_take_two_mutexes)
);

#[test]
fn a_dropped_wait_wound_waiter_hands_the_mutex_on() {
    model(|| {
        let mutex = Arc::new(WwMutex::new(()));
        let class = WwClass::new();
        let wait = |context: WwContext| {
            let mutex = mutex.clone();
            Box::pin(async move { mutex.lock(&context).await.is_ok() })
        };
        let mine = WwContext::new(&class);
        let held = mutex.try_lock(&mine).unwrap();
        let (mut a, mut b) = (wait(WwContext::new(&class)), wait(WwContext::new(&class)));
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        drop(held);
        dropper.join().unwrap();
        assert_eq!(poll_once(b.as_mut()), Poll::Ready(true));
    });
}
