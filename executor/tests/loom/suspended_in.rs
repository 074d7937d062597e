//! Polls that are left in the midst of each primitive of `executor::sync`, twice in a run, at every pair of points close to
//! each other. Two or three tasks of one CPU, so each pair of points is one run.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use executor::{
    model,
    sync::{
        Completion, Mutex, Notify, RwLock, RwSpinLock, Semaphore, SpinLock, SpinLockBh,
        SpinLockIrq, WaitQueue, channel, oneshot,
    },
    yield_now,
};

use crate::stacks::{Machine, Make, NEVER, at_every_pair_of_points};

/// Points that the second interrupt may come behind the first.
const APART: usize = 24;

const TASKS: usize = 3;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Has three tasks use what `make` gives, each interrupted anywhere.
fn used_by_all<S: Send + Sync + 'static>(
    make: Make,
    shared: S,
    task: fn(Arc<S>, usize) -> Task,
    check: fn(&S),
) {
    let machine = Machine::boot(make);
    let shared = Arc::new(shared);
    for number in 0..TASKS {
        machine.spawn(0, task(shared.clone(), number)).detach();
    }
    machine.run();
    check(&shared);
}

fn at_all<S: Send + Sync + 'static>(
    new: fn() -> S,
    task: fn(Arc<S>, usize) -> Task,
    check: fn(&S),
) {
    let make = Make {
        cpus: 1,
        stacks: 2,
        at: [NEVER; 2],
    };
    at_every_pair_of_points(APART, make, move |make| {
        used_by_all(make, new(), task, check)
    });
}

/// Adds to two numbers that are equal whenever nobody is at it, with a point between.
fn add_twice(pair: &mut [usize; 2]) {
    assert_eq!(pair[0], pair[1]);
    pair[0] += 1;
    model::point();
    pair[1] += 1;
}

struct Spinning {
    plain: SpinLock<[usize; 2]>,
    bh: SpinLockBh<[usize; 2]>,
    irq: SpinLockIrq<[usize; 2]>,
    shared: RwSpinLock<[usize; 2]>,
}

fn spinning() -> Spinning {
    Spinning {
        plain: SpinLock::new([0; 2]),
        bh: SpinLockBh::new([0; 2]),
        irq: SpinLockIrq::new([0; 2]),
        shared: RwSpinLock::new([0; 2]),
    }
}

fn spins(shared: Arc<Spinning>, _: usize) -> Task {
    Box::pin(async move {
        add_twice(&mut shared.plain.lock());
        add_twice(&mut shared.bh.lock());
        add_twice(&mut shared.irq.lock());
        add_twice(&mut shared.shared.write());
        let pair = shared.shared.read();
        assert_eq!(pair[0], pair[1]);
    })
}

fn spun(shared: &Spinning) {
    assert_eq!(*shared.plain.lock(), [TASKS; 2]);
    assert_eq!(*shared.shared.read(), [TASKS; 2]);
}

#[test]
fn spin_locks_are_held_to_their_end() {
    at_all(spinning, spins, spun);
}

mistake!(
    mutant_ignore_guards,
    IgnoreGuards,
    at_all(spinning, spins, spun)
);

#[test]
fn a_mutex_excludes_suspended_owners_too() {
    at_all(
        || Mutex::new([0; 2]),
        |mutex, _| {
            Box::pin(async move {
                let mut pair = mutex.lock().await;
                add_twice(&mut pair);
                yield_now().await;
                add_twice(&mut pair);
            })
        },
        |mutex| assert_eq!(*mutex.try_lock().expect("nobody has it"), [2 * TASKS; 2]),
    );
}

#[test]
fn readers_and_writers_take_turns() {
    at_all(
        || RwLock::new([0; 2]),
        |lock, number| {
            Box::pin(async move {
                if number == 0 {
                    add_twice(&mut *lock.write().await);
                }
                let pair = lock.read().await;
                let seen = pair[0];
                yield_now().await;
                assert_eq!(*pair, [seen; 2]);
            })
        },
        |_| (),
    );
}

#[test]
fn permits_come_back() {
    at_all(
        || (Semaphore::new(2), AtomicUsize::new(0)),
        |shared, number| {
            Box::pin(async move {
                let permits = number.clamp(1, 2);
                let held = shared.0.acquire(permits).await;
                let before = shared.1.fetch_add(permits, SeqCst);
                assert!(before + permits <= 2);
                model::point();
                shared.1.fetch_sub(permits, SeqCst);
                drop(held);
            })
        },
        |shared| assert_eq!(shared.0.available(), 2),
    );
}

#[test]
fn a_channel_carries_all() {
    at_all(
        || {
            let (send, receive) = channel(1);
            (send, receive, AtomicUsize::new(0))
        },
        |shared, number| {
            Box::pin(async move {
                if number > 0 {
                    assert!(shared.0.send(number).await.is_ok());
                    return;
                }
                for _ in 1..TASKS {
                    let value = shared.1.recv().await.expect("a sender lives");
                    shared.2.fetch_add(value, SeqCst);
                }
            })
        },
        |shared| assert_eq!(shared.2.load(SeqCst), 3),
    );
}

struct Signals {
    queue: WaitQueue,
    flag: model::AtomicBool,
    done: Completion,
    notify: Notify,
}

#[test]
fn nobody_waits_for_ever() {
    at_all(
        || Signals {
            queue: WaitQueue::new(),
            flag: model::AtomicBool::new(false),
            done: Completion::new(),
            notify: Notify::new(),
        },
        |shared, number| {
            Box::pin(async move {
                if number == 2 {
                    shared.flag.store(true, SeqCst);
                    shared.queue.wake_all();
                    shared.notify.notify_one();
                    shared.done.complete_all();
                    return;
                }
                let set = || shared.flag.load(SeqCst).then_some(());
                shared.queue.wait_until(set).await;
                if number == 0 {
                    shared.notify.notified().await;
                }
                shared.done.wait().await;
            })
        },
        |_| (),
    );
}

#[test]
fn one_value_is_sent_once() {
    at_all(
        || {
            let (send, receive) = oneshot();
            SpinLock::new((Some(send), Some(receive)))
        },
        |shared, number| {
            Box::pin(async move {
                if number == 0 {
                    let receive = shared.lock().1.take().expect("one task takes it");
                    assert_eq!(receive.await, Some(7));
                } else if number == 1 {
                    let send = shared.lock().0.take().expect("one task takes it");
                    assert!(send.send(7).is_ok());
                }
            })
        },
        |_| (),
    );
}
