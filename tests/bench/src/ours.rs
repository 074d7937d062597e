//! The load on our executor.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use executor::{
    platform::host::block_on,
    spawn,
    sync::{Mutex, channel},
    time::sleep,
    yield_now,
};

use crate::{ARMED, Peer, work};

pub const PEER: Peer = Peer {
    spawn: Some(|n| run(spawned(n))),
    wake: Some(|n| run(work::wake_itself(n))),
    yield_now: Some(|n| run(yielding(n))),
    cross: Some(crossing),
    channel: Some(|n| run(to_and_fro(n))),
    timer: Some(|n| run(timers(n))),
    mutex: Some(|n| run(free_mutex(n))),
    contended: Some(|n| run(contended_mutex(n))),
};

/// Runs `load` as a task.
fn run<T: Send + 'static>(load: impl Future<Output = T> + Send + 'static) -> T {
    block_on(async { spawn("load", load).await.expect("nobody aborts it") })
}

async fn spawned(n: usize) -> Duration {
    let ended: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    for i in 0..n {
        spawn("ends", async move {
            ended.fetch_add(1, Ordering::Relaxed);
        })
        .detach();
        if i % 100 == 99 {
            yield_now().await;
        }
    }
    while ended.load(Ordering::Relaxed) < n {
        yield_now().await;
    }
    begun.elapsed()
}

async fn yielding(n: usize) -> Duration {
    let begun = Instant::now();
    let other = spawn("other", async move {
        for _ in 0..n / 2 {
            yield_now().await;
        }
    });
    for _ in 0..n / 2 {
        yield_now().await;
    }
    other.await.expect("nobody aborts it");
    begun.elapsed()
}

fn crossing(n: usize) -> Duration {
    let cross = Arc::<work::Cross>::default();
    let thread = cross.clone().ask(n);
    run(cross.answer(n));
    thread.join().expect("it ends")
}

async fn to_and_fro(n: usize) -> Duration {
    let (there, from_here) = channel(1);
    let (here, from_there) = channel(1);
    spawn("echo", async move {
        while let Some(i) = from_here.recv().await {
            let _ = here.send(i).await;
        }
    })
    .detach();
    let begun = Instant::now();
    for i in 0..n {
        let _ = there.send(i).await;
        assert_eq!(from_there.recv().await, Some(i));
    }
    begun.elapsed()
}

async fn timers(n: usize) -> Duration {
    let hour = |i: usize| {
        sleep(Duration::from_secs(3600) + Duration::from_micros(i as u64 * 7919 % 1_000_003))
    };
    let mut armed: Vec<_> = (0..ARMED).map(|i| Box::pin(hour(i))).collect();
    for timer in &mut armed {
        work::touch(timer.as_mut()).await;
    }
    let begun = Instant::now();
    for i in 0..n {
        work::touch(hour(i)).await;
    }
    begun.elapsed()
}

async fn free_mutex(n: usize) -> Duration {
    let mutex = Mutex::new(0_usize);
    let begun = Instant::now();
    for _ in 0..n {
        *mutex.lock().await += 1;
    }
    begun.elapsed()
}

async fn contended_mutex(n: usize) -> Duration {
    let mutex = Arc::new(Mutex::new(0_usize));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let mutex = mutex.clone();
            spawn("wants", async move {
                for _ in 0..n / 4 {
                    let mut held = mutex.lock().await;
                    yield_now().await;
                    *held += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("nobody aborts it");
    }
    begun.elapsed()
}
