//! Tasks whose futures are not `Send`.
#![cfg(not(loom))]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use executor::{
    Executor, Fifo, NoHooks, Spawner, cpu, current, platform::host::Machine, spawn, spawn_local,
    sync::Completion, yield_now,
};

fn run(ex: &Executor<Fifo>) {
    ex.run_until_idle(&NoHooks);
}

#[test]
fn local_tasks_share_what_is_not_send() {
    let ex = Executor::new(Fifo::new());
    let root = Spawner::new("root").try_spawn_local(|| async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let beside: Vec<_> = (0..3)
            .map(|i| {
                let seen = seen.clone();
                spawn_local("beside", async move {
                    for round in 0..2 {
                        seen.borrow_mut().push((round, i));
                        yield_now().await;
                    }
                    seen
                })
            })
            .collect();
        for task in beside {
            // The output crosses no CPU either.
            assert!(Rc::ptr_eq(&task.await.unwrap(), &seen));
        }
        Rc::into_inner(seen).unwrap().into_inner()
    });
    let root = root.unwrap();
    run(&ex);
    let check = spawn("check", async move {
        let seen = root.await.unwrap();
        assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    });
    run(&ex);
    assert!(check.is_finished());
}

#[test]
fn a_local_task_is_made_and_polled_and_dropped_on_its_cpu_and_not_preempted() {
    struct OnDrop(u32);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            assert_eq!(cpu::id(), self.0);
        }
    }
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    machine.block_on(async move {
        let there = cpus[1];
        let begun = Arc::new(Completion::new());
        let tell = begun.clone();
        let task = Spawner::new("there").cpu(there).try_spawn_local(move || {
            let held = (Rc::new(Cell::new(0)), OnDrop(cpu::id()));
            assert_eq!(cpu::id(), there);
            async move {
                loop {
                    assert_eq!(cpu::id(), there);
                    assert!(!cpu::preemptible());
                    held.0.set(held.0.get() + 1);
                    tell.complete();
                    yield_now().await;
                }
            }
        });
        let task = task.unwrap();
        assert!(task.task().is_pinned());
        for _ in 0..10 {
            begun.wait().await;
            // It is asked to go, and stays.
            task.task().migrate(cpus[0]);
        }
        assert_eq!(task.task().cpu(), there);
        task.abort();
        assert!(task.await.is_err());
    });
}

#[test]
fn an_ordinary_task_spawns_nothing_local_beside_itself() {
    let ex = Executor::new(Fifo::new());
    let task = spawn("may go elsewhere", async {
        assert!(!current().unwrap().is_pinned());
        let spawned = std::panic::catch_unwind(|| spawn_local("beside", async {}).detach());
        assert!(spawned.is_err());
    });
    run(&ex);
    assert!(task.is_finished());
}

#[test]
fn what_was_to_be_made_comes_back_where_there_is_no_executor() {
    let words = String::from("nobody's");
    let make = move || async move { words };
    let Err(failed) = Spawner::new("nowhere").try_spawn_local(make) else {
        panic!("this thread has no executor");
    };
    drop((failed.future)());
}
