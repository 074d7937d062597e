//! The flows on a chip that notes what it is told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use executor::irq::IrqEvent;
use executor::platform::VirtualTime;
use executor::sync::Semaphore;
use executor::{Executor, Fifo, NoHooks};

use super::*;

/// Notes what it is told, and acts out a device when asked.
#[derive(Default)]
struct Mock {
    told: Mutex<Vec<&'static str>>,
}

impl Mock {
    fn note(&self, what: &'static str) {
        self.told.lock().expect("no test panics with it").push(what);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.told.lock().expect("no test panics with it"))
    }
}

impl Chip for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }
    fn mask(&self, _: u32) {
        self.note("mask");
    }
    fn unmask(&self, _: u32) {
        self.note("unmask");
    }
    fn ack(&self, _: u32) {
        self.note("ack");
    }
    fn eoi(&self, _: u32) {
        self.note("eoi");
    }
    fn startup(&self, _: u32) {
        self.note("startup");
    }
    fn shutdown(&self, _: u32) {
        self.note("shutdown");
    }
    fn retrigger(&self, _: u32) -> bool {
        self.note("retrigger");
        true
    }
    fn set_affinity(&self, _: u32, cpus: CpuSet) -> Result<u32, IrqError> {
        if cpus & 0b11 == 0 {
            return Err(IrqError::Invalid);
        }
        Ok(cpus.trailing_zeros())
    }
}

fn line(flow: Flow, trigger: Trigger) -> (Arc<Mock>, &'static Descriptor) {
    VirtualTime::install();
    let chip = Arc::new(Mock::default());
    let line = Box::leak(Box::new(Descriptor::new(40)));
    line.set_up(chip.clone(), 7, flow, trigger);
    (chip, line)
}

fn counter() -> (
    Arc<AtomicU32>,
    impl Fn(u32) -> Answer + Send + Sync + 'static,
) {
    let times = Arc::new(AtomicU32::new(0));
    let own = times.clone();
    (times, move |_| {
        own.fetch_add(1, Ordering::Relaxed);
        Answer::HANDLED
    })
}

#[test]
fn each_flow_tells_the_chip_in_its_order() {
    let orders: [(Flow, Trigger, &[&str]); 6] = [
        (Flow::Bad, Trigger::Edge, &["ack", "eoi"]),
        (Flow::Edge, Trigger::Edge, &["ack", "handler"]),
        (
            Flow::Level,
            Trigger::Level,
            &["mask", "ack", "handler", "unmask"],
        ),
        (Flow::FastEoi, Trigger::Level, &["handler", "eoi"]),
        (Flow::Simple, Trigger::Edge, &["handler"]),
        (Flow::PerCpu, Trigger::Edge, &["ack", "handler", "eoi"]),
    ];
    for (flow, trigger, order) in orders {
        let (chip, line) = line(flow, trigger);
        let noted = chip.clone();
        let irq = Request::new("dev")
            .handler(move |_| {
                noted.note("handler");
                Answer::HANDLED
            })
            .submit(line)
            .expect("the line is free");
        assert_eq!(chip.take(), ["startup"]);
        line.handle();
        assert_eq!(chip.take(), order, "{flow:?}");
        irq.free();
        assert_eq!(chip.take(), ["shutdown"]);
    }
}

#[test]
fn an_edge_that_comes_while_the_handler_runs_runs_it_again() {
    let (chip, line) = line(Flow::Edge, Trigger::Edge);
    let times = Arc::new(AtomicU32::new(0));
    let own = times.clone();
    let _irq = Request::new("dev")
        .handler(move |_| {
            // The next edge comes in the middle of the first run, as on another CPU.
            if own.fetch_add(1, Ordering::Relaxed) == 0 {
                line.handle();
            }
            Answer::HANDLED
        })
        .submit(line)
        .expect("the line is free");
    line.handle();
    assert_eq!(times.load(Ordering::Relaxed), 2);
    assert_eq!(line.total(), 2);
    assert_eq!(chip.take(), ["startup", "ack", "mask", "ack", "unmask"]);
}

#[test]
fn a_level_line_does_not_run_its_handler_twice_at_a_time() {
    for flow in [Flow::Level, Flow::FastEoi] {
        let (_, line) = line(flow, Trigger::Level);
        let times = Arc::new(AtomicU32::new(0));
        let own = times.clone();
        let _irq = Request::new("dev")
            .handler(move |_| {
                own.fetch_add(1, Ordering::Relaxed);
                line.handle();
                Answer::HANDLED
            })
            .submit(line)
            .expect("the line is free");
        line.handle();
        assert_eq!(times.load(Ordering::Relaxed), 1, "{flow:?}");
    }
}

#[test]
fn sharers_are_all_asked_and_strangers_refused() {
    let (_, line) = line(Flow::FastEoi, Trigger::Level);
    let (first, handler) = counter();
    let one = Request::new("one")
        .flags(Flags::SHARED)
        .handler(handler)
        .submit(line);
    let one = one.expect("the line is free");
    let (second, handler) = counter();
    let two = Request::new("two")
        .flags(Flags::SHARED)
        .handler(handler)
        .submit(line);
    let two = two.expect("both share");
    let refused = |flags| {
        let request = Request::new("three").flags(flags).handler(|_| Answer::NONE);
        request.submit(line).map(|_| ()).err()
    };
    assert_eq!(refused(Flags::empty()), Some(IrqError::Busy));
    assert_eq!(
        refused(Flags::SHARED | Flags::ONESHOT),
        Some(IrqError::Busy)
    );
    assert_eq!(line.snapshot().actions, ["one", "two"]);
    line.handle();
    one.free();
    line.handle();
    assert_eq!(first.load(Ordering::Relaxed), 1);
    assert_eq!(second.load(Ordering::Relaxed), 2);
    two.free();
    assert_eq!(
        Request::new("none").submit(line).map(|_| ()).err(),
        Some(IrqError::Invalid)
    );
}

#[test]
fn a_oneshot_line_stays_masked_until_all_its_tasks_have_answered() {
    let events: [&'static IrqEvent; 2] = [
        Box::leak(Box::new(IrqEvent::new())),
        Box::leak(Box::new(IrqEvent::new())),
    ];
    for flow in [Flow::Level, Flow::FastEoi] {
        let (chip, line) = line(flow, Trigger::Level);
        let refused = Request::new("dev").event(events[0]).submit(line);
        assert_eq!(refused.map(|_| ()).err(), Some(IrqError::Invalid));
        let irqs = events.map(|event| {
            let flags = Flags::SHARED | Flags::ONESHOT;
            let request = Request::new("dev").flags(flags).event(event);
            request.submit(line).expect("both share")
        });
        chip.take();
        line.handle();
        let told = chip.take();
        assert!(
            told.contains(&"mask") && !told.contains(&"unmask"),
            "{flow:?} {told:?}"
        );
        assert_eq!(events.map(IrqEvent::take), [1, 1]);
        irqs[0].done();
        assert!(chip.take().is_empty());
        irqs[1].done();
        assert_eq!(chip.take(), ["unmask"]);
        // One that goes away without an answer does not hold the others up.
        line.handle();
        let [one, two] = irqs;
        two.done();
        chip.take();
        one.free();
        assert_eq!(chip.take(), ["unmask"]);
        assert_eq!(events.map(IrqEvent::take), [1, 1]);
    }
}

#[test]
fn disabling_counts_and_an_edge_meanwhile_is_not_lost() {
    let (chip, line) = line(Flow::Edge, Trigger::Edge);
    let (times, handler) = counter();
    let irq = Request::new("dev")
        .handler(handler)
        .submit(line)
        .expect("the line is free");
    irq.disable();
    irq.disable();
    chip.take();
    line.handle();
    assert_eq!((times.load(Ordering::Relaxed), line.total()), (0, 0));
    assert_eq!(chip.take(), ["mask", "ack"]);
    irq.enable();
    assert!(chip.take().is_empty());
    irq.enable();
    assert_eq!(chip.take(), ["unmask", "retrigger"]);
    // Once too often: said in the log, and changes nothing.
    irq.enable();
    assert_eq!(line.snapshot().depth, 0);
    line.handle();
    assert_eq!(times.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_with_no_autoen_waits_to_be_enabled() {
    let (chip, line) = line(Flow::Edge, Trigger::Edge);
    let (times, handler) = counter();
    let request = Request::new("dev").flags(Flags::NO_AUTOEN).handler(handler);
    let irq = request.submit(line).expect("the line is free");
    assert!(chip.take().is_empty());
    irq.enable();
    assert_eq!(chip.take(), ["unmask"]);
    line.handle();
    assert_eq!(times.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_that_nobody_answers_is_shut_off_and_can_be_enabled_again() {
    let (chip, line) = line(Flow::FastEoi, Trigger::Level);
    let irq = Request::new("dev").handler(|_| Answer::NONE).submit(line);
    let irq = irq.expect("the line is free");
    for _ in 0..100_000 {
        line.handle();
    }
    let snapshot = line.snapshot();
    assert!(snapshot.stuck && snapshot.masked);
    assert_eq!(snapshot.depth, 1);
    chip.take();
    line.handle();
    assert_eq!(line.total(), 100_000);
    // Looked at now and then, it stays shut off.
    assert!(line.poll());
    assert!(line.snapshot().stuck && line.snapshot().masked);
    assert_eq!(line.snapshot().depth, 1);
    irq.enable();
    assert!(!line.snapshot().stuck);
    assert!(!line.poll());
    assert!(chip.take().contains(&"unmask"));
}

#[test]
fn handlers_are_freed_with_their_request_and_not_before() {
    let (_, line) = line(Flow::Edge, Trigger::Edge);
    let token = Arc::new(());
    let weak: Weak<()> = Arc::downgrade(&token);
    let irq = Request::new("dev").handler(move |_| {
        let _kept = &token;
        Answer::HANDLED
    });
    let irq = irq.submit(line).expect("the line is free");
    line.handle();
    assert!(weak.upgrade().is_some());
    irq.free();
    assert!(weak.upgrade().is_none());
}

#[test]
fn freeing_waits_for_a_handler_on_another_cpu() {
    let (_, line) = line(Flow::Edge, Trigger::Edge);
    let (begun, begins) = std::sync::mpsc::channel();
    let over = Arc::new(AtomicU32::new(0));
    let noted = over.clone();
    let irq = Request::new("dev").handler(move |_| {
        begun.send(()).expect("the test waits for it");
        std::thread::sleep(std::time::Duration::from_millis(20));
        noted.store(1, Ordering::SeqCst);
        Answer::HANDLED
    });
    let irq = irq.submit(line).expect("the line is free");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            executor::cpu::hardirq_enter();
            line.handle();
            executor::cpu::hardirq_exit();
        });
        begins.recv().expect("the handler begins");
        irq.free();
        assert_eq!(over.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn affinity_is_the_chips_business_unless_the_action_forbids_it() {
    let (_, line) = line(Flow::Edge, Trigger::Edge);
    let irq = Request::new("dev")
        .handler(|_| Answer::HANDLED)
        .submit(line);
    let irq = irq.expect("the line is free");
    assert_eq!(irq.set_affinity(0b100), Err(IrqError::Invalid));
    irq.set_affinity(0b110).expect("CPU 1 is there");
    let snapshot = line.snapshot();
    assert_eq!((snapshot.affinity, snapshot.effective), (0b110, 1));
    irq.free();
    let request = Request::new("dev")
        .flags(Flags::NOBALANCING)
        .handler(|_| Answer::NONE);
    let irq = request.submit(line).expect("the line is free");
    assert_eq!(irq.set_affinity(1), Err(IrqError::NotSupported));
}

#[test]
fn a_domain_gives_each_of_its_lines_one_number() {
    let chip = Arc::new(Mock::default());
    let domain = Domain::new("mock", chip);
    let fixed = domain
        .map(3, Some(200), Trigger::Level)
        .expect("200 is free");
    assert_eq!(fixed.number(), 200);
    assert_eq!(fixed.snapshot().flow, Flow::FastEoi);
    assert_eq!(
        domain.map(3, None, Trigger::Level).map(Descriptor::number),
        Ok(200)
    );
    assert_eq!(
        domain.map(4, Some(200), Trigger::Edge).map(|_| ()),
        Err(IrqError::Busy)
    );
    let dynamic = domain
        .map(4, None, Trigger::Edge)
        .expect("a number is free");
    assert!(get(dynamic.number()).is_some());
    let irq = Request::new("dev")
        .handler(|_| Answer::NONE)
        .submit(dynamic);
    let irq = irq.expect("the line is free");
    assert_eq!(domain.unmap(4), Err(IrqError::Busy));
    irq.free();
    assert_eq!(domain.unmap(4), Ok(()));
    assert!(get(dynamic.number()).is_none());
    assert_eq!(domain.unmap(4), Err(IrqError::Invalid));
}

#[test]
fn a_threaded_line_is_held_off_until_its_thread_is_through() {
    let (chip, line) = line(Flow::Level, Trigger::Level);
    let ex = Executor::new(Fifo::new());
    let run = || ex.run_until_idle(&NoHooks);
    let go = Arc::new(Semaphore::new(0));
    let runs = Arc::new(AtomicU32::new(0));
    let (may, count) = (go.clone(), runs.clone());
    let thread = move || {
        let (may, count) = (may.clone(), count.clone());
        async move {
            may.acquire(1).await.forget();
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    assert!(matches!(
        Request::new("dev").submit_threaded(line, thread.clone()),
        Err(IrqError::Invalid)
    ));
    let request = Request::new("dev").flags(Flags::ONESHOT);
    let irq = request
        .submit_threaded(line, thread)
        .expect("the line is free");
    let name = irq.thread().task().map(executor::TaskRef::name);
    assert_eq!(name, Some("irq/40-dev"));
    chip.take();
    line.handle();
    run();
    assert_eq!(
        chip.take(),
        ["mask", "ack"],
        "held off while the thread waits"
    );
    go.release(1);
    run();
    assert_eq!(
        (chip.take(), runs.load(Ordering::Relaxed)),
        (vec!["unmask"], 1)
    );

    // Freed while it runs: the line is off at once, and the thread comes to its end.
    line.handle();
    run();
    let freed = executor::spawn("free", irq.free());
    run();
    assert!(!freed.is_finished());
    chip.take();
    go.release(1);
    run();
    assert!(freed.is_finished());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(chip.take(), Vec::<&str>::new(), "nobody's line stays off");
}

#[test]
fn a_threaded_lines_handler_decides_whether_its_thread_runs() {
    let (_, line) = line(Flow::Edge, Trigger::Edge);
    let ex = Executor::new(Fifo::new());
    let runs = Arc::new(AtomicU32::new(0));
    let (asked, count) = (AtomicU32::new(0), runs.clone());
    let request =
        Request::new("dev").handler(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Answer::WAKE_THREAD,
            _ => Answer::HANDLED,
        });
    let irq = request.submit_threaded(line, move || {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let irq = irq.expect("the line is free");
    for expected in [1, 1, 2, 2] {
        line.handle();
        ex.run_until_idle(&NoHooks);
        assert_eq!(runs.load(Ordering::Relaxed), expected);
    }
    drop(irq);
    ex.run_until_idle(&NoHooks);
}
