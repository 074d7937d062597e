//! The softirq level: order, context, budget, tasklets.
#![cfg(not(loom))]

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use executor::{
    Executor, Fifo, NoHooks, cpu,
    irq::IrqEvent,
    platform::VirtualTime,
    softirq::{self, Tasklet, Vector},
    spawn,
    time::Instant,
};

type Trace = Arc<StdMutex<Vec<&'static str>>>;

fn machine() -> (&'static VirtualTime, Executor<Fifo>) {
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    softirq::init();
    run(&ex);
    (clock, ex)
}

fn run(ex: &Executor<Fifo>) {
    ex.run_until_idle(&NoHooks);
}

/// Runs `f` as a hard interrupt, with its way out.
fn interrupt(f: impl FnOnce()) {
    let _masked = cpu::irq_save();
    cpu::hardirq_enter();
    f();
    cpu::hardirq_exit();
    softirq::irq_exit();
}

fn take(trace: &Trace) -> Vec<&'static str> {
    std::mem::take(&mut *trace.lock().unwrap())
}

/// A future of the level that notes each event.
fn noting(vector: Vector, name: &'static str, trace: &Trace) -> Arc<IrqEvent> {
    let event = Arc::new(IrqEvent::new());
    let (raised, trace) = (event.clone(), trace.clone());
    softirq::spawn(vector, name, async move {
        loop {
            raised.wait().await;
            assert!(cpu::in_softirq() && !cpu::in_hardirq() && cpu::irqs_enabled());
            trace.lock().unwrap().push(name);
        }
    })
    .unwrap()
    .detach();
    event
}

#[test]
fn vectors_run_in_their_order_on_the_way_out_of_an_interrupt() {
    let (_clock, ex) = machine();
    let trace = Trace::default();
    let net = noting(Vector::NetRx, "net", &trace);
    let timer = noting(Vector::Timer, "timer", &trace);
    let rcu = noting(Vector::Rcu, "rcu", &trace);
    run(&ex);
    interrupt(|| {
        rcu.raise();
        net.raise();
        timer.raise();
        assert!(take(&trace).is_empty(), "not in the interrupt itself");
    });
    assert_eq!(take(&trace), ["timer", "net", "rcu"]);
    assert!(!cpu::in_interrupt() && cpu::irqs_enabled());
    let counts = softirq::counts(cpu::id());
    assert_eq!(
        (
            counts[Vector::Timer as usize],
            counts[Vector::Block as usize]
        ),
        (2, 0)
    );
}

#[test]
fn bottom_half_locks_hold_softirqs_off_until_the_last_is_given_back() {
    let (_clock, ex) = machine();
    let trace = Trace::default();
    let event = noting(Vector::Block, "block", &trace);
    run(&ex);
    {
        let _outer = cpu::bh_disable();
        {
            let _inner = cpu::bh_disable();
            interrupt(|| event.raise());
        }
        assert!(take(&trace).is_empty());
    }
    assert_eq!(take(&trace), ["block"]);
}

#[test]
fn what_an_interrupted_section_kept_back_is_ksoftirqds() {
    let (_clock, ex) = machine();
    let trace = Trace::default();
    let event = noting(Vector::Block, "block", &trace);
    run(&ex);
    let stay = cpu::preempt_disable();
    interrupt(|| event.raise());
    drop(stay);
    assert!(take(&trace).is_empty());
    assert!(cpu::need_resched());
    run(&ex);
    assert_eq!(take(&trace), ["block"]);
}

#[test]
fn raised_from_a_task_it_is_ksoftirqds() {
    let (_clock, ex) = machine();
    let trace = Trace::default();
    let event = noting(Vector::Block, "block", &trace);
    spawn("raises", async move {
        event.raise();
        assert!(!cpu::in_interrupt());
    })
    .detach();
    run(&ex);
    assert_eq!(take(&trace), ["block"]);
}

#[test]
fn a_flood_is_bounded_and_goes_on_among_tasks() {
    let (clock, ex) = machine();
    let polls = Arc::new(AtomicUsize::new(0));
    let count = polls.clone();
    let flood = softirq::spawn(
        Vector::NetRx,
        "flood",
        poll_fn(move |cx| {
            if count.fetch_add(1, Ordering::Relaxed) < 1000 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        }),
    )
    .unwrap();
    interrupt(|| {});
    assert_eq!(polls.load(Ordering::Relaxed), 10, "ten rounds");
    let seen = Arc::new(AtomicUsize::new(0));
    let (before, polled) = (seen.clone(), polls.clone());
    spawn("task", async move {
        before.store(polled.load(Ordering::Relaxed), Ordering::Relaxed)
    })
    .detach();
    run(&ex);
    assert!(seen.load(Ordering::Relaxed) < 100, "tasks run in between");
    assert!(flood.is_finished(), "and the flood is dealt with");
    // By time as well.
    let slow = Arc::new(AtomicUsize::new(0));
    let count = slow.clone();
    softirq::spawn(
        Vector::NetRx,
        "slow",
        poll_fn(move |cx| {
            clock.advance_to(Instant::now() + Duration::from_millis(1));
            cx.waker().wake_by_ref();
            if count.fetch_add(1, Ordering::Relaxed) < 20 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }),
    )
    .unwrap()
    .detach();
    interrupt(|| {});
    assert_eq!(slow.load(Ordering::Relaxed), 2, "two milliseconds");
    run(&ex);
}

#[test]
fn a_future_that_wakes_itself_does_not_keep_later_vectors_out() {
    let (_clock, ex) = machine();
    let trace = Trace::default();
    let rcu = noting(Vector::Rcu, "rcu", &trace);
    run(&ex);
    let order = trace.clone();
    let mut left = 3;
    softirq::spawn(
        Vector::Hi,
        "hi",
        poll_fn(move |cx| {
            order.lock().unwrap().push("hi");
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }),
    )
    .unwrap()
    .detach();
    interrupt(|| rcu.raise());
    assert_eq!(take(&trace), ["hi", "rcu", "hi", "hi"]);
}

#[test]
fn the_interrupted_task_is_current_again_afterwards() {
    let (_clock, ex) = machine();
    let event = Arc::new(IrqEvent::new());
    let raised = event.clone();
    softirq::spawn(Vector::Timer, "inner", async move {
        raised.wait().await;
        assert_eq!(executor::current().unwrap().name(), "inner");
    })
    .unwrap()
    .detach();
    run(&ex);
    let outer = spawn("outer", async move {
        interrupt(|| event.raise());
        assert_eq!(executor::current().unwrap().name(), "outer");
    });
    run(&ex);
    assert!(outer.is_finished());
}

#[test]
fn a_tasklet_runs_once_for_many_requests_and_the_urgent_first() {
    let (_clock, ex) = machine();
    let trace = Trace::default();
    let noting = |name| {
        let trace = trace.clone();
        move || trace.lock().unwrap().push(name)
    };
    let plain = Tasklet::new("plain", noting("plain")).unwrap();
    let urgent = Tasklet::urgent("urgent", noting("urgent")).unwrap();
    run(&ex);
    interrupt(|| {
        assert!(plain.schedule());
        assert!(!plain.schedule());
        assert!(urgent.schedule());
    });
    assert_eq!(take(&trace), ["urgent", "plain"]);
    interrupt(|| assert!(plain.schedule()));
    assert_eq!(take(&trace), ["plain"]);
    drop((plain, urgent));
    interrupt(|| {});
}

#[test]
fn a_disabled_tasklet_runs_when_it_is_enabled_and_a_killed_one_never() {
    let (_clock, ex) = machine();
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let count_up = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let tasklet = Tasklet::new("counts", count_up).unwrap();
    tasklet.disable_nosync();
    tasklet.disable_nosync();
    interrupt(|| assert!(tasklet.schedule()));
    tasklet.enable();
    interrupt(|| {});
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    interrupt(|| tasklet.enable());
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let kill = spawn("kill", async move {
        tasklet.schedule();
        tasklet.kill().await;
    });
    run(&ex);
    assert!(kill.is_finished());
    assert_eq!(runs.load(Ordering::Relaxed), 1, "taken back");
}

#[test]
fn a_tasklet_runs_on_the_cpu_that_asks() {
    let (_clock, _ex) = machine();
    let ran_on = Arc::new(StdMutex::new(None));
    let note = ran_on.clone();
    let tasklet =
        Arc::new(Tasklet::new("where", move || *note.lock().unwrap() = Some(cpu::id())).unwrap());
    interrupt(|| {});
    let here = cpu::id();
    let (asked, told) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let remote = tasklet.clone();
    let other = std::thread::spawn(move || {
        let clock = VirtualTime::install();
        let ex = Executor::new(Fifo::new());
        softirq::init();
        ex.run_until_idle(&NoHooks);
        remote.schedule();
        asked.0.send(clock.take_pended()).unwrap();
        told.1.recv().unwrap();
        interrupt(|| {});
        let there = cpu::id();
        drop(remote);
        there
    });
    assert_eq!(asked.1.recv().unwrap(), [here], "its home is interrupted");
    interrupt(|| {});
    told.0.send(()).unwrap();
    let there = other.join().unwrap();
    assert_eq!(*ran_on.lock().unwrap(), Some(there));
}
