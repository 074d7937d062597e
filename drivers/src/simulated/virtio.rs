//! A model of a modern virtio device on PCI, with everything that such a device can lie about.
//!
//! It reads its rings from the simulated memory, as hardware does, and hands each request to a function that plays the
//! device: disk, entropy source, or what a test needs.

use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::{Closures, Memory, Sender, SimulatedFunction, SimulatedPci};
use crate::io::Width;
use crate::pci::{Address, capability_id};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioFaults {
    /// Requests are kept until [`SimulatedVirtio::work`].
    pub slow: bool,
    /// Only those of this queue are kept.
    pub slow_queue: Option<usize>,
    /// Requests are taken and never answered.
    pub dead: bool,
    /// The next answer names this descriptor.
    pub wrong_id: Option<u32>,
    /// The next answer says that so many bytes were written.
    pub wrong_len: Option<u32>,
    /// The used index jumps by so much with the next answer.
    pub index_jump: u16,
    /// The next answer is given so many times more.
    pub repeat: usize,
}

/// A request as the device finds it: bytes to read, and how many it may write.
#[derive(Debug)]
pub struct Asked {
    /// What the driver wrote.
    pub read: Vec<u8>,
    /// How many bytes may be written.
    pub writable: usize,
}

type Play = Box<dyn FnMut(&Asked) -> Vec<u8> + Send>;

#[derive(Default)]
struct Ring {
    size: u16,
    vector: u16,
    enabled: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
    seen: u16,
    used: u16,
}

struct State {
    faults: VirtioFaults,
    status: u8,
    features: u64,
    agreed: u64,
    feature_select: u32,
    driver_select: u32,
    queue_select: u16,
    rings: Vec<Ring>,
    play: Play,
    /// Requests that were answered.
    answered: usize,
    /// Accesses to what was no memory of the driver's.
    memory_faults: usize,
    /// Notifications.
    notified: usize,
}

/// The device, plugged into a simulated machine.
#[derive(Clone)]
pub struct SimulatedVirtio {
    state: Arc<Mutex<State>>,
    machine: Arc<SimulatedPci>,
    function: Arc<SimulatedFunction>,
    sender: Arc<Sender>,
}

const NOTIFY_AT: usize = 0x1000;
const CONFIG_AT: usize = 0x2000;
const ISR_AT: usize = 0x3000;
const MSI_X_AT: u8 = 0x98;
const QUEUE_SIZE: u16 = 16;
const EVENT_INDEX: u64 = 1 << 29;

impl SimulatedVirtio {
    /// Plugs in a device of a kind with `queues` queues, these features, this configuration structure, and somebody who
    /// plays it.
    pub fn plug(
        machine: &Arc<SimulatedPci>,
        address: Address,
        kind: u16,
        queues: usize,
        features: u64,
        config: Vec<u8>,
        play: impl FnMut(&Asked) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let ring = || Ring {
            size: QUEUE_SIZE,
            ..Ring::default()
        };
        let state = Arc::new(Mutex::new(State {
            faults: VirtioFaults::default(),
            status: 0,
            features: features | 1 << 32,
            agreed: 0,
            feature_select: 0,
            driver_select: 0,
            queue_select: 0,
            rings: (0..queues).map(|_| ring()).collect(),
            play: Box::new(play),
            answered: 0,
            memory_faults: 0,
            notified: 0,
        }));
        let own = Arc::new(Mutex::new(None::<Self>));
        let (reads, writes) = (state.clone(), own.clone());
        let registers = Closures::new(
            0x4000,
            move |offset, width| match offset {
                CONFIG_AT..ISR_AT => {
                    let mut bytes = [0xff; 8];
                    let from = config.get(offset - CONFIG_AT..).unwrap_or(&[]);
                    let n = from.len().min(width.bytes());
                    bytes[..n].copy_from_slice(&from[..n]);
                    u64::from_le_bytes(bytes) & width.all_ones()
                }
                ISR_AT => 1,
                _ => reads.lock().unwrap().read(offset) & width.all_ones(),
            },
            move |offset, width, value| {
                let device = writes.lock().unwrap().clone();
                if let Some(device) = device {
                    device.write(offset, width, value);
                }
            },
        );
        let table = Arc::new(Memory::new(64));
        let function = SimulatedFunction::new(0x1af4, 0x1040 + kind, 0x00ff00)
            .with_block(0, Arc::new(registers))
            .with_block(1, table.clone());
        let structure = |at: u8, kind: u8, start: usize, len: usize, more: &[u8]| {
            let mut body = std::vec![16 + more.len() as u8, kind, 0, 0, 0, 0];
            body.extend((start as u32).to_le_bytes());
            body.extend((len as u32).to_le_bytes());
            body.extend(more);
            function.capability(at, capability_id::VENDOR, &body);
        };
        structure(0x40, 1, 0, 0x38, &[]);
        structure(0x50, 2, NOTIFY_AT, 0x100, &4_u32.to_le_bytes());
        structure(0x68, 4, CONFIG_AT, 0x100, &[]);
        structure(0x80, 3, ISR_AT, 4, &[]);
        function.capability(MSI_X_AT, capability_id::MSI_X, &[1, 0, 1, 0, 0, 0]);
        let device = Self {
            state,
            machine: machine.clone(),
            function: machine.plug(address, function),
            sender: Arc::new(Sender::msi_x(machine, address, MSI_X_AT.into(), table)),
        };
        *own.lock().unwrap() = Some(device.clone());
        device
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: VirtioFaults) {
        self.state.lock().unwrap().faults = faults;
    }

    /// Pulls it out of its slot.
    pub fn pull(&self) {
        self.function.pull();
    }

    /// Resets itself: it forgets its rings, and what it was asked.
    pub fn reset(&self) {
        self.state.lock().unwrap().write(0x14, 0);
    }

    /// Whether it may still read and write memory.
    pub fn is_bus_master(&self) -> bool {
        self.function.is_bus_master()
    }

    /// Requests that were answered.
    pub fn answered(&self) -> usize {
        self.state.lock().unwrap().answered
    }

    /// Accesses to what was no memory of the driver's.
    pub fn memory_faults(&self) -> usize {
        self.state.lock().unwrap().memory_faults
    }

    /// Notifications that it got.
    pub fn notified(&self) -> usize {
        self.state.lock().unwrap().notified
    }

    /// Answers what was asked so far, as a slow device does some time later.
    pub fn work(&self) {
        let rings = self.state.lock().unwrap().rings.len();
        for index in 0..rings {
            self.serve(index);
        }
    }

    fn serve(&self, index: usize) {
        let raised = {
            let mut state = self.state.lock().unwrap();
            let active = state.status & 4 != 0 && self.function.is_bus_master();
            match active && !state.faults.dead {
                true => state.serve(index, &self.machine),
                false => None,
            }
        };
        if let Some(vector) = raised {
            self.sender.raise(vector);
        }
    }

    fn write(&self, offset: usize, width: Width, value: u64) {
        if (NOTIFY_AT..CONFIG_AT).contains(&offset) {
            let index = (offset - NOTIFY_AT) / 4;
            let slow = {
                let mut state = self.state.lock().unwrap();
                state.notified += 1;
                state.faults.slow || state.faults.slow_queue == Some(index)
            };
            if !slow {
                self.serve(index);
            }
            return;
        }
        let _ = width;
        self.state.lock().unwrap().write(offset, value);
    }
}

impl State {
    fn read(&self, offset: usize) -> u64 {
        let ring = self.rings.get(usize::from(self.queue_select));
        match offset {
            0x04 => self.features >> (32 * self.feature_select) & 0xffff_ffff,
            0x10 => 0xffff,
            0x12 => self.rings.len() as u64,
            0x14 => self.status.into(),
            0x18 => ring.map_or(0, |ring| ring.size.into()),
            0x1a => ring.map_or(0xffff, |ring| ring.vector.into()),
            0x1c => ring.map_or(0, |ring| ring.enabled.into()),
            0x1e => self.queue_select.into(),
            _ => 0,
        }
    }

    fn write(&mut self, offset: usize, value: u64) {
        match offset {
            0x00 => self.feature_select = value as u32 & 1,
            0x08 => self.driver_select = value as u32 & 1,
            0x0c if self.driver_select == 0 => self.agreed = self.agreed & !0xffff_ffff | value,
            0x0c => self.agreed = self.agreed & 0xffff_ffff | value << 32,
            0x14 if value == 0 => {
                self.status = 0;
                for ring in &mut self.rings {
                    *ring = Ring {
                        size: QUEUE_SIZE,
                        ..Ring::default()
                    };
                }
            }
            0x14 => self.status = value as u8,
            0x16 => self.queue_select = value as u16,
            _ => {
                let select = usize::from(self.queue_select);
                if let Some(ring) = self.rings.get_mut(select) {
                    ring.write(offset, value);
                }
            }
        }
    }

    /// Answers all that is available in a ring; gives the message to send.
    fn serve(&mut self, index: usize, machine: &SimulatedPci) -> Option<u16> {
        let before = self.rings.get(index)?.used;
        while let Some(head) = self.next(index, machine) {
            self.answer(index, head, machine);
        }
        let ring = &self.rings[index];
        if ring.used == before {
            return None;
        }
        let memory = machine.memory();
        let wanted = if self.agreed & EVENT_INDEX != 0 {
            let at = ring.driver + 4 + 2 * u64::from(ring.size);
            let event = memory.read16(at).unwrap_or(0);
            // The driver wants to know when the index passes this (2.7.7.2).
            ring.used.wrapping_sub(event).wrapping_sub(1) < ring.used.wrapping_sub(before)
        } else {
            memory.read16(ring.driver).unwrap_or(0) & 1 == 0
        };
        if self.agreed & EVENT_INDEX != 0 {
            let at = ring.device + 4 + 8 * u64::from(ring.size);
            let _ = memory.write(at, &ring.seen.to_le_bytes());
        }
        wanted.then_some(ring.vector)
    }

    /// The first descriptor of the next request.
    fn next(&mut self, index: usize, machine: &SimulatedPci) -> Option<u16> {
        let ring = &mut self.rings[index];
        let memory = machine.memory();
        let available = memory.read16(ring.driver + 2).ok()?;
        if !ring.enabled || available == ring.seen {
            return None;
        }
        let entry = ring.driver + 4 + 2 * u64::from(ring.seen % ring.size);
        ring.seen = ring.seen.wrapping_add(1);
        memory.read16(entry).ok()
    }

    fn answer(&mut self, index: usize, head: u16, machine: &SimulatedPci) {
        let memory = machine.memory();
        let table = self.rings[index].descriptors;
        let (mut asked, mut places) = (
            Asked {
                read: Vec::new(),
                writable: 0,
            },
            Vec::new(),
        );
        let mut at = head;
        for _ in 0..QUEUE_SIZE {
            let mut bytes = [0; 16];
            if memory.read(table + 16 * u64::from(at), &mut bytes).is_err() {
                self.memory_faults += 1;
                return;
            }
            let bus = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let len = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
            let flags = u16::from_le_bytes(bytes[12..14].try_into().unwrap());
            if flags & 2 != 0 {
                asked.writable += len;
                places.push((bus, len));
            } else {
                let mut part = std::vec![0; len];
                self.memory_faults += usize::from(memory.read(bus, &mut part).is_err());
                asked.read.extend(part);
            }
            if flags & 1 == 0 {
                break;
            }
            at = u16::from_le_bytes(bytes[14..].try_into().unwrap());
        }
        let answer = (self.play)(&asked);
        let mut rest = answer.as_slice();
        for (bus, len) in places {
            let (part, after) = rest.split_at(len.min(rest.len()));
            self.memory_faults += usize::from(memory.write(bus, part).is_err());
            rest = after;
        }
        let faults = core::mem::take(&mut self.faults);
        self.faults = VirtioFaults {
            slow: faults.slow,
            slow_queue: faults.slow_queue,
            ..VirtioFaults::default()
        };
        let id = faults.wrong_id.unwrap_or(head.into());
        let len = faults.wrong_len.unwrap_or(answer.len() as u32);
        let ring = &mut self.rings[index];
        for _ in 0..=faults.repeat {
            let entry = ring.device + 4 + 8 * u64::from(ring.used % ring.size);
            let _ = memory.write(entry, &id.to_le_bytes());
            let _ = memory.write(entry + 4, &len.to_le_bytes());
            ring.used = ring.used.wrapping_add(1);
        }
        ring.used = ring.used.wrapping_add(faults.index_jump);
        let _ = memory.write(ring.device + 2, &ring.used.to_le_bytes());
        self.answered += 1;
    }
}

impl Ring {
    fn write(&mut self, offset: usize, value: u64) {
        let low = |old: u64| old & !0xffff_ffff | value;
        let high = |old: u64| old & 0xffff_ffff | value << 32;
        match offset {
            0x18 => self.size = value as u16,
            0x1a => self.vector = value as u16,
            0x1c => self.enabled = value != 0,
            0x20 => self.descriptors = low(self.descriptors),
            0x24 => self.descriptors = high(self.descriptors),
            0x28 => self.driver = low(self.driver),
            0x2c => self.driver = high(self.driver),
            0x30 => self.device = low(self.device),
            0x34 => self.device = high(self.device),
            _ => {}
        }
    }
}
