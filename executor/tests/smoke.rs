//! The executor as its users see it.
#![cfg(not(loom))]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use executor::{
    Aborted, Budget, Executor, Fifo, NoHooks, Spawner, spawn, sync::WaitQueue, yield_now,
};

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

#[test]
fn a_loop_that_is_always_ready_makes_way_on_its_budget() {
    let ex = Executor::new(Fifo::new());
    let trace = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = trace.clone();
    spawn("always ready", async move {
        let mut budget = Budget::new(4);
        for i in 0..10 {
            noted.lock().unwrap().push(i);
            std::future::ready(()).await;
            budget.spend(1).await;
        }
    })
    .detach();
    let noted = trace.clone();
    spawn("other", async move {
        for _ in 0..3 {
            noted.lock().unwrap().push(100);
            yield_now().await;
        }
    })
    .detach();
    run(&ex);
    let seen = std::mem::take(&mut *trace.lock().unwrap());
    assert_eq!(seen, [0, 1, 2, 3, 100, 4, 5, 6, 7, 100, 8, 9, 100]);
}

#[test]
fn a_budget_ends_early_where_another_task_is_to_run() {
    let ex = Executor::new(Fifo::new());
    let event = Arc::new(executor::irq::IrqEvent::new());
    let (waits, raises) = (event.clone(), event);
    let woken = spawn("woken", async move { waits.wait().await });
    run(&ex);
    let busy = spawn("busy", async move {
        let mut budget = Budget::new(1000);
        budget.spend(1).await;
        assert_eq!(budget.left(), 999);
        raises.raise();
        budget.spend(1).await;
        assert_eq!(budget.left(), 1000, "a new turn");
    });
    run(&ex);
    assert!(woken.is_finished());
    assert_eq!(busy.task().polls(), 2);
}
