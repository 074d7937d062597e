//! Devices that are only played, and what is asked of them.

use super::*;
use proptest::prelude::*;
use std::sync::Mutex;

/// A device that notes what it was told, and is too slow for delays below `needs`.
struct Played {
    traits: Traits,
    needs: u64,
    told: Mutex<Vec<u64>>,
}

impl Played {
    fn new(name: &'static str, rating: u32, features: Features) -> Self {
        Self {
            traits: Traits {
                name,
                rating,
                features,
                rate: Rate::new(1_000_000, 10, 0xffff),
            },
            needs: 0,
            told: Mutex::default(),
        }
    }
}

impl Device for Played {
    fn traits(&self) -> Traits {
        self.traits
    }

    fn set_next(&self, ticks: u64) -> bool {
        self.told.lock().unwrap().push(ticks);
        ticks >= self.needs
    }

    fn set_periodic(&self, _: u64) {}

    fn shutdown(&self) {}
}

#[test]
fn a_cpu_gets_the_best_device_that_is_its_own_and_runs() {
    let own = Features::ONESHOT | Features::PERCPU;
    let lapic = Played::new("lapic", 100, own | Features::PERIODIC);
    let deadline = Played::new("lapic-deadline", 150, own);
    let dead = Played::new("dead", 400, own | Features::DUMMY);
    let hpet = Played::new("hpet", 50, Features::ONESHOT | Features::PERIODIC);
    let pit = Played::new("pit", 0, Features::ONESHOT | Features::PERIODIC);
    let all: [&dyn Device; 5] = [&pit, &lapic, &dead, &deadline, &hpet];
    let name = |found: Option<&dyn Device>| found.map(|device| device.traits().name);
    let (own, none) = (Features::PERCPU, Features::empty());
    assert_eq!(
        name(best(all, own, Features::DUMMY)),
        Some("lapic-deadline")
    );
    assert_eq!(
        name(best(all, own | Features::PERIODIC, Features::DUMMY)),
        Some("lapic")
    );
    // One for all is nobody's own.
    assert_eq!(name(best(all, none, Features::PERCPU)), Some("hpet"));
    assert_eq!(
        name(best([&dead as &dyn Device], own, Features::DUMMY)),
        None
    );
}

#[test]
fn a_delay_is_kept_within_what_the_device_can_do() {
    let device = Played::new("pit", 0, Features::ONESHOT);
    assert_eq!(program(&device, 0), 0);
    assert_eq!(program(&device, 123_400), 0);
    assert_eq!(program(&device, u64::MAX), 0);
    // Rounded up, never down.
    assert_eq!(*device.told.lock().unwrap(), [10, 124, 0xffff]);
}

#[test]
fn a_delay_that_the_device_was_too_slow_for_is_doubled() {
    let mut device = Played::new("hpet", 50, Features::ONESHOT);
    device.needs = 70;
    assert_eq!(program(&device, 0), 3);
    assert_eq!(*device.told.lock().unwrap(), [10, 20, 40, 80]);
    device.needs = u64::MAX;
    assert_eq!(program(&device, 0), MAX_RETRIES);
}

#[test]
fn rates_of_the_machines_devices_are_exact_to_their_resolution() {
    for hz in [
        1_193_182,
        3_579_545,
        100_000_000,
        1_000_000_000,
        5_000_000_000,
    ] {
        let rate = Rate::new(hz, 1, u64::MAX);
        // A second, to within a tick in a million and one for the rounding.
        let ticks = rate.ticks(1_000_000_000);
        assert!(ticks.abs_diff(hz) <= hz / 1_000_000 + 1, "{ticks} of {hz}");
    }
    let rate = Rate::new(0, 1, 100);
    assert_eq!((rate.ticks(0), rate.ticks(u64::MAX)), (1, 100));
    let pit = Rate::new(1_193_182, 0xf, 0x7fff);
    assert_eq!((pit.min_ns() / 1000, pit.max_ns() / 1_000_000), (12, 27));
}

#[test]
fn low_resolution_is_a_tick_and_never_early() {
    const TICK: u64 = 4_000_000;
    let low = Mode::new(false, true);
    assert_eq!(low, Mode::LowResolution);
    assert_eq!(low.round(1, TICK), TICK);
    assert_eq!(low.round(TICK, TICK), TICK);
    assert_eq!(low.round(TICK + 1, TICK), 2 * TICK);
    assert_eq!(low.round(u64::MAX, TICK), u64::MAX);
    // A tick that is served late is followed by the next on the grid.
    assert_eq!(low.next_tick(3 * TICK + 17, TICK), 4 * TICK);
    assert_eq!(low.next_tick(3 * TICK, TICK), 4 * TICK);
    let high = Mode::new(true, false);
    assert_eq!(
        (high.round(17, TICK), high.next_tick(17, TICK)),
        (17, TICK + 17)
    );
    assert_eq!(Mode::new(false, false), Mode::Periodic);
}

proptest! {
    /// Each CPU is interrupted when it wanted, not before, and the device is always set for the first of them.
    #[test]
    fn every_cpu_is_served_when_it_asked(steps in prop::collection::vec((0..64_u32, 0..1000_u64, any::<bool>()), 1..200)) {
        let mut broadcast = Broadcast::new();
        let mut wanted = [u64::MAX; 64];
        let mut device = u64::MAX;
        let mut now = 0;
        for (cpu, delay, ask) in steps {
            if ask {
                wanted[cpu as usize] = if delay > 900 { u64::MAX } else { now + delay };
                device = broadcast.ask(cpu, wanted[cpu as usize]).unwrap_or(device);
            } else {
                now += delay;
                if now >= device {
                    let (due, next) = broadcast.expire(now);
                    for (cpu, wanted) in wanted.iter_mut().enumerate() {
                        prop_assert_eq!(due >> cpu & 1 == 1, *wanted <= now);
                        if *wanted <= now {
                            *wanted = u64::MAX;
                        }
                    }
                    device = next.unwrap_or(u64::MAX);
                }
            }
            let first = wanted.iter().copied().min().unwrap_or(u64::MAX);
            // Sooner than need be where somebody changed their mind, never later.
            prop_assert!(device <= first);
            prop_assert_eq!(broadcast.waiting().count_ones() as usize, wanted.iter().filter(|at| **at != u64::MAX).count());
        }
    }
}

#[test]
fn no_cpu_beyond_the_last_is_served() {
    let mut broadcast = Broadcast::new();
    assert_eq!(broadcast.ask(64, 5), None);
    assert_eq!(broadcast.expire(10), (0, None));
    assert_eq!((broadcast.events(), broadcast.next()), (1, u64::MAX));
}
