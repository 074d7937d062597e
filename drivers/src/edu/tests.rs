//! The driver against the simulated device, with everything that can go wrong.

use alloc::sync::Arc;
use core::future::Future;
use std::sync::Mutex;
use std::vec::Vec;

use executor::platform::host::block_on;
use executor::platform::{self, VirtualTime};
use executor::yield_now;

use super::DRIVER;
use crate::device::{CharDevice, CharError, Interface, Model, Published, Upper};
use crate::pci::{Address, PciBus};
use crate::simulated::{EduFaults, LineFaults, SimulatedEdu, SimulatedPci};

const SLOT: Address = Address::new(0, 3, 0);

#[derive(Clone, Default)]
struct Nodes(Arc<Mutex<Vec<Arc<dyn CharDevice>>>>);

impl Upper for Nodes {
    fn publish(&self, _: &str, interface: Interface) -> Option<Published> {
        if let Interface::Char { device, .. } = interface {
            self.0.lock().unwrap().push(device);
        }
        Some(Published::nowhere())
    }
}

struct Bench {
    machine: Arc<SimulatedPci>,
    edu: SimulatedEdu,
    bus: Arc<PciBus>,
    nodes: Nodes,
    clock: &'static VirtualTime,
}

impl Bench {
    /// Time goes on when nothing else does.
    async fn settle(&self) {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    fn node(&self) -> Arc<dyn CharDevice> {
        self.nodes
            .0
            .lock()
            .unwrap()
            .last()
            .expect("it is published")
            .clone()
    }

    fn read(&self) -> Result<Vec<u8>, CharError> {
        let mut got = Vec::new();
        self.node().read(&mut |bytes| {
            got.extend_from_slice(bytes);
            bytes.len()
        })?;
        Ok(got)
    }

    async fn ask(&self, order: &[u8]) -> Result<Vec<u8>, CharError> {
        assert_eq!(self.node().write(order), Ok(order.len()));
        self.settle().await;
        self.read()
    }

    async fn time_is_up(&self) {
        assert!(self.clock.advance_to_next(), "somebody waits with a bound");
        self.settle().await;
    }
}

fn with_driver<F>(pin: bool, test: impl FnOnce(Arc<Bench>) -> F + Send)
where
    F: Future<Output = ()> + Send,
{
    block_on(async {
        let clock = VirtualTime::install();
        let machine = SimulatedPci::new();
        if pin {
            machine.refuse_messages();
        }
        let edu = SimulatedEdu::plug(&machine, SLOT);
        let nodes = Nodes::default();
        let bus = PciBus::new("pci", &Model::new(nodes.clone()));
        bus.add_driver(&DRIVER);
        for function in machine.scan() {
            bus.add_device("0000:00:03.0", "devices/pci0000:00/0000:00:03.0", function);
        }
        let bench = Arc::new(Bench {
            machine,
            edu,
            bus,
            nodes,
            clock,
        });
        bench.settle().await;
        let device = bench.bus.device("0000:00:03.0").expect("it was found");
        assert_eq!(device.driver(), Some("edu"));
        drop(device);
        test(bench.clone()).await;
        bench.bus.remove_device("0000:00:03.0").await;
        bench.nodes.0.lock().unwrap().clear();
        assert_eq!(bench.machine.memory().live(), 0, "every buffer came back");
        assert_eq!(bench.edu.dma_faults(), 0);
        platform::register(&(&platform::host::HostPlatform as &dyn platform::Platform));
    });
}

#[test]
fn factorials_come_by_interrupt() {
    with_driver(false, |bench| async move {
        assert_eq!(bench.ask(b"10\n").await.unwrap(), b"3628800\n");
        assert_eq!(bench.ask(b"0").await.unwrap(), b"1\n");
    });
}

#[test]
fn the_pin_does_as_well_as_a_message() {
    with_driver(true, |bench| async move {
        assert_eq!(bench.ask(b"5").await.unwrap(), b"120\n");
        let line = bench
            .machine
            .pin_line()
            .expect("the driver asked for the pin");
        assert_eq!(
            line.answered(),
            line.raised(),
            "the line is let through again"
        );
    });
}

#[test]
fn text_goes_through_the_device_by_dma_both_ways() {
    with_driver(false, |bench| async move {
        assert_eq!(bench.ask(b"over and back").await.unwrap(), b"over and back");
        let large = [b'x'; super::BUFFER_LEN];
        assert_eq!(bench.ask(&large).await.unwrap(), large);
        assert_eq!(bench.node().write(&[b'x'; 4097]), Err(CharError::Invalid));
    });
}

#[test]
fn interrupts_that_are_lost_late_double_or_meaningless_change_nothing() {
    with_driver(false, |bench| async move {
        let line = bench.machine.message_line(0);
        line.set_faults(LineFaults {
            duplicate: 3,
            ..LineFaults::default()
        });
        assert_eq!(bench.ask(b"5").await.unwrap(), b"120\n");
        assert_eq!(bench.ask(b"text").await.unwrap(), b"text");
        line.spurious();
        assert_eq!(bench.ask(b"6").await.unwrap(), b"720\n");
        line.set_faults(LineFaults {
            hold: true,
            ..LineFaults::default()
        });
        assert_eq!(bench.ask(b"7").await, Err(CharError::NotReady));
        line.deliver();
        bench.settle().await;
        assert_eq!(bench.read().unwrap(), b"5040\n");
        line.set_faults(LineFaults {
            lose: 1,
            ..LineFaults::default()
        });
        assert_eq!(bench.ask(b"4").await, Err(CharError::NotReady));
        bench.time_is_up().await;
        assert_eq!(bench.read().unwrap(), b"24\n");
    });
}

#[test]
fn a_device_that_never_answers_costs_an_error() {
    with_driver(false, |bench| async move {
        bench.edu.set_faults(EduFaults {
            dead: true,
            ..EduFaults::default()
        });
        assert_eq!(bench.ask(b"5").await, Err(CharError::NotReady));
        bench.time_is_up().await;
        assert_eq!(bench.read().unwrap(), b"the device does not answer\n");
    });
}

#[test]
fn removal_in_the_middle_fails_what_waits_and_frees_what_was_lent() {
    with_driver(false, |bench| async move {
        bench.edu.set_faults(EduFaults {
            slow: true,
            ..EduFaults::default()
        });
        assert_eq!(bench.ask(b"to be copied").await, Err(CharError::NotReady));
        assert_eq!(
            bench.machine.memory().live(),
            1,
            "the device has the buffer"
        );
        let node = bench.node();
        bench.bus.remove_device("0000:00:03.0").await;
        assert!(!bench.edu.is_bus_master(), "it touches no memory any more");
        assert_eq!(node.read(&mut |bytes| bytes.len()), Err(CharError::Gone));
        assert_eq!(node.write(b"5"), Err(CharError::Gone));
        assert!(
            node.readiness().read && node.readiness().write,
            "nobody waits for it"
        );
    });
}

#[test]
fn a_device_that_was_pulled_out_is_noticed() {
    with_driver(false, |bench| async move {
        bench.edu.pull();
        assert_eq!(bench.ask(b"5").await, Err(CharError::NotReady));
        bench.time_is_up().await;
        assert_eq!(bench.read(), Err(CharError::Gone));
        let device = bench.bus.device("0000:00:03.0").unwrap();
        assert_eq!(device.driver(), None, "the driver has given up");
    });
}

#[test]
fn without_memory_an_order_fails_and_the_next_one_works() {
    with_driver(false, |bench| async move {
        bench.machine.memory().refuse(true);
        let answer = bench.ask(b"text").await.unwrap();
        assert_eq!(answer, b"no memory that the device can reach\n");
        bench.machine.memory().refuse(false);
        assert_eq!(bench.ask(b"text").await.unwrap(), b"text");
    });
}
