//! Work that is put off.
#![cfg(not(loom))]

use std::{
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};

use executor::{
    EnqueueKind, Executor, Fifo, NoHooks, Policy, RunList, Runnable, Running, Urgency, cpu,
    platform::{VirtualTime, host::Machine},
    spawn,
    sync::{Completion, Semaphore},
    time::Instant,
    work::{Config, DelayedWork, Freezer, Work, WorkQueue, set_power_efficient},
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
    queue.work(name, make).unwrap()
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
    let queue = Config::new("test").ordered().build();
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
    let queue = Config::new("test").max_active(2).build();
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
    let queue = Config::new("test").max_active(8).build();
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
    let queue = Arc::new(Config::new("test").ordered().build());
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
    let queue = Config::new("test").ordered().build();
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
    let queue = Config::new("test").ordered().build();
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
    let queue = Arc::new(Config::new("test").max_active(4).build());
    let second = Arc::new(noting(&queue, &trace, &go, "second"));
    let chained = second.clone();
    let first = queue
        .work("first", move || {
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
    let queue = Config::new("test").max_active(1).build();
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
    let queue = Config::new("test").max_active(1).build();
    let work = Arc::new(DelayedWork::new(noting(&queue, &trace, &go, "w")));
    assert!(work.queue_after(Duration::from_nanos(10)));
    assert!(!work.queue_after(Duration::ZERO), "it has its time");
    assert!(work.modify(Duration::from_nanos(20)), "moved");
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
        let queue = Config::new("test").max_active(1).build();
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
        let work = queue.work("here and there", make).unwrap();
        for to in [cpus[1], cpus[0], cpus[1]] {
            work.queue_on(to);
            done.wait().await;
            work.flush().await;
        }
        assert_eq!(*seen.lock().unwrap(), [cpus[1], cpus[0], cpus[1]]);
        queue.destroy().await;
    });
}

#[test]
fn delayed_work_is_pending_until_it_runs_and_runs_where_it_says() {
    let clock = VirtualTime::install();
    let (ex, trace, go) = machine();
    let queue = Config::new("test").max_active(1).build();
    let busy = noting(&queue, &trace, &go, "busy");
    let work = DelayedWork::new(noting(&queue, &trace, &go, "w"));
    busy.queue();
    run(&ex);
    assert_eq!(take(&trace), ["busy+"]);
    // No delay: queued at once, so that a time to come is refused, and moving it takes it back.
    assert!(work.queue_after(Duration::ZERO) && work.work().is_queued());
    assert!(!work.queue_after_on(cpu::id(), Duration::from_nanos(5)));
    assert!(work.modify(Duration::from_nanos(7)) && !work.work().is_queued());
    go.release(100);
    run(&ex);
    assert_eq!(take(&trace), ["busy-"]);
    clock.advance_to(Instant::from_ns(6));
    assert!(work.is_pending() && !work.work().is_queued());
    clock.advance_to(Instant::from_ns(7));
    run(&ex);
    assert_eq!(take(&trace), ["w+", "w-"]);
    assert!(!work.is_pending() && !work.try_cancel());
    assert!(work.queue_after_on(cpu::id(), Duration::from_nanos(5)));
    assert!(work.try_cancel() && !work.is_pending());
    drop((work, busy));
    run(&ex);
}

#[test]
fn a_bound_queue_counts_for_each_cpu_and_an_unbound_one_for_all() {
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    for (config, together) in [
        (Config::new("bound").max_active(1), 2),
        (Config::new("unbound").unbound().max_active(1), 1),
        (Config::new("ordered").ordered(), 1),
    ] {
        let cpus = cpus.clone();
        machine.block_on(async move {
            let queue = config.build();
            let (go, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Completion::new()));
            let works: Vec<_> = (0..4)
                .map(|_| {
                    let (go, begun) = (go.clone(), begun.clone());
                    let make = move || {
                        let (go, begun) = (go.clone(), begun.clone());
                        async move {
                            begun.complete();
                            go.acquire(1).await.forget();
                        }
                    };
                    queue.work("counted", make).unwrap()
                })
                .collect();
            for (i, work) in works.iter().enumerate() {
                assert!(work.queue_on(cpus[i % 2]));
            }
            assert_eq!(queue.active(), together);
            for _ in 0..together {
                begun.wait().await;
            }
            for _ in together..4 {
                go.release(1);
                begun.wait().await;
                assert!(queue.active() <= together);
            }
            go.release(4);
            queue.flush().await;
            assert_eq!(queue.active(), 0);
            drop(works);
            queue.destroy().await;
        });
    }
}

#[test]
fn a_run_asked_for_elsewhere_does_not_lead_one_under_way_astray() {
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    machine.block_on(async move {
        for config in [Config::new("bound"), Config::new("unbound").unbound()] {
            let queue = config.build();
            let runs = Arc::new(StdMutex::new(0));
            let count = runs.clone();
            let make = move || {
                let count = count.clone();
                async move { *count.lock().unwrap() += 1 }
            };
            let work = queue.work("to and fro", make).unwrap();
            let mut asked = 0;
            for round in 0..500 {
                // The second comes while the first is on its way.
                asked += usize::from(work.queue_on(cpus[round % 2]));
                asked += usize::from(work.queue_on(cpus[(round + 1) % 2]));
                if round % 16 == 0 {
                    yield_now().await;
                }
            }
            queue.flush().await;
            assert_eq!(*runs.lock().unwrap(), asked);
            queue.destroy().await;
        }
    });
}

#[test]
fn a_run_is_pending_until_it_begins() {
    let (ex, trace, go) = machine();
    go.release(9);
    let queue = Config::new("test").max_active(1).build();
    let works = ["a", "b"].map(|name| noting(&queue, &trace, &go, name));
    assert!(works[0].queue() && works[1].queue());
    assert!(
        works[0].is_queued() && !works[0].queue(),
        "its task has not been polled"
    );
    // Taken back before it began, it makes room for the next.
    assert!(works[0].try_cancel() && !works[0].is_queued());
    run(&ex);
    assert_eq!(take(&trace), ["b+", "b-"]);
    assert!(works[0].queue());
    run(&ex);
    assert_eq!(take(&trace), ["a+", "a-"]);
    assert_eq!(queue.active(), 0);
    drop(works);
    run(&ex);
}

#[test]
fn more_may_be_under_way_when_the_bound_is_raised() {
    let (ex, trace, go) = machine();
    let queue = Config::new("test").max_active(1).build();
    let works = ["a", "b", "c"].map(|name| noting(&queue, &trace, &go, name));
    works.iter().for_each(|w| assert!(w.queue()));
    run(&ex);
    assert_eq!(take(&trace), ["a+"]);
    queue.set_max_active(2);
    run(&ex);
    assert_eq!(take(&trace), ["b+"]);
    go.release(3);
    run(&ex);
    drop(works);
    run(&ex);
}

#[test]
fn a_frozen_queue_starts_nothing_and_what_runs_is_waited_for() {
    let (ex, trace, go) = machine();
    let freezer = Freezer::new();
    let queue = Config::new("freezes").freezable(&freezer).build();
    let other = Config::new("does not").build();
    let (a, b, c) = (
        noting(&queue, &trace, &go, "a"),
        noting(&queue, &trace, &go, "b"),
        noting(&other, &trace, &go, "c"),
    );
    a.queue();
    run(&ex);
    assert_eq!(take(&trace), ["a+"]);
    let ice = freezer.clone();
    let freeze = spawn("freeze", async move { ice.freeze().await });
    run(&ex);
    assert!(freezer.is_frozen() && !freeze.is_finished(), "a runs");
    assert!(b.queue() && c.queue());
    run(&ex);
    assert_eq!(take(&trace), ["c+"]);
    go.release(2);
    run(&ex);
    assert_eq!(take(&trace), ["a-", "c-"]);
    assert!(freeze.is_finished() && b.is_queued());
    // One that is made meanwhile is frozen as well.
    let late = Config::new("late").freezable(&freezer).build();
    let d = noting(&late, &trace, &go, "d");
    d.queue();
    run(&ex);
    assert_eq!(take(&trace), Vec::<String>::new());
    go.release(2);
    freezer.thaw();
    run(&ex);
    assert_eq!(take(&trace), ["b+", "b-", "d+", "d-"]);
    drop((a, b, c, d));
    run(&ex);
}

#[test]
fn power_efficient_queues_are_bound_unless_the_machine_saves_power() {
    let wakes_here = |config: Config| {
        let machine = Machine::start(2);
        let there = machine.cpus()[1];
        machine.block_on(async move {
            let queue = config.max_active(1).build();
            let go = Arc::new(Semaphore::new(0));
            let works = [0; 2].map(|_| {
                let go = go.clone();
                let make = move || {
                    let go = go.clone();
                    async move { go.acquire(1).await.forget() }
                };
                queue.work("saves", make).unwrap()
            });
            assert!(works[0].queue_on(there) && works[1].queue());
            let active = queue.active();
            go.release(2);
            queue.flush().await;
            drop(works);
            queue.destroy().await;
            active
        })
    };
    assert_eq!(wakes_here(Config::new("usual").power_efficient()), 2);
    set_power_efficient(true);
    let saving = Config::new("saving").power_efficient();
    set_power_efficient(false);
    assert_eq!(wakes_here(saving), 1);
}

/// Urgent tasks first.
#[derive(Default)]
struct ByUrgency([RunList<Self>; 2]);

impl Policy for ByUrgency {
    type Entity = Urgency;
    const TIMED: bool = false;

    fn entity(urgency: Urgency) -> Urgency {
        urgency
    }

    fn enqueue(
        &mut self,
        task: Runnable<Self>,
        _: EnqueueKind,
        _: Option<&mut Running<Self>>,
        _: Instant,
    ) -> bool {
        let urgent = usize::from(*task.entity() == Urgency::High);
        self.0[1 - urgent].push_back(task);
        true
    }

    fn pick(&mut self, _: Instant) -> Option<Runnable<Self>> {
        self.0.iter_mut().find_map(RunList::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(RunList::is_empty)
    }
}

#[test]
fn works_of_high_priority_overtake_others() {
    let ex = Executor::new(ByUrgency::default());
    let (trace, go) = (Trace::default(), Arc::new(Semaphore::new(9)));
    let normal = Config::new("normal").build();
    let high = Config::new("high").high_priority().build();
    let works = [(&normal, "a"), (&normal, "b"), (&high, "c")]
        .map(|(queue, name)| noting(queue, &trace, &go, name));
    ex.run_until_idle(&NoHooks);
    works.iter().for_each(|work| assert!(work.queue()));
    ex.run_until_idle(&NoHooks);
    assert_eq!(take(&trace), ["c+", "c-", "a+", "a-", "b+", "b-"]);
    drop(works);
    ex.run_until_idle(&NoHooks);
}
