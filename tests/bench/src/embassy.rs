//! The load on embassy's executor for threads of the host.
//!
//! Its tasks are static: storage is made beforehand and is not part of what is measured. A timer belongs to a task there and
//! is never taken out of the queue, so that line has no equal. Channel and mutex are those that threads may share, as ours.

use critical_section as _;
use std::{
    future::Future,
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use embassy_executor::{Executor, SendSpawner, raw::TaskStorage};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, channel::Channel, mutex::Mutex};

use crate::{Peer, work};

pub const PEER: Peer = Peer {
    spawn: Some(|n| run(move |spawner| spawned(spawner, n))),
    wake: Some(|n| run(move |_| work::wake_itself(n))),
    yield_now: Some(|n| run(move |spawner| yielding(spawner, n))),
    cross: Some(crossing),
    channel: Some(|n| run(move |spawner| to_and_fro(spawner, n))),
    timer: None,
    mutex: Some(|n| run(move |_| free_mutex(n))),
    contended: Some(|n| run(move |spawner| contended_mutex(spawner, n))),
};

/// Storage for a task, for ever.
fn storage<F: Future<Output = ()>>(_like: impl Fn() -> F) -> &'static TaskStorage<F> {
    Box::leak(Box::new(TaskStorage::new()))
}

/// Spawns a task in new storage.
fn spawn<F: Future<Output = ()> + Send + 'static>(spawner: SendSpawner, future: F) {
    let storage = Box::leak(Box::new(TaskStorage::<F>::new()));
    spawner.spawn(storage.spawn(|| future).expect("it is free"));
}

/// Runs what `load` makes as a task.
fn run<T, F>(load: impl FnOnce(SendSpawner) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let result = Arc::new(StdMutex::new(None));
    let done = Arc::new(AtomicBool::new(false));
    let (give, tell) = (result.clone(), done.clone());
    let executor = Box::leak(Box::new(Executor::new()));
    executor.run_until(
        |spawner| {
            let spawner = spawner.make_send();
            spawn(spawner, async move {
                let output = load(spawner).await;
                *give.lock().unwrap() = Some(output);
                tell.store(true, Ordering::Release);
            });
        },
        || done.load(Ordering::Acquire),
    );
    result.lock().unwrap().take().expect("the load has ended")
}

/// What `embassy_futures::yield_now` is.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

async fn end(ended: &'static AtomicUsize) {
    ended.fetch_add(1, Ordering::Relaxed);
}

async fn spawned(spawner: SendSpawner, n: usize) -> Duration {
    let ended: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    // The tasks' places are used again, as in a pool.
    let places: Vec<_> = (0..100).map(|_| storage(|| end(ended))).collect();
    let begun = Instant::now();
    for i in 0..n {
        let token = places[i % 100].spawn(|| end(ended));
        spawner.spawn(token.expect("the one before has ended"));
        // The queue may turn to this task first.
        while i % 100 == 99 && ended.load(Ordering::Relaxed) <= i {
            yield_now().await;
        }
    }
    begun.elapsed()
}

async fn yielding(spawner: SendSpawner, n: usize) -> Duration {
    let begun = Instant::now();
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    spawn(spawner, async move {
        for _ in 0..n / 2 {
            yield_now().await;
        }
        end.store(true, Ordering::Release);
    });
    for _ in 0..n / 2 {
        yield_now().await;
    }
    while !ended.load(Ordering::Acquire) {
        yield_now().await;
    }
    begun.elapsed()
}

fn crossing(n: usize) -> Duration {
    let cross = Arc::<work::Cross>::default();
    let thread = cross.clone().ask(n);
    run(move |_| cross.answer(n));
    thread.join().expect("it ends")
}

type Pipe = Channel<CriticalSectionRawMutex, usize, 1>;

async fn to_and_fro(spawner: SendSpawner, n: usize) -> Duration {
    let pipes: &'static [Pipe; 2] = Box::leak(Box::new([Channel::new(), Channel::new()]));
    spawn(spawner, async move {
        for _ in 0..n {
            pipes[1].send(pipes[0].receive().await).await;
        }
    });
    let begun = Instant::now();
    for i in 0..n {
        pipes[0].send(i).await;
        assert_eq!(pipes[1].receive().await, i);
    }
    begun.elapsed()
}

async fn free_mutex(n: usize) -> Duration {
    let mutex = Mutex::<CriticalSectionRawMutex, usize>::new(0);
    let begun = Instant::now();
    for _ in 0..n {
        *mutex.lock().await += 1;
    }
    begun.elapsed()
}

async fn contended_mutex(spawner: SendSpawner, n: usize) -> Duration {
    let mutex = Arc::new(Mutex::<CriticalSectionRawMutex, usize>::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    for _ in 0..4 {
        let (mutex, ended) = (mutex.clone(), ended.clone());
        spawn(spawner, async move {
            for _ in 0..n / 4 {
                let mut held = mutex.lock().await;
                yield_now().await;
                *held += 1;
            }
            ended.fetch_add(1, Ordering::Release);
        });
    }
    while ended.load(Ordering::Acquire) < 4 {
        yield_now().await;
    }
    begun.elapsed()
}
