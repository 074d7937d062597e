//! A model of QEMU's `edu` device, with faults.
//!
//! Source: QEMU's docs/specs/edu.rst.

use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::{Closures, Sender, SimulatedFunction, SimulatedPci};
use crate::io::Width;
use crate::pci::{Address, capability_id};

/// Where its own memory begins, and how much there is.
const BUFFER: u64 = 0x40000;
const BUFFER_LEN: usize = 4096;
/// Where its MSI capability is.
const MSI_AT: u8 = 0x40;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct EduFaults {
    /// It takes orders and never does anything.
    pub dead: bool,
    /// It does what it is told when [`SimulatedEdu::work`] is called.
    pub slow: bool,
}

struct State {
    faults: EduFaults,
    liveness: u32,
    factorial: u32,
    status: u32,
    interrupt_status: u32,
    source: u64,
    target: u64,
    count: u64,
    command: u64,
    buffer: Vec<u8>,
    /// A factorial, a DMA to be done.
    due: (bool, bool),
    /// What its DMA met that was no memory of its driver's.
    dma_faults: usize,
}

/// The device, plugged into a simulated machine.
#[derive(Clone)]
pub struct SimulatedEdu {
    state: Arc<Mutex<State>>,
    machine: Arc<SimulatedPci>,
    function: Arc<SimulatedFunction>,
    sender: Arc<Sender>,
}

impl SimulatedEdu {
    /// Plugs one in.
    pub fn plug(machine: &Arc<SimulatedPci>, address: Address) -> Self {
        let state = Arc::new(Mutex::new(State {
            faults: EduFaults::default(),
            liveness: 0,
            factorial: 0,
            status: 0,
            interrupt_status: 0,
            source: 0,
            target: 0,
            count: 0,
            command: 0,
            buffer: std::vec![0; BUFFER_LEN],
            due: (false, false),
            dma_faults: 0,
        }));
        let own = Arc::new(Mutex::new(None::<Self>));
        let (reads, writes, wired) = (state.clone(), own.clone(), own.clone());
        let registers = Closures::new(
            0x100000,
            move |offset, width| read(&reads.lock().unwrap(), offset) & width.all_ones(),
            move |offset, width, value| {
                let edu = wired.lock().unwrap().clone();
                if let Some(edu) = edu {
                    edu.write(offset, width, value);
                }
            },
        );
        let function =
            SimulatedFunction::new(0x1234, 0x11e8, 0x00ff00).with_block(0, Arc::new(registers));
        // One message, 64-bit addresses.
        function.capability(MSI_AT, capability_id::MSI, &[0x80, 0]);
        let edu = Self {
            state,
            machine: machine.clone(),
            function: machine.plug(address, function),
            sender: Arc::new(Sender::msi(machine, address, MSI_AT.into())),
        };
        *writes.lock().unwrap() = Some(edu.clone());
        edu
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: EduFaults) {
        self.state.lock().unwrap().faults = faults;
    }

    /// Pulls it out of its slot.
    pub fn pull(&self) {
        self.function.pull();
    }

    /// How often its DMA met what was no memory of its driver's.
    pub fn dma_faults(&self) -> usize {
        self.state.lock().unwrap().dma_faults
    }

    /// Whether it may still read and write memory.
    pub fn is_bus_master(&self) -> bool {
        self.function.is_bus_master()
    }

    /// Does what it was told, as a slow device does some time later.
    pub fn work(&self) {
        let raised = {
            let mut state = self.state.lock().unwrap();
            let (factorial, dma) = core::mem::take(&mut state.due);
            let mut raised = 0;
            if factorial {
                state.factorial = (1..=state.factorial).fold(1, u32::wrapping_mul);
                state.status &= !1;
                raised |= if state.status & 0x80 != 0 { 1 } else { 0 };
            }
            if dma {
                self.transfer(&mut state);
                state.command &= !1;
                raised |= if state.command & 4 != 0 { 0x100 } else { 0 };
            }
            state.interrupt_status |= raised;
            raised
        };
        if raised != 0 {
            self.sender.raise(0);
        }
    }

    fn transfer(&self, state: &mut State) {
        let to_memory = state.command & 2 != 0;
        let (inside, outside) = if to_memory {
            (state.source, state.target)
        } else {
            (state.target, state.source)
        };
        let start = inside.wrapping_sub(BUFFER) as usize;
        let count = state.count as usize;
        let inside_ok = start <= BUFFER_LEN && count <= BUFFER_LEN - start;
        if !inside_ok || !self.function.is_bus_master() {
            state.dma_faults += 1;
            return;
        }
        let memory = self.machine.memory();
        let outcome = match to_memory {
            true => memory.write(outside, &state.buffer[start..start + count]),
            false => memory.read(outside, &mut state.buffer[start..start + count]),
        };
        state.dma_faults += usize::from(outcome.is_err());
    }

    fn write(&self, offset: usize, _: Width, value: u64) {
        let (raised, now) = {
            let mut state = self.state.lock().unwrap();
            let mut raised = false;
            match offset {
                0x04 => state.liveness = !(value as u32),
                0x08 => {
                    state.factorial = value as u32;
                    state.status |= 1;
                    state.due.0 = !state.faults.dead;
                }
                0x20 => state.status = state.status & 1 | value as u32 & 0x80,
                0x60 => {
                    state.interrupt_status |= value as u32;
                    raised = true;
                }
                0x64 => state.interrupt_status &= !(value as u32),
                0x80 => state.source = value,
                0x88 => state.target = value,
                0x90 => state.count = value,
                0x98 => {
                    state.command = value;
                    state.due.1 = value & 1 != 0 && !state.faults.dead;
                }
                _ => {}
            }
            (raised, !state.faults.slow)
        };
        if raised {
            self.sender.raise(0);
        }
        if now {
            self.work();
        }
    }
}

fn read(state: &State, offset: usize) -> u64 {
    match offset {
        0x00 => 0x0100_00ed,
        0x04 => state.liveness.into(),
        0x08 => state.factorial.into(),
        0x20 => state.status.into(),
        0x24 => state.interrupt_status.into(),
        0x80 => state.source,
        0x88 => state.target,
        0x90 => state.count,
        0x98 => state.command,
        _ => u64::MAX,
    }
}
