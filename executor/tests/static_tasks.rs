//! Tasks in static places.
#![cfg(not(loom))]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use executor::{
    Executor, Fifo, NoHooks, SpawnErrorKind, Spawner, TaskSlot, spawn, sync::Completion, yield_now,
};

fn run(ex: &Executor<Fifo>) {
    ex.run_until_idle(&NoHooks);
}

#[test]
fn a_place_is_taken_until_the_last_reference_goes() {
    static SLOT: TaskSlot<512> = TaskSlot::new();
    let ex = Executor::new(Fifo::new());
    let held = Arc::new(());
    let inside = held.clone();
    let task = SLOT.try_spawn(Spawner::new("first"), async move {
        yield_now().await;
        inside
    });
    let task = task.unwrap();
    let occupied = |future| {
        SLOT.try_spawn(Spawner::new("second"), future)
            .map_err(|e| e.kind)
    };
    assert_eq!(
        occupied(pending::<()>()).unwrap_err(),
        SpawnErrorKind::Occupied
    );
    run(&ex);
    assert!(task.is_finished() && SLOT.is_taken(), "its output is in it");
    let reference = task.task().clone();
    let joins = spawn("joins", async move { drop(task.await) });
    run(&ex);
    assert!(joins.is_finished());
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(SLOT.is_taken(), "it is referred to");
    assert_eq!(reference.name(), "first");
    drop(reference);
    assert!(!SLOT.is_taken());
    let again = occupied(pending::<()>()).unwrap();
    again.abort();
    run(&ex);
    drop(again);
    assert!(!SLOT.is_taken());
}

#[test]
fn an_aborted_task_in_a_place_drops_its_future_there() {
    static SLOT: TaskSlot<512> = TaskSlot::new();
    let ex = Executor::new(Fifo::new());
    let held = Arc::new(());
    for round in 0..3 {
        let inside = held.clone();
        let task = SLOT.try_spawn(Spawner::new("waits"), async move {
            let _inside = inside;
            pending::<()>().await;
        });
        let task = task.unwrap();
        run(&ex);
        assert_eq!(Arc::strong_count(&held), 2, "round {round}");
        task.abort();
        run(&ex);
        assert_eq!(Arc::strong_count(&held), 1);
    }
    assert!(!SLOT.is_taken());
}

#[test]
fn a_place_stays_free_where_there_is_no_executor() {
    static SLOT: TaskSlot<512> = TaskSlot::new();
    // Each test has a thread, and so a CPU, of its own.
    let failed = SLOT.try_spawn(Spawner::new("nowhere"), async {});
    assert_eq!(failed.unwrap_err().kind, SpawnErrorKind::NoExecutor);
    assert!(!SLOT.is_taken());
}

#[test]
fn many_places_are_used_again_and_again() {
    static SLOTS: [TaskSlot<512>; 8] = [const { TaskSlot::new() }; 8];
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let ex = Executor::new(Fifo::new());
    let done = Arc::new(Completion::new());
    // Miri takes its time.
    for round in 0..if cfg!(miri) { 5 } else { 100 } {
        for slot in &SLOTS {
            let done = done.clone();
            let task = slot.try_spawn(Spawner::new("again"), async move {
                RUNS.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
                done.complete();
            });
            task.unwrap().detach();
        }
        run(&ex);
        assert_eq!(RUNS.load(Ordering::Relaxed), 8 * (round + 1));
    }
}
