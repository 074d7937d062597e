//! Polls that are left in their midst, at every point: woken, aborted, moved, and without a stack to go on at.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool as Plain, AtomicUsize as Count, Ordering::SeqCst},
    },
    task::Poll,
};

use executor::{
    cpu, current,
    model::{AtomicBool, point},
    yield_now,
};
use loom::{sync::atomic::Ordering, thread};

use crate::{
    machine::model,
    stacks::{Machine, Make, NEVER, at_every_point, register, tick},
};

const ONE_CPU: Make = Make {
    cpus: 1,
    stacks: 1,
    at: [NEVER; 2],
};

/// Tells whether a poll of the task is under way, suspended or not, and that there are never two.
#[derive(Clone, Default)]
struct Polling(Arc<Plain>);

impl Polling {
    fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        assert!(!self.0.swap(true, SeqCst), "polled twice at a time");
        let result = f();
        self.0.store(false, SeqCst);
        result
    }
}

/// Counts drops, none of which comes in the midst of a poll.
struct Tell {
    drops: Arc<Count>,
    polling: Polling,
}

impl Drop for Tell {
    fn drop(&mut self) {
        assert!(!self.polling.0.load(SeqCst), "dropped under its own poll");
        self.drops.fetch_add(1, SeqCst);
    }
}

/// What others make way for.
async fn company() {
    yield_now().await;
}

/// A task that waits for `flag` and whoever sets it to wake it.
async fn waits_for(flag: Arc<AtomicBool>) {
    let polling = Polling::default();
    poll_fn(|_| {
        polling.during(|| match flag.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
    })
    .await;
}

/// Calls `f` on a thread that is none of the machine's CPUs.
fn elsewhere(f: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        cpu::set_cpu(NO_CPU);
        register();
        f();
    })
}

const NO_CPU: u32 = 100;

/// Runs on until `done`, without an await.
fn spin_until(mut done: impl FnMut() -> bool) {
    while !done() {
        point();
        thread::yield_now();
    }
}

fn a_wake_comes_from_elsewhere(make: Make) {
    let machine = Machine::boot(make);
    let flag = Arc::new(AtomicBool::new(false));
    let waits = machine.spawn(0, waits_for(flag.clone()));
    machine.spawn(0, company()).detach();
    let task = waits.task().clone();
    let waker = elsewhere(move || {
        flag.store(true, Ordering::Release);
        task.wake();
    });
    machine.run();
    waker.join().unwrap();
}

#[test]
fn a_wake_reaches_a_suspended_poll() {
    at_every_point(2, ONE_CPU, a_wake_comes_from_elsewhere);
}

mistake!(
    mutant_suspended_is_idle,
    SuspendedIsIdle,
    at_every_point(2, ONE_CPU, a_wake_comes_from_elsewhere)
);
mistake!(
    mutant_keep_place,
    KeepPlace,
    at_every_point(2, ONE_CPU, a_wake_comes_from_elsewhere)
);

fn an_abort_comes_from_elsewhere(make: Make) {
    let machine = Machine::boot(make);
    let (drops, polling) = (Arc::new(Count::new(0)), Polling::default());
    let tell = Tell {
        drops: drops.clone(),
        polling: polling.clone(),
    };
    let endless = machine.spawn(0, async move {
        let _tell = tell;
        poll_fn::<(), _>(|_| {
            polling.during(point);
            Poll::Pending
        })
        .await;
    });
    machine.spawn(0, company()).detach();
    let task = endless.task().clone();
    let aborter = elsewhere(move || task.abort());
    machine.run();
    aborter.join().unwrap();
    assert!(endless.is_finished());
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn an_aborted_poll_returns_before_its_future_is_dropped() {
    at_every_point(2, ONE_CPU, an_abort_comes_from_elsewhere);
}

mistake!(
    mutant_drop_suspended,
    DropSuspended,
    at_every_point(2, ONE_CPU, an_abort_comes_from_elsewhere)
);

#[test]
fn the_last_reference_to_a_suspended_task_may_go() {
    at_every_point(2, ONE_CPU, |make| {
        let machine = Machine::boot(make);
        let drops = Arc::new(Count::new(0));
        let tell = Tell {
            drops: drops.clone(),
            polling: Polling::default(),
        };
        let gives = machine.spawn(0, async move { tell });
        machine.spawn(0, company()).detach();
        let dropper = elsewhere(move || drop(gives));
        machine.run();
        dropper.join().unwrap();
        assert_eq!(drops.load(SeqCst), 1);
    });
}

/// With stacks for two polls that are suspended at a time.
const TWO_CPUS: Make = Make {
    cpus: 2,
    stacks: 2,
    ..ONE_CPU
};

/// In one poll from CPU 0 to CPU 1.
fn a_move_comes_from_elsewhere(make: Make) {
    let machine = Machine::boot(make);
    let polls = Polling::default();
    let travels = machine.spawn(0, async move {
        polls.during(|| spin_until(|| cpu::id() == 1));
    });
    machine.spawn(0, company()).detach();
    let task = travels.task().clone();
    let mover = elsewhere(move || task.migrate(1));
    machine.run();
    mover.join().unwrap();
    assert_eq!(travels.task().polls(), 1);
}

/// As [`a_move_comes_from_elsewhere`], of its own will; then it waits for a wake-up there.
fn a_poll_moves_itself(make: Make) {
    let machine = Machine::boot(make);
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    let travels = machine.spawn(0, async move {
        let me = current().expect("it is a task");
        me.migrate(1);
        spin_until(|| cpu::id() == 1);
        drop(me);
        waits_for(seen).await;
        assert_eq!(cpu::id(), 1);
    });
    let task = travels.task().clone();
    machine
        .spawn(0, async move {
            flag.store(true, Ordering::Release);
            task.wake();
        })
        .detach();
    machine.run();
}

#[test]
fn a_suspended_poll_goes_on_on_another_cpu() {
    at_every_point(1, TWO_CPUS, a_move_comes_from_elsewhere);
}

#[test]
fn a_poll_goes_where_it_asks_to_go_and_is_woken_there() {
    at_every_point(1, TWO_CPUS, a_poll_moves_itself);
}

mistake!(
    mutant_send_before_switch,
    SendBeforeSwitch,
    at_every_point(1, TWO_CPUS, a_poll_moves_itself)
);
mistake!(
    mutant_keep_executor,
    KeepExecutor,
    at_every_point(1, TWO_CPUS, a_poll_moves_itself)
);
mistake!(
    mutant_give_stack_too_soon,
    GiveStackTooSoon,
    at_every_point(1, TWO_CPUS, a_poll_moves_itself)
);

#[test]
fn without_a_stack_a_poll_goes_on() {
    static REFUSED: Plain = Plain::new(false);
    let make = Make {
        stacks: 0,
        ..ONE_CPU
    };
    at_every_point(2, make, |make| {
        let machine = Machine::boot(make);
        let flag = Arc::new(AtomicBool::new(false));
        let waits = machine.spawn(0, waits_for(flag.clone()));
        machine.spawn(0, company()).detach();
        let task = waits.task().clone();
        let waker = elsewhere(move || {
            flag.store(true, Ordering::Release);
            task.wake();
        });
        machine.run();
        waker.join().unwrap();
        let (suspended, refused) = machine.suspended_and_refused();
        assert_eq!(suspended, 0, "there was no stack");
        REFUSED.fetch_or(refused > 0, SeqCst);
    });
    assert!(REFUSED.load(SeqCst), "it was asked for");
}

/// One poll spins until another task has run. There is a stack at the second attempt only, which the drop of a guard makes.
fn a_stack_comes_late(make: Make) {
    let machine = Machine::boot(make);
    let ran = Arc::new(AtomicBool::new(false));
    let sees = ran.clone();
    machine.refuse(1);
    machine
        .spawn(0, async move {
            // Now, if not by an interrupt before.
            cpu::set_need_resched();
            cpu::preempt_point();
            drop(cpu::preempt_disable());
            spin_until(|| sees.load(Ordering::Acquire));
        })
        .detach();
    machine
        .spawn(0, async move { ran.store(true, Ordering::Release) })
        .detach();
    machine.run();
}

#[test]
fn a_refused_stack_is_asked_for_again() {
    at_every_point(0, ONE_CPU, a_stack_comes_late);
}

mistake!(
    mutant_forget_refusal,
    ForgetRefusal,
    at_every_point(0, ONE_CPU, a_stack_comes_late)
);

/// One poll spins until another task has run, which is woken from elsewhere. Nothing interrupts it but what that asks
/// for, and one tick.
fn a_poll_spins_for_another_task() {
    let machine = Machine::boot(ONE_CPU);
    let [flag, ran] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (sees, runs, waits_on) = (ran.clone(), ran, flag.clone());
    let waits = machine.spawn(0, async move {
        waits_for(waits_on).await;
        runs.store(true, Ordering::Release);
    });
    machine
        .spawn(0, async move {
            tick();
            spin_until(|| sees.load(Ordering::Acquire));
        })
        .detach();
    let task = waits.task().clone();
    let waker = elsewhere(move || {
        flag.store(true, Ordering::Release);
        task.wake();
    });
    machine.run();
    waker.join().unwrap();
}

#[test]
fn a_poll_makes_way_for_what_is_woken_from_elsewhere() {
    model(a_poll_spins_for_another_task);
}

mistake!(
    mutant_stay_looking,
    StayLooking,
    model(a_poll_spins_for_another_task)
);
mistake!(
    mutant_look_once,
    LookOnce,
    model(a_poll_spins_for_another_task)
);
