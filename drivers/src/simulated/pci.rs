//! A simulated machine with PCI functions.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::vec::Vec;

use executor::irq::IrqEvent;

use super::{Memory, SimulatedLine, SimulatedMemory};
use crate::dma::DmaMemory;
use crate::interrupt::{Interrupt, Line};
use crate::io::{Io, Width};
use crate::pci::{
    Address, Bar, ConfigSpace, Function, Host, Message, MessageSlot, PinInterrupt, offset, scan,
};

/// Where messages go.
const MESSAGES: u64 = 0xfee0_0000;

/// A block of a function's registers.
struct Block {
    len: u32,
    io: Arc<dyn Io>,
}

/// A function: its configuration space, and models behind its blocks of registers.
pub struct SimulatedFunction {
    config: Mutex<Vec<u8>>,
    blocks: [Option<Block>; 6],
    /// Cleared when it is pulled out: nothing answers any more.
    present: Arc<AtomicBool>,
    /// Takes a write to configuration space, if it is its: the answer.
    model: OnceLock<ConfigModel>,
}

/// What is done when configuration space is written: the register and what is written to it.
type ConfigModel = Box<dyn Fn(u16, u32) -> bool + Send + Sync>;

impl SimulatedFunction {
    /// A function that is nothing but vendor and device number, class and one interrupt pin.
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let function = Self {
            config: Mutex::new(std::vec![0; 256]),
            blocks: Default::default(),
            present: Arc::new(AtomicBool::new(true)),
            model: OnceLock::new(),
        };
        function.set(offset::VENDOR, &vendor.to_le_bytes());
        function.set(offset::DEVICE, &device.to_le_bytes());
        function.set(offset::CLASS, &class.to_le_bytes()[..3]);
        function.set(offset::INTERRUPT_PIN, &[1]);
        function.set(offset::INTERRUPT_LINE, &[11]);
        function
    }

    /// Puts bytes into configuration space.
    pub fn set(&self, offset: u16, bytes: &[u8]) {
        self.config.lock().unwrap()[usize::from(offset)..][..bytes.len()].copy_from_slice(bytes);
    }

    /// A register of configuration space of 16 bits.
    pub fn get(&self, offset: u16) -> u16 {
        let config = self.config.lock().unwrap();
        let at = usize::from(offset);
        u16::from_le_bytes([config[at], config[at + 1]])
    }

    /// From now on `model` sees what is written to configuration space, and answers whether it has dealt with it.
    pub fn set_model(&self, model: impl Fn(u16, u32) -> bool + Send + Sync + 'static) {
        let _ = self.model.set(Box::new(model));
    }

    /// Adds a capability: its identity, then its registers.
    pub fn capability(&self, at: u8, id: u8, registers: &[u8]) {
        let mut config = self.config.lock().unwrap();
        config[usize::from(offset::STATUS)] |= 1 << 4;
        let list = usize::from(offset::CAPABILITIES);
        let head = core::mem::replace(&mut config[list], at);
        let at = usize::from(at);
        (config[at], config[at + 1]) = (id, head);
        config[at + 2..][..registers.len()].copy_from_slice(registers);
    }

    /// Adds a block of registers in memory.
    pub fn with_block(mut self, index: u8, io: Arc<dyn Io>) -> Self {
        let len = (io.len() as u32).next_power_of_two().max(16);
        let address = 0xe000_0000 + u32::from(index) * 0x10_0000;
        self.set(offset::BAR0 + 4 * u16::from(index), &address.to_le_bytes());
        let io = Arc::new(Pulled {
            io,
            present: self.present.clone(),
        });
        self.blocks[usize::from(index)] = Some(Block { len, io });
        self
    }

    /// Whether it is plugged in, for its model.
    pub fn presence(&self) -> Arc<AtomicBool> {
        self.present.clone()
    }

    /// Pulls it out.
    pub fn pull(&self) {
        self.present.store(false, Ordering::SeqCst);
    }

    /// Whether it may read and write memory.
    pub fn is_bus_master(&self) -> bool {
        let allowed = self.config.lock().unwrap()[usize::from(offset::COMMAND)] & 4 != 0;
        allowed && self.present.load(Ordering::SeqCst)
    }

    fn write(&self, at: u16, width: Width, value: u32) {
        if self.model.get().is_some_and(|model| model(at, value)) {
            return;
        }
        let block = at
            .checked_sub(offset::BAR0)
            .map(|rest| usize::from(rest / 4));
        let value = match block {
            // The low bits of an address are fixed, so that its size can be seen.
            Some(index) if index < 6 => {
                let len = self.blocks[index].as_ref().map_or(0, |block| block.len);
                if len == 0 { 0 } else { value & !(len - 1) }
            }
            _ => value,
        };
        let fixed = matches!(at, offset::VENDOR..offset::COMMAND | offset::REVISION..offset::BAR0);
        if !fixed {
            self.set(at, &value.to_le_bytes()[..width.bytes()]);
        }
    }
}

/// Registers of something that may be pulled out.
struct Pulled {
    io: Arc<dyn Io>,
    present: Arc<AtomicBool>,
}

impl Io for Pulled {
    fn len(&self) -> usize {
        self.io.len()
    }
    fn read(&self, offset: usize, width: Width) -> u64 {
        match self.present.load(Ordering::SeqCst) {
            true => self.io.read(offset, width),
            false => width.all_ones(),
        }
    }
    fn write(&self, offset: usize, width: Width, value: u64) {
        if self.present.load(Ordering::SeqCst) {
            self.io.write(offset, width, value);
        }
    }
}

/// A machine: memory, functions on bus 0, and interrupts.
pub struct SimulatedPci {
    memory: Arc<SimulatedMemory>,
    functions: Mutex<BTreeMap<Address, Arc<SimulatedFunction>>>,
    messages: Mutex<Vec<SimulatedLine>>,
    pins: Mutex<Vec<SimulatedLine>>,
    no_messages: AtomicBool,
}

impl SimulatedPci {
    /// An empty machine.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: SimulatedMemory::new(),
            functions: Mutex::default(),
            messages: Mutex::default(),
            pins: Mutex::default(),
            no_messages: AtomicBool::new(false),
        })
    }

    /// The memory that its functions reach.
    pub fn memory(&self) -> &Arc<SimulatedMemory> {
        &self.memory
    }

    /// Plugs a function in.
    pub fn plug(&self, address: Address, function: SimulatedFunction) -> Arc<SimulatedFunction> {
        let function = Arc::new(function);
        self.functions
            .lock()
            .unwrap()
            .insert(address, function.clone());
        function
    }

    /// The function at an address.
    pub fn function(&self, address: Address) -> Option<Arc<SimulatedFunction>> {
        self.functions.lock().unwrap().get(&address).cloned()
    }

    /// Takes a function away.
    pub fn unplug(&self, address: Address) {
        let gone = self.functions.lock().unwrap().remove(&address);
        if let Some(function) = gone {
            function.pull();
        }
    }

    /// From now on there are no messages left, so that drivers get pins.
    pub fn refuse_messages(&self) {
        self.no_messages.store(true, Ordering::SeqCst);
    }

    /// The line that message `data` raises, for faults.
    ///
    /// # Panics
    /// If nobody was given it.
    pub fn message_line(&self, data: u32) -> SimulatedLine {
        self.messages.lock().unwrap()[data as usize].clone()
    }

    /// The line of the pin that was asked for last, if one was.
    pub fn pin_line(&self) -> Option<SimulatedLine> {
        self.pins.lock().unwrap().last().cloned()
    }

    /// A function writes a message.
    pub fn send(&self, address: u64, data: u32) {
        let line = self.messages.lock().unwrap().get(data as usize).cloned();
        if let Some(line) = line.filter(|_| address == MESSAGES) {
            line.raise();
        }
    }

    /// Finds all functions, as the kernel does at boot.
    pub fn scan(self: &Arc<Self>) -> Vec<Function> {
        let space: Arc<dyn ConfigSpace> = self.clone();
        let host: Arc<dyn Host> = self.clone();
        scan(&space, &host, 0, 0)
    }
}

impl ConfigSpace for SimulatedPci {
    fn len(&self) -> u16 {
        256
    }

    fn read(&self, address: Address, offset: u16, width: Width) -> u32 {
        let functions = self.functions.lock().unwrap();
        let function = functions.get(&address);
        let Some(function) = function.filter(|f| f.present.load(Ordering::SeqCst)) else {
            return width.all_ones() as u32;
        };
        let config = function.config.lock().unwrap();
        let mut value = [0; 4];
        value[..width.bytes()].copy_from_slice(&config[usize::from(offset)..][..width.bytes()]);
        u32::from_le_bytes(value)
    }

    fn write(&self, address: Address, offset: u16, width: Width, value: u32) {
        // Its model may look at other functions.
        let function = self.function(address);
        if let Some(function) = function.filter(|f| f.present.load(Ordering::SeqCst)) {
            function.write(offset, width, value);
        }
    }
}

impl Host for SimulatedPci {
    fn map(&self, bar: &Bar) -> Option<Arc<dyn Io>> {
        let functions = self.functions.lock().unwrap();
        let all = functions.values();
        let mut blocks = all.flat_map(|f| f.blocks.iter().flatten().map(move |block| (f, block)));
        let found = blocks.find(|(f, block)| {
            let at = usize::from(offset::BAR0) + 4 * usize::from(bar.index);
            let address = f.config.lock().unwrap()[at..at + 4].to_vec();
            u64::from(block.len) == bar.len
                && address == (bar.address as u32).to_le_bytes()
                && f.blocks[usize::from(bar.index)]
                    .as_ref()
                    .is_some_and(|own| Arc::ptr_eq(&own.io, &block.io))
        });
        found.map(|(_, block)| block.io.clone())
    }

    fn memory(&self) -> Arc<dyn DmaMemory> {
        self.memory.clone()
    }

    fn message(
        &self,
        _: Address,
        _: usize,
        slot: Arc<dyn MessageSlot>,
        _: &'static str,
    ) -> Option<Interrupt> {
        if self.no_messages.load(Ordering::SeqCst) {
            return None;
        }
        let mut messages = self.messages.lock().unwrap();
        let line = SimulatedLine::new();
        messages.push(line.clone());
        let data = messages.len() as u32 - 1;
        drop(messages);
        slot.write(Message {
            address: MESSAGES,
            data,
        });
        slot.set_masked(false);
        Some(Interrupt::new(MessageLine { line, slot }))
    }

    fn pin(&self, _: PinInterrupt, _: &'static str) -> Option<Interrupt> {
        let line = SimulatedLine::new();
        self.pins.lock().unwrap().push(line.clone());
        Some(line.interrupt())
    }
}

/// A message's line, which is masked when its driver goes.
struct MessageLine {
    line: SimulatedLine,
    slot: Arc<dyn MessageSlot>,
}

impl Line for MessageLine {
    fn event(&self) -> &IrqEvent {
        self.line.event()
    }
}

impl Drop for MessageLine {
    fn drop(&mut self) {
        self.slot.set_masked(true);
    }
}

/// Sends a function's interrupts: by its MSI-X table, its MSI capability, or its pin, as the driver has set it up.
pub struct Sender {
    machine: Arc<SimulatedPci>,
    address: Address,
    how: How,
}

enum How {
    Msi { at: u16 },
    MsiX { at: u16, table: Arc<Memory> },
}

impl Sender {
    /// For a function with an MSI capability at `at` (64-bit addresses).
    pub fn msi(machine: &Arc<SimulatedPci>, address: Address, at: u16) -> Self {
        Self {
            machine: machine.clone(),
            address,
            how: How::Msi { at },
        }
    }

    /// For a function with an MSI-X capability at `at` whose table is `table`.
    pub fn msi_x(
        machine: &Arc<SimulatedPci>,
        address: Address,
        at: u16,
        table: Arc<Memory>,
    ) -> Self {
        Self {
            machine: machine.clone(),
            address,
            how: How::MsiX { at, table },
        }
    }

    /// Interrupts by message `index`.
    pub fn raise(&self, index: u16) {
        let config = |at: u16| self.machine.read(self.address, at, Width::U16) as u16;
        let config32 = |at: u16| self.machine.read(self.address, at, Width::U32);
        match &self.how {
            How::MsiX { at, table } => {
                let control = config(at + 2);
                let entry = usize::from(index) * 16;
                if entry + 16 > table.len() || table.read(entry + 12, Width::U32) & 1 != 0 {
                    return;
                }
                if control & 0xc000 == 0x8000 {
                    let data = table.read(entry + 8, Width::U32) as u32;
                    self.machine.send(table.read(entry, Width::U64), data);
                }
            }
            How::Msi { at } if config(at + 2) & 1 != 0 => {
                let high = u64::from(config32(at + 8)) << 32;
                let address = high | u64::from(config32(at + 4));
                self.machine.send(address, config(at + 12).into());
            }
            How::Msi { .. } => {
                if let Some(line) = self.machine.pin_line() {
                    line.raise();
                }
            }
        }
    }
}

/// A model whose registers are two closures.
pub struct Closures {
    len: usize,
    read: Box<dyn Fn(usize, Width) -> u64 + Send + Sync>,
    write: Box<dyn Fn(usize, Width, u64) + Send + Sync>,
}

impl Closures {
    /// `len` bytes of registers.
    pub fn new(
        len: usize,
        read: impl Fn(usize, Width) -> u64 + Send + Sync + 'static,
        write: impl Fn(usize, Width, u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            len,
            read: Box::new(read),
            write: Box::new(write),
        }
    }
}

impl Io for Closures {
    fn len(&self) -> usize {
        self.len
    }
    fn read(&self, offset: usize, width: Width) -> u64 {
        (self.read)(offset, width)
    }
    fn write(&self, offset: usize, width: Width, value: u64) {
        (self.write)(offset, width, value);
    }
}
