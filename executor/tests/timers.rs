//! Timers under a clock that the test moves.
#![cfg(not(loom))]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use executor::{
    Executor, Fifo, NoHooks,
    platform::VirtualTime,
    spawn,
    time::{Armed, Elapsed, Expiry, HrTimer, Instant, Interval, armed, sleep_until, timeout},
};

fn at(ns: u64) -> Instant {
    Instant::from_ns(ns)
}

fn run(ex: &Executor<Fifo>) {
    ex.run_until_idle(&NoHooks);
}

type Trace = Arc<Mutex<Vec<(u64, &'static str)>>>;

fn note(trace: &Trace, what: &'static str) {
    trace.lock().unwrap().push((Instant::now().as_ns(), what));
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let trace = Trace::default();
    for (ns, name) in [(30, "c"), (10, "a"), (20, "b"), (10, "a again")] {
        let trace = trace.clone();
        spawn(name, async move {
            sleep_until(at(ns)).await;
            note(&trace, name);
        })
        .detach();
    }
    run(&ex);
    assert_eq!(clock.timer(), Some(at(10)));
    while clock.advance_to_next() {
        run(&ex);
    }
    assert_eq!(
        *trace.lock().unwrap(),
        [(10, "a"), (10, "a again"), (20, "b"), (30, "c")]
    );
}

#[test]
fn a_dropped_sleep_is_disarmed() {
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let task = spawn("sleeper", sleep_until(at(50)));
    run(&ex);
    assert_eq!(ex.shared().timers().next_deadline(), Some(at(50)));
    task.abort();
    run(&ex);
    assert_eq!(ex.shared().timers().next_deadline(), None);
    clock.advance_to(at(100));
}

#[test]
fn timeout_gives_the_output_or_says_that_time_is_up() {
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let task = spawn("timeouts", async {
        let late = timeout(Duration::from_nanos(10), sleep_until(at(20))).await;
        assert_eq!((late, Instant::now()), (Err(Elapsed), at(10)));
        let early = timeout(Duration::from_nanos(20), sleep_until(at(25))).await;
        assert_eq!((early, Instant::now()), (Ok(()), at(25)));
    });
    run(&ex);
    while clock.advance_to_next() {
        run(&ex);
    }
    assert!(task.is_finished());
    assert_eq!(
        ex.shared().timers().next_deadline(),
        None,
        "the loser of a timeout is disarmed"
    );
}

#[test]
fn interval_does_not_drift() {
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let trace = Trace::default();
    let out = trace.clone();
    let task = spawn("ticks", async move {
        let mut ticks = Interval::starting_at(at(5), Duration::from_nanos(10));
        for _ in 0..3 {
            ticks.tick().await;
            note(&out, "tick");
            sleep_until(Instant::now() + Duration::from_nanos(3)).await;
        }
    });
    run(&ex);
    while clock.advance_to_next() {
        run(&ex);
    }
    assert!(task.is_finished());
    assert_eq!(
        *trace.lock().unwrap(),
        [(5, "tick"), (15, "tick"), (25, "tick")]
    );
}

#[test]
fn callback_rearms_by_what_it_returns_until_it_is_cancelled() {
    let clock = VirtualTime::install();
    let _ex = Executor::new(Fifo::new());
    let trace = Trace::default();
    let out = trace.clone();
    let timer = HrTimer::new(move |now| {
        note(&out, "call");
        (now < at(30)).then(|| now + Duration::from_nanos(10))
    });
    assert!(!timer.arm(at(10)));
    assert!(timer.arm(at(12)), "it was armed, and is moved");
    clock.advance_to(at(100));
    assert_eq!(
        *trace.lock().unwrap(),
        [(12, "call"), (22, "call"), (32, "call")]
    );
    assert_eq!(timer.deadline(), None);
    timer.arm(at(110));
    assert!(timer.cancel());
    clock.advance_to(at(200));
    assert_eq!(trace.lock().unwrap().len(), 3);
}

#[test]
fn timer_armed_on_another_cpu_is_cancelled_there() {
    let clock = VirtualTime::install();
    let _ex = Executor::new(Fifo::new());
    let timer = Arc::new(HrTimer::new(|_| panic!("cancelled before its time")));
    timer.arm(at(10));
    let other = timer.clone();
    std::thread::spawn(move || {
        clock.share();
        assert!(other.cancel());
        assert!(!other.cancel());
    })
    .join()
    .unwrap();
    clock.advance_to(at(20));
}

/// The deadlines of this CPU's timers, looked at so many at a time.
fn listed(at_a_time: usize) -> Vec<Instant> {
    let mut all: Vec<Armed> = Vec::new();
    loop {
        let mut page = vec![Armed::NONE; at_a_time];
        let found = armed(executor::cpu::id(), all.last(), &mut page);
        all.extend(&page[..found]);
        if found < at_a_time {
            return all.iter().map(Armed::deadline).collect();
        }
    }
}

#[test]
fn what_happens_when_a_timer_expires_can_be_seen() {
    VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let task = spawn("sleeper", sleep_until(at(50)));
    run(&ex);
    let timer = HrTimer::new(|_| None);
    timer.arm(at(20));
    let mut page = [Armed::NONE; 4];
    assert_eq!(armed(executor::cpu::id(), None, &mut page), 2);
    assert!(matches!(page[0].expiry, Expiry::Call(function) if function != 0));
    assert_eq!((page[1].expiry, page[1].deadline()), (Expiry::Wake, at(50)));
    // No executor, no timers.
    assert_eq!(armed(u32::MAX, None, &mut page), 0);
    drop(task);
}

/// Random arming, moving and cancelling against a sorted list.
#[test]
fn heap_agrees_with_a_sorted_list() {
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let fired = Arc::new(Mutex::new(Vec::new()));
    let timers: Vec<_> = (0..40)
        .map(|i| {
            let fired = fired.clone();
            HrTimer::new(move |now| {
                fired.lock().unwrap().push((now, i));
                None
            })
        })
        .collect();
    let mut model: Vec<(Instant, u64, usize)> = Vec::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let mut order = 0;
    let steps = if cfg!(miri) { 300 } else { 20_000 };
    for _ in 0..steps {
        let i = random(40) as usize;
        let was = model
            .iter()
            .position(|&(_, _, j)| i == j)
            .map(|p| model.remove(p));
        match random(4) {
            0 => assert_eq!(timers[i].cancel(), was.is_some()),
            1 => {
                if let Some(was) = was {
                    model.push(was);
                }
                let to = Instant::now() + Duration::from_nanos(random(20));
                clock.advance_to(to);
                model.sort();
                let due = model.iter().take_while(|(t, ..)| *t <= to).count();
                let expect: Vec<_> = model.drain(..due).map(|(t, _, j)| (t, j)).collect();
                assert_eq!(core::mem::take(&mut *fired.lock().unwrap()), expect);
            }
            _ => {
                let deadline = Instant::now() + Duration::from_nanos(1 + random(100));
                assert_eq!(timers[i].arm(deadline), was.is_some());
                order += 1;
                model.push((deadline, order, i));
            }
        }
        assert_eq!(
            ex.shared().timers().next_deadline(),
            model.iter().map(|m| m.0).min()
        );
        if random(8) == 0 {
            model.sort();
            let deadlines: Vec<_> = model.iter().map(|m| m.0).collect();
            assert_eq!(listed(7), deadlines);
        }
    }
}
