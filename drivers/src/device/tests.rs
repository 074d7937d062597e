//! Match, probe, deferral and removal.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::boxed::Box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use executor::platform::host::block_on;
use executor::yield_now;

use super::*;

/// A device that counts what its driver does.
#[derive(Default)]
struct Thing {
    kind: u32,
    probed: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

impl Describe for Thing {}

struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn thing(kind: u32) -> Thing {
    Thing {
        kind,
        ..Thing::default()
    }
}

static PLAIN: Driver<Thing> = Driver {
    name: "plain",
    matches: |thing| thing.kind == 1,
    run: |device| {
        Box::pin(async move {
            device.probed.fetch_add(1, Ordering::SeqCst);
            let _owned = CountsDrop(device.dropped.clone());
            device.bound();
            core::future::pending().await
        })
    },
};

/// Looks like `PLAIN`'s rival and finds that it cannot.
static PICKY: Driver<Thing> = Driver {
    name: "picky",
    matches: |thing| thing.kind == 1,
    run: |_| Box::pin(async { Err(DriverError::NotMine) }),
};

/// Is there once `PLAIN` has bound something.
static NEEDY: Driver<Thing> = Driver {
    name: "needy",
    matches: |thing| thing.kind == 2,
    run: |device| {
        Box::pin(async move {
            if device.probed.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err(DriverError::Defer);
            }
            Ok(())
        })
    },
};

static FAILS_LATER: Driver<Thing> = Driver {
    name: "fails-later",
    matches: |thing| thing.kind == 3,
    run: |device| {
        Box::pin(async move {
            let owned = CountsDrop(device.dropped.clone());
            device
                .spawn("child", async move {
                    let _owned = owned;
                    core::future::pending::<()>().await
                })
                .detach();
            device.bound();
            yield_now().await;
            Err(DriverError::Lied("it burns"))
        })
    },
};

async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

#[test]
fn either_order_of_registration_probes_once() {
    block_on(async {
        for driver_first in [false, true] {
            let bus = Bus::new("things", &Model::new(NoUpper));
            if driver_first {
                bus.add_driver(&PLAIN);
            }
            let device = bus.add_device("a", "devices/a", thing(1));
            if !driver_first {
                assert_eq!(device.driver(), None);
                bus.add_driver(&PLAIN);
            }
            let other = bus.add_device("b", "devices/b", thing(9));
            settle().await;
            assert_eq!(device.probed.load(Ordering::SeqCst), 1);
            assert_eq!(device.driver(), Some("plain"));
            assert_eq!(other.driver(), None);
            assert!(!bus.bind("b"));
        }
    });
}

#[test]
fn the_next_driver_gets_what_the_first_refuses() {
    block_on(async {
        let bus = Bus::new("things", &Model::new(NoUpper));
        bus.add_driver(&PICKY);
        bus.add_driver(&PLAIN);
        let device = bus.add_device("a", "devices/a", thing(1));
        settle().await;
        assert_eq!(device.driver(), Some("plain"));
    });
}

#[test]
fn deferred_probe_is_tried_again_when_a_device_of_another_bus_is_bound() {
    block_on(async {
        let model = Model::new(NoUpper);
        let (first, second) = (Bus::new("first", &model), Bus::new("second", &model));
        first.add_driver(&NEEDY);
        second.add_driver(&PLAIN);
        let needy = first.add_device("n", "devices/n", thing(2));
        settle().await;
        assert!(needy.is_deferred());
        second.add_device("a", "devices/a", thing(1));
        settle().await;
        assert_eq!(needy.driver(), Some("needy"));
        assert_eq!(needy.probed.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn removal_drops_the_drivers_future_before_it_returns() {
    block_on(async {
        let bus = Bus::new("things", &Model::new(NoUpper));
        bus.add_driver(&PLAIN);
        let device = bus.add_device("a", "devices/a", thing(1));
        settle().await;
        assert!(bus.remove_device("a").await);
        assert_eq!(device.dropped.load(Ordering::SeqCst), 1);
        assert!(device.is_gone() && bus.devices().is_empty());
        assert!(!bus.remove_device("a").await, "it is gone already");
    });
}

#[test]
fn unbound_device_can_be_bound_again() {
    block_on(async {
        let bus = Bus::new("things", &Model::new(NoUpper));
        bus.add_driver(&PLAIN);
        let device = bus.add_device("a", "devices/a", thing(1));
        settle().await;
        assert!(bus.unbind("a").await);
        assert_eq!(device.driver(), None);
        assert!(bus.bind("a"));
        settle().await;
        assert_eq!(device.driver(), Some("plain"));
        bus.remove_driver(&PLAIN).await;
        assert_eq!(device.dropped.load(Ordering::SeqCst), 2);
        assert!(!bus.bind("a"));
    });
}

#[test]
fn a_driver_that_fails_later_takes_its_children_along() {
    block_on(async {
        let bus = Bus::new("things", &Model::new(NoUpper));
        bus.add_driver(&FAILS_LATER);
        let device = bus.add_device("c", "devices/c", thing(3));
        settle().await;
        assert_eq!(device.driver(), None);
        assert_eq!(device.dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn devices_may_come_and_go_while_somebody_looks_at_them() {
    block_on(async {
        let bus = Bus::new("things", &Model::new(NoUpper));
        bus.add_driver(&PLAIN);
        for round in 0..50 {
            let name = std::format!("t{round}");
            bus.add_device(&name, "devices/t", thing(1));
            let seen = bus.devices();
            if round % 3 == 2 {
                assert!(bus.remove_device(seen[0].name()).await);
                assert!(seen[0].is_gone(), "held, so still there to be looked at");
            }
        }
        assert_eq!(bus.devices().len(), 50 - 50 / 3);
    });
}

#[test]
fn the_upper_side_hears_of_everything_in_order() {
    #[derive(Default, Clone)]
    struct Log(Arc<Mutex<Vec<String>>>);
    impl Log {
        fn add(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }
    }
    impl Upper for Log {
        fn bus_added(&self, bus: &'static str) {
            self.add(std::format!("bus {bus}"));
        }
        fn driver_added(&self, _: &'static str, driver: &'static str) {
            self.add(std::format!("driver {driver}"));
        }
        fn device_added(&self, device: &Described<'_>) {
            self.add(std::format!("device {}", device.path));
        }
        fn bound(&self, _: &'static str, name: &str, _: &str, driver: &'static str) {
            self.add(std::format!("bound {name} {driver}"));
        }
        fn unbound(&self, _: &'static str, name: &str, _: &str, driver: &'static str) {
            self.add(std::format!("unbound {name} {driver}"));
        }
        fn device_removed(&self, _: &'static str, name: &str, _: &str) {
            self.add(std::format!("removed {name}"));
        }
    }
    let log = Log::default();
    block_on(async {
        let bus = Bus::new("things", &Model::new(log.clone()));
        bus.add_driver(&PLAIN);
        bus.add_device("a", "devices/a", thing(1));
        settle().await;
        bus.remove_device("a").await;
    });
    let expected = [
        "bus things",
        "driver plain",
        "device devices/a",
        "bound a plain",
        "unbound a plain",
        "removed a",
    ];
    assert_eq!(*log.0.lock().unwrap(), expected);
}
