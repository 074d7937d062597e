//! What a policy and the hooks are told, in order.
#![cfg(not(loom))]

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

use executor::{
    EnqueueKind, Executor, Hooks, Outcome, Policy, RunList, Runnable, Running, Spawner, TaskRef,
    TaskTag, platform::VirtualTime, preempted, spawn, sync::WaitQueue, time::Instant, yield_now,
};

type Trace = Rc<RefCell<Vec<String>>>;

/// First come first served, but for the urgent; writes down what it is told.
struct Traced {
    urgent: RunList<Self>,
    others: RunList<Self>,
    trace: Trace,
}

/// Whether the task is urgent, and what it owns, to see that it is dropped.
#[derive(Default)]
struct Entity {
    urgent: bool,
    _owned: Option<Arc<()>>,
    woken: u32,
}

impl Traced {
    fn note(&self, text: String) {
        self.trace.borrow_mut().push(text);
    }
}

impl Policy for Traced {
    type Entity = Entity;

    fn enqueue(
        &mut self,
        mut task: Runnable<Self>,
        kind: EnqueueKind,
        current: Option<&mut Running<Self>>,
        _now: Instant,
    ) -> bool {
        self.note(format!("enqueue {} {kind:?}", task.task().name()));
        task.entity_mut().woken += 1;
        let preempts = current.is_some_and(|c| task.entity().urgent && !c.entity().urgent);
        let list = if task.entity().urgent {
            &mut self.urgent
        } else {
            &mut self.others
        };
        match kind {
            EnqueueKind::Preempted => list.push_front(task),
            _ => list.push_back(task),
        }
        preempts
    }

    fn pick(&mut self, _now: Instant) -> Option<Runnable<Self>> {
        self.urgent.pop_front().or_else(|| self.others.pop_front())
    }

    fn put(&mut self, task: &mut Running<Self>, outcome: Outcome, started: Instant, now: Instant) {
        self.note(format!(
            "put {} {outcome:?} after {}",
            task.task().name(),
            now.ns_since(started)
        ));
    }

    fn remove(&mut self, task: &TaskRef) -> Option<Runnable<Self>> {
        self.urgent
            .remove(task)
            .or_else(|| self.others.remove(task))
    }

    fn refresh(&mut self, task: &mut Runnable<Self>) -> Option<u32> {
        self.note(format!("refresh {}", task.task().name()));
        None
    }

    fn update(&mut self, current: &mut Running<Self>, _now: Instant) {
        self.note(format!("update {}", current.task().name()));
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.others.is_empty()
    }
}

struct TracedHooks(Trace);

impl Hooks for TracedHooks {
    fn poll_start(&self, tag: &TaskTag) {
        self.0.borrow_mut().push(format!("start {}", tag.0.addr()));
    }
    fn poll_end(&self, tag: &TaskTag) {
        self.0.borrow_mut().push(format!("end {}", tag.0.addr()));
    }
}

fn machine() -> (&'static VirtualTime, Executor<Traced>, Trace) {
    let clock = VirtualTime::install();
    let trace = Trace::default();
    let policy = Traced {
        urgent: RunList::new(),
        others: RunList::new(),
        trace: trace.clone(),
    };
    (clock, Executor::new(policy), trace)
}

fn run(ex: &Executor<Traced>, trace: &Trace) {
    ex.run_until_idle(&TracedHooks(trace.clone()));
}

#[track_caller]
fn expect(trace: &Trace, lines: &[&str]) {
    assert_eq!(std::mem::take(&mut *trace.borrow_mut()), lines);
}

fn tag(n: usize) -> *mut () {
    std::ptr::without_provenance_mut(n)
}

#[test]
fn a_life_is_told_step_by_step() {
    let (clock, ex, trace) = machine();
    let queue = Arc::new(WaitQueue::new());
    let waits = queue.clone();
    let life = async move {
        yield_now().await;
        clock.advance_to(Instant::from_ns(30));
        preempted().await;
        waits.wait().await;
    };
    Spawner::new("life")
        .tag(tag(7))
        .try_spawn(life)
        .unwrap()
        .detach();
    run(&ex, &trace);
    expect(
        &trace,
        &[
            "refresh life",
            "enqueue life New",
            "start 7",
            "end 7",
            "put life Runnable after 0",
            "enqueue life Yield",
            "start 7",
            "end 7",
            "put life Runnable after 30",
            "enqueue life Preempted",
            "start 7",
            "end 7",
            "put life Blocked after 0",
        ],
    );
    queue.wake_one();
    run(&ex, &trace);
    expect(
        &trace,
        &[
            "enqueue life Wake",
            "start 7",
            "end 7",
            "put life Done after 0",
        ],
    );
}

#[test]
fn a_wake_within_the_poll_is_told_as_again() {
    let (_clock, ex, trace) = machine();
    let mut polls = 0;
    spawn(
        "self",
        poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 2 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }),
    )
    .detach();
    run(&ex, &trace);
    expect(
        &trace,
        &[
            "refresh self",
            "enqueue self New",
            "start 0",
            "end 0",
            "put self Runnable after 0",
            "enqueue self Again",
            "start 0",
            "end 0",
            "put self Done after 0",
        ],
    );
}

#[test]
fn an_urgent_task_woken_in_a_poll_asks_for_the_cpu() {
    let (_clock, ex, trace) = machine();
    let ex = Rc::new(ex);
    let entity = Entity {
        urgent: true,
        ..Entity::default()
    };
    let urgent = Spawner::new("urgent")
        .try_spawn_with::<Traced, _>(entity, std::future::pending::<()>())
        .unwrap();
    run(&ex, &trace);
    trace.borrow_mut().clear();
    // The executor of this thread, from within a poll, as the way out of an interrupt would ask it.
    struct Here(Rc<Executor<Traced>>);
    // The value never leaves the thread; `spawn` wants `Send`, so it goes by a thread-local.
    thread_local!(static HERE: RefCell<Option<Here>> = const { RefCell::new(None) });
    HERE.set(Some(Here(ex.clone())));
    let task = urgent.task().clone();
    let busy = spawn("busy", async move {
        let ask = || HERE.with_borrow(|h| h.as_ref().unwrap().0.should_resched());
        assert!(!ask());
        task.wake();
        assert!(executor::cpu::need_resched(), "a local wake asks to look");
        assert!(ask());
        assert!(executor::cpu::need_resched());
        preempted().await;
        assert!(!executor::cpu::need_resched());
    });
    run(&ex, &trace);
    assert!(busy.is_finished());
    HERE.set(None);
    let order: Vec<_> = trace
        .borrow()
        .iter()
        .filter(|l| l.starts_with("put"))
        .cloned()
        .collect();
    assert_eq!(
        order,
        [
            "put busy Runnable after 0",
            "put urgent Blocked after 0",
            "put busy Done after 0"
        ]
    );
    urgent.abort();
    run(&ex, &trace);
}

#[test]
fn an_entity_is_given_and_dropped_with_its_task() {
    let (_clock, ex, trace) = machine();
    let mark = Arc::new(());
    let entity = Entity {
        _owned: Some(mark.clone()),
        ..Entity::default()
    };
    let task = Spawner::new("owns")
        .try_spawn_with::<Traced, _>(entity, async {})
        .unwrap();
    run(&ex, &trace);
    assert_eq!(Arc::strong_count(&mark), 2, "the handle keeps the task");
    drop(task);
    assert_eq!(Arc::strong_count(&mark), 1);
}

#[test]
fn messages_reach_the_policy_once_however_often_they_are_sent() {
    let (_clock, ex, trace) = machine();
    let task = spawn("asked", std::future::pending::<()>());
    run(&ex, &trace);
    trace.borrow_mut().clear();
    task.task().notify_owner();
    task.task().notify_owner();
    run(&ex, &trace);
    expect(&trace, &[]);
    task.task().wake();
    run(&ex, &trace);
    trace.borrow_mut().truncate(2);
    expect(&trace, &["refresh asked", "enqueue asked Wake"]);
    task.task().wake();
    run(&ex, &trace);
    trace.borrow_mut().truncate(1);
    expect(&trace, &["enqueue asked Wake"]);
    task.abort();
    run(&ex, &trace);
}

#[test]
fn a_queued_task_is_brought_up_to_date_at_once_and_a_polled_one_in_its_poll() {
    let (_clock, ex, trace) = machine();
    let queued = spawn("queued", async {});
    let task = queued.task().clone();
    ex.should_resched();
    expect(&trace, &["refresh queued", "enqueue queued New"]);
    task.notify_owner();
    ex.should_resched();
    expect(&trace, &["refresh queued", "enqueue queued Wake"]);
    run(&ex, &trace);
    trace.borrow_mut().clear();
    let ex = Rc::new(ex);
    thread_local!(static HERE: RefCell<Option<Rc<Executor<Traced>>>> = const { RefCell::new(None) });
    HERE.set(Some(ex.clone()));
    let polled = spawn("polled", async {
        if let Some(me) = executor::current() {
            me.notify_owner();
        }
        let asked = || HERE.with_borrow(|h| h.as_ref().is_some_and(|ex| ex.should_resched()));
        // Until it is queued: whoever takes the message in need not be where the poll can make way.
        assert!(asked() && asked());
    });
    run(&ex, &trace);
    HERE.set(None);
    assert!(polled.is_finished());
    assert!(trace.borrow().contains(&"update polled".into()));
}

#[test]
fn tasks_left_in_the_queues_end_with_their_executor() {
    let (_clock, ex, trace) = machine();
    let mark = Arc::new(());
    let (a, b) = (mark.clone(), mark.clone());
    let mut first = true;
    spawn(
        "in the run queue",
        poll_fn(move |cx| {
            let _keep = &a;
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        }),
    )
    .detach();
    assert!(ex.run_once(&TracedHooks(trace.clone())));
    spawn("in the wake queue", async move { drop(b) }).detach();
    assert_eq!(Arc::strong_count(&mark), 3);
    drop(ex);
    assert_eq!(Arc::strong_count(&mark), 1);
}

#[test]
fn statistics_count_polls_and_time() {
    let (clock, ex, trace) = machine();
    let task = spawn("works", async move {
        clock.advance_to(Instant::from_ns(40));
        yield_now().await;
        clock.advance_to(Instant::from_ns(50));
    });
    run(&ex, &trace);
    assert_eq!(
        (task.task().polls(), task.task().run_time().as_nanos()),
        (2, 50)
    );
}

#[test]
fn a_waker_knows_its_task() {
    let (_clock, ex, trace) = machine();
    let task = spawn(
        "known",
        poll_fn(|cx| Poll::Ready(TaskRef::of_waker(cx.waker()))),
    );
    run(&ex, &trace);
    assert!(task.is_finished() && TaskRef::of_waker(Waker::noop()).is_none());
}

#[test]
fn a_task_can_ask_whether_others_wait() {
    let (_clock, ex, trace) = machine();
    let ex = Rc::new(ex);
    thread_local!(static HERE: RefCell<Option<Rc<Executor<Traced>>>> = const { RefCell::new(None) });
    HERE.set(Some(ex.clone()));
    let ask = || HERE.with_borrow(|h| h.as_ref().is_some_and(|ex| ex.others_wait()));
    let alone = spawn("alone", async move {
        assert!(!ask());
        let other = spawn("other", async {});
        assert!(ask(), "not taken in yet");
        HERE.with_borrow(|h| h.as_ref().is_some_and(|ex| ex.should_resched()));
        assert!(ask(), "taken in");
        yield_now().await;
        assert!(other.is_finished() && !ask());
    });
    run(&ex, &trace);
    assert!(alone.is_finished());
    HERE.set(None);
}
