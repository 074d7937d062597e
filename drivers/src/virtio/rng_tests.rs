//! The entropy device's driver against a simulated one that lies.

use alloc::sync::Arc;
use core::future::Future;
use std::vec::Vec;

use executor::platform::host::block_on;
use executor::platform::{self, VirtualTime};
use executor::yield_now;

use super::RNG;
use super::tests::{EVENT_INDEX, NAME, Seen};
use crate::device::{CharDevice, CharError, Model};
use crate::pci::{Address, PciBus};
use crate::simulated::{LineFaults, SimulatedPci, SimulatedVirtio, VirtioFaults};

struct Bench {
    machine: Arc<SimulatedPci>,
    virtio: SimulatedVirtio,
    bus: Arc<PciBus>,
    seen: Seen,
    clock: &'static VirtualTime,
}

impl Bench {
    fn is_bound(&self) -> bool {
        self.bus.device(NAME).unwrap().driver().is_some()
    }

    fn node(&self) -> Arc<dyn CharDevice> {
        self.seen.chars.lock().unwrap()[0].clone()
    }

    /// Reads all there is, so that the driver asks for more.
    async fn empty(&self) -> usize {
        let mut read = 0;
        while let Ok(n) = self.node().read(&mut |bytes| bytes.len()) {
            read += n;
        }
        turns().await;
        read
    }
}

async fn turns() {
    for _ in 0..100 {
        yield_now().await;
    }
}

fn with<F: Future<Output = ()> + Send>(test: impl FnOnce(Bench) -> F + Send) {
    block_on(async {
        let clock = VirtualTime::install();
        let machine = SimulatedPci::new();
        let virtio = SimulatedVirtio::plug(
            &machine,
            Address::new(0, 4, 0),
            super::kind::ENTROPY,
            1,
            EVENT_INDEX,
            Vec::new(),
            |asked| std::vec![0x5a; asked.writable],
        );
        let seen = Seen::default();
        let bus = PciBus::new("pci", &Model::new(seen.clone()));
        bus.add_driver(&RNG);
        for function in machine.scan() {
            bus.add_device(NAME, "devices/pci0000:00/0000:00:04.0", function);
        }
        bus.settle().await;
        turns().await;
        let bench = Bench {
            machine: machine.clone(),
            virtio: virtio.clone(),
            bus: bus.clone(),
            seen: seen.clone(),
            clock,
        };
        test(bench).await;
        bus.remove_device(NAME).await;
        turns().await;
        assert!(!virtio.is_bus_master());
        assert_eq!(virtio.memory_faults(), 0);
        assert_eq!(machine.memory().live(), 0, "all memory came back");
        platform::register(&(&platform::host::HostPlatform as &dyn platform::Platform));
    });
}

#[test]
fn the_entropy_device_feeds_the_generator_and_its_node() {
    with(|bench| async move {
        assert_eq!(*bench.seen.entropy.lock().unwrap(), [0x5a; 64]);
        let mut read = 0;
        for _ in 0..10 {
            read += bench.empty().await;
        }
        assert!(read > 1000, "{read}");
        // Fresh bytes for the generator, now and then.
        assert!(bench.clock.advance_to_next());
        turns().await;
        assert_eq!(bench.seen.entropy.lock().unwrap().len(), 128);
    });
}

#[test]
fn an_entropy_device_that_lies_is_given_up_and_its_readers_are_told() {
    for faults in [
        VirtioFaults {
            wrong_len: Some(65),
            ..VirtioFaults::default()
        },
        VirtioFaults {
            wrong_id: Some(16),
            ..VirtioFaults::default()
        },
        VirtioFaults {
            index_jump: 999,
            ..VirtioFaults::default()
        },
    ] {
        with(|bench| async move {
            let node = bench.node();
            bench.virtio.set_faults(faults);
            bench.empty().await;
            assert!(!bench.is_bound(), "{faults:?}");
            assert!(!bench.virtio.is_bus_master(), "it was stopped");
            let read = node.read(&mut |bytes| bytes.len());
            assert_eq!(read, Err(CharError::Gone));
            assert!(node.readiness().read, "who polls learns of it");
        });
    }
}

#[test]
fn an_answer_that_comes_twice_ends_the_entropy_device() {
    with(|bench| async move {
        bench.virtio.set_faults(VirtioFaults {
            repeat: 1,
            ..VirtioFaults::default()
        });
        bench.empty().await;
        assert!(!bench.is_bound());
    });
}

#[test]
fn an_entropy_device_whose_interrupt_is_lost_goes_on() {
    with(|bench| async move {
        bench.machine.message_line(0).set_faults(LineFaults {
            lose: 1,
            ..LineFaults::default()
        });
        bench.empty().await;
        assert_eq!(bench.empty().await, 0, "nobody was told of more");
        assert!(bench.clock.advance_to_next());
        turns().await;
        assert!(bench.empty().await > 0);
        assert!(bench.is_bound());
    });
}

#[test]
fn an_entropy_device_that_resets_itself_is_given_up() {
    with(|bench| async move {
        bench.virtio.reset();
        bench.empty().await;
        while bench.is_bound() && bench.clock.advance_to_next() {
            turns().await;
        }
        assert!(!bench.is_bound());
    });
}

#[test]
fn a_silent_entropy_device_is_given_up_after_a_while() {
    with(|bench| async move {
        let node = bench.node();
        bench.virtio.set_faults(VirtioFaults {
            dead: true,
            ..VirtioFaults::default()
        });
        bench.empty().await;
        assert!(bench.is_bound());
        while bench.is_bound() && bench.clock.advance_to_next() {
            turns().await;
        }
        assert!(!bench.is_bound());
        assert_eq!(node.read(&mut |bytes| bytes.len()), Err(CharError::Gone));
    });
}

#[test]
fn interrupts_for_nothing_and_devices_that_vanish_cost_no_more_than_an_error() {
    with(|bench| async move {
        let node = bench.node();
        for _ in 0..10 {
            bench.machine.message_line(0).spurious();
            turns().await;
        }
        assert!(bench.empty().await > 0);
        bench.virtio.pull();
        assert!(bench.bus.unbind(NAME).await);
        assert_eq!(node.read(&mut |bytes| bytes.len()), Err(CharError::Gone));
    });
}
