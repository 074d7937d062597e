//! Scanning, sizing and capabilities, against functions that tell the truth and functions that do not.

use std::sync::Arc;
use std::vec::Vec;

use executor::platform::host::block_on;

use super::*;
use crate::device::DriverError;
use crate::simulated::{Memory, Sender, SimulatedFunction, SimulatedPci};

fn plain() -> SimulatedFunction {
    SimulatedFunction::new(0x1af4, 0x1042, 0x010000).with_block(0, Arc::new(Memory::new(4096)))
}

#[test]
fn functions_are_found_sized_and_described() {
    let machine = SimulatedPci::new();
    machine.plug(Address::new(0, 2, 0), plain());
    machine.plug(Address::new(0, 2, 1), plain());
    machine.plug(
        Address::new(0, 5, 0),
        SimulatedFunction::new(1, 2, 0x060000),
    );
    let found = machine.scan();
    // Function 1 of a device that does not say that it has several is not looked at.
    let at: Vec<_> = found
        .iter()
        .map(|f| std::format!("{}", f.address()))
        .collect();
    assert_eq!(at, ["0000:00:02.0", "0000:00:05.0"]);
    let bar = found[0].bars()[0].expect("it has registers");
    assert_eq!((bar.address, bar.len), (0xe000_0000, 4096));
    assert_eq!(found[1].bars(), &[None; 6]);
    let attributes = crate::device::Describe::attributes(&found[0]);
    let value = |name| {
        attributes
            .iter()
            .find(|a| a.0 == name)
            .map(|a| a.1.as_str())
    };
    assert_eq!(value("class"), Some("0x010000"));
    assert_eq!(value("vendor"), Some("0x1af4"));
    let modalias = "pci:v00001AF4d00001042sv00000000sd00000000bc01sc00i00";
    assert_eq!(value("modalias"), Some(modalias));
}

#[test]
fn buses_behind_bridges_are_found_and_their_pins_swizzled() {
    let machine = SimulatedPci::new();
    let bridge = SimulatedFunction::new(0x8086, 0x10, 0x060400);
    bridge.set(offset::HEADER_TYPE, &[1]);
    bridge.set(offset::SECONDARY_BUS, &[1]);
    machine.plug(Address::new(0, 4, 0), bridge);
    machine.plug(Address::new(1, 3, 0), plain());
    let found = machine.scan();
    assert_eq!(found[1].address(), Address::new(1, 3, 0));
    let pin = found[1].pin().unwrap();
    assert_eq!((pin.root, pin.pin), (Address::new(0, 4, 0), 3));
}

#[test]
fn bridges_that_lead_back_end_the_scan() {
    let machine = SimulatedPci::new();
    for (bus, behind) in [(0, 1), (1, 2), (2, 0)] {
        let bridge = SimulatedFunction::new(0x8086, 0x10, 0x060400);
        bridge.set(offset::HEADER_TYPE, &[1]);
        bridge.set(offset::SECONDARY_BUS, &[behind]);
        machine.plug(Address::new(bus, 1, 0), bridge);
    }
    assert_eq!(machine.scan().len(), 3);
}

#[test]
fn capability_lists_that_loop_or_leave_end() {
    let machine = SimulatedPci::new();
    let function = plain();
    function.capability(0x50, capability_id::VENDOR, &[]);
    function.capability(0x60, capability_id::MSI, &[0x80]);
    machine.plug(Address::new(0, 1, 0), function);
    let found = machine.scan();
    let ids: Vec<_> = found[0].capabilities().map(|c| c.id).collect();
    assert_eq!(ids, [capability_id::MSI, capability_id::VENDOR]);
    found[0].config().write(0x51, 0x60_u8);
    assert!(found[0].capabilities().count() <= 48);
    found[0].config().write(0x51, 0x08_u8);
    assert_eq!(found[0].capabilities().count(), 2);
}

#[test]
fn registers_that_are_missing_or_too_few_are_an_error() {
    let machine = SimulatedPci::new();
    machine.plug(Address::new(0, 1, 0), plain());
    let function = machine.scan().remove(0);
    assert!(function.map(0, 4096).is_ok());
    assert_eq!(function.map(0, 4097).unwrap_err(), DriverError::NoRegisters);
    assert_eq!(function.map(1, 1).unwrap_err(), DriverError::NoRegisters);
    assert_eq!(function.map(9, 1).unwrap_err(), DriverError::NoRegisters);
}

/// Two messages, with their table at 2048 in block `bar`.
fn with_msi_x(bar: u8, table: Arc<Memory>) -> SimulatedFunction {
    let function = SimulatedFunction::new(1, 2, 0).with_block(0, table);
    function.capability(0x40, capability_id::MSI_X, &[1, 0, bar, 0, 0, 0]);
    function
}

#[test]
fn msi_x_messages_arrive_each_at_its_own_interrupt() {
    block_on(async {
        let machine = SimulatedPci::new();
        let table = Arc::new(Memory::new(64));
        machine.plug(Address::new(0, 1, 0), with_msi_x(0, table.clone()));
        let function = machine.scan().remove(0);
        let sender = Sender::msi_x(&machine, Address::new(0, 1, 0), 0x40, table);
        sender.raise(0); // before anybody asked for it
        let interrupts = function.interrupts(2, "test").unwrap();
        assert_eq!(interrupts.len(), 2);
        sender.raise(1);
        assert_eq!((interrupts[0].take(), interrupts[1].take()), (0, 1));
        sender.raise(0);
        assert_eq!(interrupts[0].wait().await, 1);
        drop(interrupts);
        sender.raise(0);
        assert_eq!(machine.message_line(0).raised(), 1, "it is masked");
    });
}

#[test]
fn a_table_outside_the_registers_is_refused() {
    let machine = SimulatedPci::new();
    machine.plug(
        Address::new(0, 1, 0),
        with_msi_x(3, Arc::new(Memory::new(64))),
    );
    let function = machine.scan().remove(0);
    let error = function.interrupts(1, "test").unwrap_err();
    assert_eq!(error, DriverError::Lied("its MSI-X table is nowhere"));
}

#[test]
fn without_messages_the_pin_is_used() {
    let machine = SimulatedPci::new();
    machine.refuse_messages();
    machine.plug(
        Address::new(0, 1, 0),
        with_msi_x(0, Arc::new(Memory::new(64))),
    );
    let function = machine.scan().remove(0);
    let interrupt = function.interrupt("test").unwrap();
    machine.pin_line().unwrap().raise();
    assert_eq!(interrupt.take(), 1);
}
