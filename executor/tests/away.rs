//! CPUs that leave and come back: what becomes of their tasks, messages, timers and softirqs. One test, since the table of
//! CPUs is the whole process's.
#![cfg(not(loom))]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use executor::{
    CpuShared, Executor, Fifo, NoHooks, Spawner, cpu,
    irq::IrqEvent,
    platform::VirtualTime,
    softirq::{self, Vector},
    time::{self, run_expired, sleep},
};

struct Cpu {
    number: u32,
    executor: Executor<Fifo>,
}

impl Cpu {
    fn new(number: u32) -> Self {
        cpu::set_cpu(number);
        Self {
            number,
            executor: Executor::new(Fifo::new()),
        }
    }

    fn run(&self) {
        cpu::set_cpu(self.number);
        self.executor.run_until_idle(&NoHooks);
    }

    fn go_away(&self) {
        cpu::set_cpu(self.number);
        self.executor.shared().set_leaving(true);
        {
            let _masked = cpu::irq_save();
            assert!(self.executor.go_away(), "it has nothing to do");
        }
        // What follows is done by another.
        cpu::set_cpu(0);
    }

    fn come_back(&self) {
        cpu::set_cpu(self.number);
        {
            let _masked = cpu::irq_save();
            self.executor.come_back();
        }
        self.executor.shared().set_leaving(false);
        cpu::set_cpu(0);
    }
}

/// A task of CPU `cpu` that counts how often it is woken.
fn counter(cpu: u32) -> (Arc<IrqEvent>, Arc<AtomicU32>, executor::JoinHandle<()>) {
    let event = Arc::new(IrqEvent::new());
    let count = Arc::new(AtomicU32::new(0));
    let (raised, counts) = (event.clone(), count.clone());
    let task = Spawner::new("counts")
        .cpu(cpu)
        .try_spawn(async move {
            loop {
                raised.wait().await;
                counts.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
    (event, count, task)
}

#[test]
fn a_cpu_leaves_nothing_behind() {
    let clock = VirtualTime::install();
    let stays = Cpu::new(0);
    softirq::init();
    // The last one made is the one whose timers this thread arms, and whose softirqs it serves.
    let leaves = Cpu::new(1);
    softirq::init();
    let slept = Spawner::new("sleeps").cpu(1).try_spawn(async {
        sleep(Duration::from_millis(5)).await;
        cpu::id()
    });
    let slept = slept.unwrap();
    let (event, count, task) = counter(1);
    let (raised, in_softirq) = (Arc::new(IrqEvent::new()), Arc::new(AtomicU32::new(0)));
    let (wait, seen) = (raised.clone(), in_softirq.clone());
    let bottom = softirq::spawn(Vector::NetRx, "bottom", async move {
        loop {
            wait.wait().await;
            assert!(cpu::in_softirq());
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    bottom.unwrap().detach();
    softirq::run_pending();
    leaves.run();

    // It does not leave while something is to be done there.
    event.raise();
    {
        let _masked = cpu::irq_save();
        assert!(!leaves.executor.go_away());
    }
    assert!(CpuShared::of(1).is_some(), "nothing has changed");
    leaves.run();
    assert_eq!(count.load(Ordering::Relaxed), 1);

    // A bottom half that was woken and did not run goes over to the other CPU, which is told.
    clock.take_pended();
    {
        let _masked = cpu::irq_save();
        raised.raise();
        assert!(softirq::go_away());
    }
    assert_eq!(clock.take_pended(), [0]);
    assert_eq!(in_softirq.load(Ordering::Relaxed), 0);
    leaves.run();
    leaves.go_away();
    assert!(CpuShared::of(1).is_none());

    // Who waits is woken elsewhere.
    for round in 2..=4 {
        event.raise();
        stays.run();
        assert_eq!(count.load(Ordering::Relaxed), round);
        assert_eq!(task.task().cpu(), 0);
    }

    // What it was armed for comes where the timers are.
    let _arms = Cpu::new(2);
    time::adopt(leaves.executor.shared().timers());
    assert_eq!(leaves.executor.shared().timers().next_deadline(), None);
    clock.advance_to(time::Instant::from_ns(5_000_000));
    run_expired(time::Instant::now());
    stays.run();
    assert!(slept.is_finished());

    // A message to a task that waits there since is not lost.
    leaves.come_back();
    task.task().migrate(1);
    event.raise();
    stays.run();
    leaves.run();
    assert_eq!(task.task().cpu(), 1);
    leaves.go_away();
    task.task().migrate(0);
    event.raise();
    stays.run();
    assert_eq!(count.load(Ordering::Relaxed), 6);
    assert_eq!(task.task().cpu(), 0);

    // A pinned task waits for its CPU.
    leaves.come_back();
    let woken = Arc::new(IrqEvent::new());
    let wait = woken.clone();
    let pinned = Spawner::new("stays")
        .cpu(1)
        .try_spawn_local(move || async move {
            wait.wait().await;
            cpu::id()
        });
    let pinned = pinned.unwrap();
    leaves.run();
    leaves.go_away();
    woken.raise();
    stays.run();
    assert!(!pinned.is_finished());
    leaves.come_back();
    leaves.run();
    assert!(pinned.is_finished());
}
