//! Slots whose cards come and go, with everything that can go wrong.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;

use executor::platform::host::{HostPlatform, block_on};
use executor::platform::{self, Platform, VirtualTime};
use executor::yield_now;

use super::DRIVER;
use crate::device::{Model, NoUpper};
use crate::edu;
use crate::pci::{self, Address, PciBus, PciDevice};
use crate::simulated::{
    LineFaults, SimulatedEdu, SimulatedFunction, SimulatedPci, SimulatedSlot, SlotFaults,
};

const PORT: Address = Address::new(0, 4, 0);
const CARD: Address = Address::new(1, 0, 0);
const PORT_NAME: &str = "0000:00:04.0";
const CARD_NAME: &str = "0000:01:00.0";

struct Bench {
    machine: Arc<SimulatedPci>,
    slot: SimulatedSlot,
    bus: Arc<PciBus>,
    clock: &'static VirtualTime,
}

impl Bench {
    /// Everything is done that needs no time.
    async fn settle(&self) {
        for _ in 0..50 {
            yield_now().await;
        }
    }

    /// Everything is done, whatever time it takes.
    async fn settle_long(&self) {
        self.settle().await;
        while self.clock.advance_to_next() {
            self.settle().await;
        }
    }

    async fn insert(&self) -> SimulatedEdu {
        let edu = SimulatedEdu::plug(&self.machine, CARD);
        self.slot.insert();
        self.settle_long().await;
        edu
    }

    fn card(&self) -> Option<Arc<PciDevice>> {
        self.bus.device(CARD_NAME)
    }

    #[track_caller]
    fn assert_served(&self) {
        let card = self.card().expect("the card is on the bus");
        assert_eq!(card.driver(), Some("edu"));
        assert!(self.slot.has_power() && self.slot.lamp_is_on());
    }

    #[track_caller]
    fn assert_empty(&self) {
        assert!(self.card().is_none());
        assert!(!self.slot.has_power() && !self.slot.lamp_is_on());
    }
}

fn with_slot<F>(test: impl FnOnce(Arc<Bench>) -> F + Send)
where
    F: Future<Output = ()> + Send,
{
    block_on(async {
        let clock = VirtualTime::install();
        let machine = SimulatedPci::new();
        let slot = SimulatedSlot::plug(&machine, PORT, 1);
        let bus = PciBus::new("pci", &Model::new(NoUpper));
        bus.add_driver(&DRIVER);
        bus.add_driver(&edu::DRIVER);
        pci::add(&bus, machine.scan());
        let bench = Arc::new(Bench {
            machine,
            slot,
            bus,
            clock,
        });
        bench.settle().await;
        let port = bench.bus.device(PORT_NAME).expect("it was found");
        assert_eq!(port.driver(), Some("pciehp"));
        test(bench.clone()).await;
        pci::remove(&bench.bus, PORT_NAME).await;
        assert!(bench.bus.devices().is_empty());
        assert_eq!(bench.machine.memory().live(), 0, "every buffer came back");
        platform::register(&(&HostPlatform as &dyn Platform));
    });
}

#[test]
fn a_card_comes_works_and_goes_in_good_order_again_and_again() {
    with_slot(|bench| async move {
        for _ in 0..3 {
            let edu = bench.insert().await;
            bench.assert_served();
            let card = bench.card().unwrap();
            assert_eq!(card.path(), "devices/pci0000:00/0000:00:04.0/0000:01:00.0");
            let bar = card.bars()[0].unwrap();
            assert_eq!(bar.address, 0xe110_0000, "in the window of its port");
            assert!(edu.is_bus_master());
            bench.slot.press();
            bench.settle().await;
            assert_eq!(card.driver(), Some("edu"), "for five seconds more");
            bench.settle_long().await;
            assert!(card.is_gone() && !bench.slot.has_card());
            bench.assert_empty();
        }
    });
}

#[test]
fn the_button_pressed_again_leaves_the_card_in() {
    with_slot(|bench| async move {
        bench.insert().await;
        bench.slot.press();
        bench.settle().await;
        assert!(!bench.slot.lamp_is_on(), "it blinks");
        bench.slot.press();
        bench.settle_long().await;
        bench.assert_served();
        assert!(bench.slot.has_card());
    });
}

#[test]
fn a_card_that_is_pulled_out_is_taken_from_its_driver() {
    with_slot(|bench| async move {
        bench.insert().await;
        let card = bench.card().unwrap();
        bench.slot.pull();
        bench.settle_long().await;
        assert!(card.is_gone());
        bench.assert_empty();
        bench.insert().await;
        bench.assert_served();
        // In the five seconds after the button.
        bench.slot.press();
        bench.settle().await;
        bench.slot.pull();
        bench.settle_long().await;
        bench.assert_empty();
    });
}

#[test]
fn a_card_that_was_changed_for_another_is_served_anew() {
    with_slot(|bench| async move {
        bench.insert().await;
        let before = bench.card().unwrap();
        // Both before anybody looks.
        bench.slot.pull();
        SimulatedEdu::plug(&bench.machine, CARD);
        bench.slot.insert();
        bench.settle_long().await;
        assert!(before.is_gone());
        // The port has lost its power in between, and with it the card: as QEMU has it, it is ejected.
        assert!(bench.card().is_none_or(|now| !Arc::ptr_eq(&now, &before)));
        bench.insert().await;
        bench.assert_served();
    });
}

#[test]
fn interrupts_that_are_late_double_or_meaningless_change_nothing() {
    with_slot(|bench| async move {
        let line = bench.machine.message_line(0);
        line.spurious();
        bench.settle_long().await;
        bench.assert_empty();
        line.set_faults(LineFaults {
            duplicate: 3,
            ..LineFaults::default()
        });
        bench.insert().await;
        bench.assert_served();
        line.spurious();
        bench.settle_long().await;
        bench.assert_served();
        line.set_faults(LineFaults {
            hold: true,
            ..LineFaults::default()
        });
        bench.slot.pull();
        bench.settle_long().await;
        assert!(bench.card().is_some(), "nobody was told");
        line.deliver();
        bench.settle_long().await;
        bench.assert_empty();
    });
}

#[test]
fn what_a_lost_interrupt_was_for_is_seen_with_the_next_one() {
    with_slot(|bench| async move {
        let line = bench.machine.message_line(0);
        line.set_faults(LineFaults {
            lose: 1,
            ..LineFaults::default()
        });
        bench.insert().await;
        assert!(bench.card().is_none());
        line.spurious();
        bench.settle_long().await;
        bench.assert_served();
    });
}

#[test]
fn a_slot_that_never_says_that_it_is_done_works_more_slowly() {
    with_slot(|bench| async move {
        bench.slot.set_faults(SlotFaults {
            silent: true,
            ..SlotFaults::default()
        });
        bench.insert().await;
        bench.assert_served();
        bench.slot.press();
        bench.settle_long().await;
        bench.assert_empty();
    });
}

#[test]
fn a_card_whose_link_does_not_come_up_is_left_without_power() {
    with_slot(|bench| async move {
        bench.slot.set_faults(SlotFaults {
            no_link: true,
            ..SlotFaults::default()
        });
        bench.insert().await;
        bench.assert_empty();
        bench.slot.set_faults(SlotFaults::default());
        bench.insert().await;
        bench.assert_served();
    });
}

#[test]
fn a_port_that_lies_or_is_gone_loses_its_driver() {
    with_slot(|bench| async move {
        bench.slot.set_faults(SlotFaults {
            stuck: true,
            ..SlotFaults::default()
        });
        bench.slot.press();
        bench.settle_long().await;
        let port = bench.bus.device(PORT_NAME).unwrap();
        assert_eq!(port.driver(), None);
        bench.slot.set_faults(SlotFaults::default());
        assert!(bench.bus.bind(PORT_NAME));
        bench.settle_long().await;
        assert_eq!(port.driver(), Some("pciehp"));
        bench.slot.pull_port();
        bench.machine.message_line(1).spurious();
        bench.settle_long().await;
        assert_eq!(port.driver(), None);
    });
}

#[test]
fn a_card_that_needs_more_than_the_port_passes_on_has_no_registers() {
    with_slot(|bench| async move {
        let io = Arc::new(crate::simulated::Memory::new(2 << 20));
        let card = SimulatedFunction::new(0x1234, 0x11e8, 0x00ff00).with_block(0, io);
        bench.machine.plug(CARD, card);
        bench.slot.insert();
        bench.settle_long().await;
        let card = bench.card().expect("it is on the bus");
        assert_eq!(card.driver(), None);
        assert_eq!(card.bars()[0].unwrap().address, 0);
    });
}

#[test]
fn the_windows_of_a_port_are_among_its_resources() {
    with_slot(|bench| async move {
        let port = bench.bus.device(PORT_NAME).unwrap();
        let attributes = crate::device::Describe::attributes(&**port);
        let resource = attributes.iter().find(|own| own.0 == "resource").unwrap();
        let lines: Vec<_> = resource.1.lines().collect();
        assert_eq!(lines.len(), 17);
        let memory = "0x00000000e1100000 0x00000000e11fffff 0x0000000000000200";
        assert_eq!(lines[14], memory);
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
        assert!(lines[..13].iter().all(|line| *line == none));
    });
}

#[test]
fn a_port_goes_with_what_is_behind_it() {
    with_slot(|bench| async move {
        bench.insert().await;
        let card = bench.card().unwrap();
        assert!(pci::remove(&bench.bus, PORT_NAME).await);
        assert!(card.is_gone() && bench.bus.devices().is_empty());
    });
}
