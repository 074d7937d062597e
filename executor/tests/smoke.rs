//! The executor as its users see it.
#![cfg(not(loom))]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use executor::{Aborted, Executor, Fifo, NoHooks, Spawner, spawn, sync::WaitQueue, yield_now};

fn run(executor: &Executor<Fifo>) {
    while executor.run_once(&NoHooks) {}
}

#[test]
fn a_spawned_task_runs_and_is_joined() {
    let ex = Executor::new(Fifo::new());
    let inner = spawn("inner", async {
        yield_now().await;
        7
    });
    let outer = spawn("outer", async move { inner.await.unwrap() + 1 });
    run(&ex);
    assert!(outer.is_finished());
    let got = Arc::new(AtomicU32::new(0));
    let out = got.clone();
    spawn("look", async move {
        out.store(outer.await.unwrap(), Ordering::Relaxed)
    })
    .detach();
    run(&ex);
    assert_eq!(got.load(Ordering::Relaxed), 8);
}

#[test]
fn a_prepared_task_waits_for_its_launch() {
    let ex = Executor::new(Fifo::new());
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let task = Spawner::new("prepared").try_prepare(async move {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let task = task.unwrap();
    task.task().wake();
    run(&ex);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    let task = task.launch();
    run(&ex);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert!(task.is_finished());
}

#[test]
fn a_prepared_task_that_is_dropped_never_runs() {
    let ex = Executor::new(Fifo::new());
    let held = Arc::new(());
    let inside = held.clone();
    let task = Spawner::new("prepared").try_prepare(async move {
        unreachable!("{inside:?} is never polled");
    });
    drop(task.unwrap());
    run(&ex);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn an_aborted_task_drops_its_future_and_says_so() {
    struct Bomb(Arc<AtomicU32>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let ex = Executor::new(Fifo::new());
    let drops = Arc::new(AtomicU32::new(0));
    let bomb = Bomb(drops.clone());
    let task = spawn("waits for ever", async move {
        let _bomb = bomb;
        core::future::pending::<()>().await;
    });
    run(&ex);
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    task.abort();
    assert_eq!(drops.load(Ordering::Relaxed), 0, "dropped by its loop only");
    run(&ex);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let joined = spawn("join", task);
    run(&ex);
    assert!(joined.is_finished(), "{joined:?}");
    spawn("check", async move {
        assert_eq!(joined.await.unwrap(), Err(Aborted))
    })
    .detach();
    run(&ex);
}

#[test]
fn dropped_waiter_does_not_swallow_wakeup() {
    let ex = Executor::new(Fifo::new());
    let queue = Arc::new(WaitQueue::new());
    let spawn_waiter = |name| {
        let queue = queue.clone();
        spawn(name, async move { queue.wait().await })
    };
    let (a, b) = (spawn_waiter("a"), spawn_waiter("b"));
    run(&ex);
    assert!(queue.wake_one());
    a.abort();
    run(&ex);
    // `a` was granted the wake-up and woken by it, but dropped before it could use it.
    assert!(a.is_finished() && b.is_finished());
}
