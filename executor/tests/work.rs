//! Work that is put off.
#![cfg(not(loom))]

use std::{
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};

use executor::{
    Executor, Fifo, NoHooks, Spawner, cpu,
    platform::{VirtualTime, host::Machine},
    spawn,
    sync::{Completion, Semaphore},
    time::Instant,
    work::{DelayedWork, Work, WorkQueue},
    yield_now,
};

type Trace = Arc<StdMutex<Vec<String>>>;

fn run(ex: &Executor<Fifo>) {
    ex.run_until_idle(&NoHooks);
}

fn take(trace: &Trace) -> Vec<String> {
    std::mem::take(&mut *trace.lock().unwrap())
}

/// A work that notes its begin, waits for a permit, and notes its end.
fn noting(queue: &WorkQueue, trace: &Trace, go: &Arc<Semaphore>, name: &'static str) -> Work {
    let (trace, go) = (trace.clone(), go.clone());
    let make = move || {
        let (trace, go) = (trace.clone(), go.clone());
        async move {
            trace.lock().unwrap().push(format!("{name}+"));
            go.acquire(1).await.forget();
            trace.lock().unwrap().push(format!("{name}-"));
        }
    };
    queue.work(Spawner::new(name), make).unwrap()
}

fn machine() -> (Executor<Fifo>, Trace, Arc<Semaphore>) {
    (
        Executor::new(Fifo::new()),
        Trace::default(),
        Arc::new(Semaphore::new(0)),
    )
}

#[test]
fn an_ordered_queue_runs_one_after_the_other_in_order() {
    let (ex, trace, go) = machine();
    let queue = WorkQueue::ordered();
    let works = ["a", "b", "c"].map(|name| noting(&queue, &trace, &go, name));
    for i in [2, 0, 1] {
        assert!(works[i].queue());
    }
    run(&ex);
    assert_eq!(take(&trace), ["c+"]);
    go.release(3);
    run(&ex);
    assert_eq!(take(&trace), ["c-", "a+", "a-", "b+", "b-"]);
    drop(works);
    run(&ex);
}

#[test]
fn max_active_bounds_what_is_under_way() {
    let (ex, trace, go) = machine();
    let queue = WorkQueue::new(2);
    let works = ["a", "b", "c"].map(|name| noting(&queue, &trace, &go, name));
    works.iter().for_each(|w| assert!(w.queue()));
    run(&ex);
    assert_eq!(take(&trace), ["a+", "b+"]);
    go.release(1);
    run(&ex);
    assert_eq!(take(&trace), ["a-", "c+"]);
    go.release(2);
    run(&ex);
    drop(works);
    run(&ex);
}

#[test]
fn requests_before_a_run_are_one_and_a_run_is_not_doubled() {
    let (ex, trace, go) = machine();
    let queue = WorkQueue::new(8);
    let work = noting(&queue, &trace, &go, "w");
    assert!(work.queue());
    run(&ex);
    assert!(work.queue(), "the run has started: this is for another");
    assert!(!work.queue(), "and this is for the same");
    run(&ex);
    assert_eq!(take(&trace), ["w+"], "never twice at a time");
    go.release(2);
    run(&ex);
    assert_eq!(take(&trace), ["w-", "w+", "w-"]);
    drop(work);
    run(&ex);
}

#[test]
fn flush_waits_for_what_was_queued_and_no_more() {
    let (ex, trace, go) = machine();
    let queue = Arc::new(WorkQueue::ordered());
    let (a, b) = (
        noting(&queue, &trace, &go, "a"),
        noting(&queue, &trace, &go, "b"),
    );
    a.queue();
    run(&ex);
    let flushed = queue.clone();
    let flush = spawn("flush", async move { flushed.flush().await });
    run(&ex);
    b.queue();
    assert!(!flush.is_finished());
    go.release(1);
    run(&ex);
    assert!(flush.is_finished());
    assert_eq!(take(&trace), ["a+", "a-", "b+"]);
    drop((a, b));
    run(&ex);
}

#[test]
fn cancel_takes_back_what_waits_and_waits_for_what_runs() {
    let (ex, trace, go) = machine();
    let queue = WorkQueue::ordered();
    let (a, b) = (
        Arc::new(noting(&queue, &trace, &go, "a")),
        Arc::new(noting(&queue, &trace, &go, "b")),
    );
    a.queue();
    b.queue();
    run(&ex);
    let (running, waiting) = (a.clone(), b.clone());
    let cancel_b = spawn("cancel b", async move { waiting.cancel().await });
    let cancel_a = spawn("cancel a", async move { running.cancel().await });
    run(&ex);
    assert!(cancel_b.is_finished() && !cancel_a.is_finished());
    go.release(1);
    run(&ex);
    assert!(cancel_a.is_finished());
    assert_eq!(take(&trace), ["a+", "a-"]);
    spawn("check", async move {
        assert_eq!((cancel_a.await, cancel_b.await), (Ok(false), Ok(true)))
    })
    .detach();
    run(&ex);
    drop((a, b));
    run(&ex);
}

#[test]
fn dropping_a_running_work_lets_the_next_start() {
    let (ex, trace, go) = machine();
    let queue = WorkQueue::ordered();
    let (a, b) = (
        noting(&queue, &trace, &go, "a"),
        noting(&queue, &trace, &go, "b"),
    );
    a.queue();
    b.queue();
    run(&ex);
    drop(a);
    run(&ex);
    assert_eq!(take(&trace), ["a+", "b+"]);
    drop(b);
    run(&ex);
}

#[test]
fn drain_lets_works_queue_works_but_nobody_else() {
    let (ex, trace, go) = machine();
    let queue = Arc::new(WorkQueue::new(4));
    let second = Arc::new(noting(&queue, &trace, &go, "second"));
    let chained = second.clone();
    let first = queue
        .work(Spawner::new("first"), move || {
            let chained = chained.clone();
            async move {
                yield_now().await;
                assert!(chained.queue());
            }
        })
        .unwrap();
    first.queue();
    let drained = queue.clone();
    let drain = spawn("drain", async move { drained.drain().await });
    // The drain begins before the work gets to queue another.
    run(&ex);
    assert_eq!(take(&trace), ["second+"]);
    assert!(!first.queue(), "from outside it is refused");
    assert!(!drain.is_finished());
    go.release(1);
    run(&ex);
    assert!(drain.is_finished());
    assert!(first.queue(), "afterwards it is taken again");
    drop((first, second));
    run(&ex);
}

#[test]
fn destroy_ends_the_works_tasks() {
    let (ex, trace, go) = machine();
    let queue = WorkQueue::new(1);
    let work = noting(&queue, &trace, &go, "w");
    work.queue();
    go.release(1);
    let destroy = spawn("destroy", queue.destroy());
    run(&ex);
    assert!(destroy.is_finished());
    assert_eq!(take(&trace), ["w+", "w-"]);
    assert!(!work.queue());
}

#[test]
fn delayed_work_runs_at_its_time_which_may_be_moved_or_taken_back() {
    let clock = VirtualTime::install();
    let (ex, trace, go) = machine();
    go.release(100);
    let queue = WorkQueue::new(1);
    let work = Arc::new(DelayedWork::new(noting(&queue, &trace, &go, "w")));
    assert!(work.queue_after(Duration::from_nanos(10)));
    assert!(!work.queue_after(Duration::from_nanos(20)), "moved");
    clock.advance_to(Instant::from_ns(15));
    run(&ex);
    assert_eq!(take(&trace), Vec::<String>::new());
    clock.advance_to(Instant::from_ns(20));
    run(&ex);
    assert_eq!(take(&trace), ["w+", "w-"]);
    work.queue_after(Duration::from_nanos(10));
    let cancelled = work.clone();
    let cancel = spawn("cancel", async move { assert!(cancelled.cancel().await) });
    run(&ex);
    assert!(cancel.is_finished());
    clock.advance_to(Instant::from_ns(50));
    run(&ex);
    assert_eq!(take(&trace), Vec::<String>::new());
    drop(work);
    run(&ex);
}

#[test]
fn queue_on_runs_where_it_says() {
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    machine.block_on(async move {
        let queue = WorkQueue::new(1);
        let seen = Arc::new(StdMutex::new(Vec::new()));
        let done = Arc::new(Completion::new());
        let (note, tell) = (seen.clone(), done.clone());
        let make = move || {
            let (note, tell) = (note.clone(), tell.clone());
            async move {
                note.lock().unwrap().push(cpu::id());
                tell.complete();
            }
        };
        let work = queue.work(Spawner::new("here and there"), make).unwrap();
        for to in [cpus[1], cpus[0], cpus[1]] {
            work.queue_on(to);
            done.wait().await;
            work.flush().await;
        }
        assert_eq!(*seen.lock().unwrap(), [cpus[1], cpus[0], cpus[1]]);
        queue.destroy().await;
    });
}
