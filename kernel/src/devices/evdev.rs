//! `/dev/input/event*`: the events of an input device, for each who opens it.
//!
//! Source: Linux's Documentation/input, `linux/input.h`.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use drivers::input::{Event, Input, Reader, code};
use fs::device::{Device, Opened};
use fs::{Errno, File, FileOps, Inode, PollEvents, PollTable, Result, Sink, Source, UserMemory};

use crate::timekeeping;

/// Bytes of a `struct input_event`.
const EVENT_LEN: usize = 24;
/// `EV_VERSION`.
const VERSION: u32 = 0x01_0001;

// Requests, by their number; which bytes they move is in the size field.
const GET_VERSION: u32 = 0x8004_4501;
const GET_ID: u32 = 0x8008_4502;
const GRAB: u32 = 0x4004_4590;
const REVOKE: u32 = 0x4004_4591;
const SET_CLOCK: u32 = 0x4004_45a0;
/// Direction and letter of the requests that read as much as the caller has room for.
const READ_ANY: u32 = 0x8000_4500;
const NAME: u32 = 0x06;
const PHYS: u32 = 0x07;
const UNIQUE: u32 = 0x08;
const PROPERTIES: u32 = 0x09;
const KEYS_DOWN: u32 = 0x18;
const LEDS_ON: u32 = 0x19;
const SOUNDS_ON: u32 = 0x1a;
const SWITCHES_ON: u32 = 0x1b;
const FIRST_BITS: u32 = 0x20;
const LAST_BITS: u32 = 0x3f;

/// One more than the largest code of each type of event that has bits to ask for (`input-event-codes.h`).
const COUNTS: [(u16, usize); 9] = [
    (0, 0x20),
    (code::EV_KEY, code::KEY_CNT),
    (2, 0x10),
    (3, 0x40),
    (code::EV_MSC, 8),
    (5, 0x11),
    (0x11, 0x10),
    (0x12, 8),
    (0x15, 0x80),
];

/// A set of bits, as programs are given it: whole words of eight bytes.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(alloc::vec![0; count.div_ceil(64)])
    }

    /// The codes that `input` has of a type of event; for type 0, the types. `None` for types without codes to ask for.
    pub(super) fn of(input: &Input, kind: u16) -> Option<Self> {
        let (_, count) = COUNTS.iter().find(|(own, _)| *own == kind)?;
        let mut bits = Self::new(*count);
        match kind {
            0 => {
                bits.set(code::EV_SYN);
                bits.set(code::EV_KEY);
                if input.scans() {
                    bits.set(code::EV_MSC);
                }
            }
            code::EV_KEY => input.keys().iter().for_each(|key| bits.set(*key)),
            code::EV_MSC if input.scans() => bits.set(code::MSC_SCAN),
            _ => {}
        }
        Some(bits)
    }

    /// The keys that are down.
    fn pressed(input: &Input) -> Self {
        let mut bits = Self::new(code::KEY_CNT);
        input.pressed().iter().for_each(|key| bits.set(*key));
        bits
    }

    fn set(&mut self, bit: u16) {
        if let Some(word) = self.0.get_mut(usize::from(bit) / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// As sysfs shows it: words in hexadecimal, the highest that has a bit first.
    pub(super) fn text(&self) -> String {
        let highest = self.0.iter().rposition(|word| *word != 0).unwrap_or(0);
        let words: Vec<_> = self.0[..=highest].iter().rev().collect();
        let words: Vec<_> = words.iter().map(|word| format!("{word:x}")).collect();
        words.join(" ")
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

/// Opens a device.
pub(super) struct Opener(pub(super) Arc<Input>);

impl Device for Opener {
    fn open(&self, _: u64, _: &Arc<Inode>, _: u32) -> Result<Opened> {
        Ok(Opened::stream(Arc::new(Open {
            reader: self.0.open(),
            input: self.0.clone(),
            clock: AtomicU32::new(Clock::Realtime as u32),
            revoked: AtomicBool::new(false),
        })))
    }
}

/// The clock whose time events bear, by its number.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Clock {
    Realtime = 0,
    Monotonic = 1,
    Boottime = 7,
}

/// An open device.
struct Open {
    input: Arc<Input>,
    reader: Arc<Reader>,
    /// A [`Clock`].
    clock: AtomicU32,
    revoked: AtomicBool,
}

impl Open {
    fn is_gone(&self) -> bool {
        self.reader.is_gone() || self.revoked.load(Ordering::Acquire)
    }

    /// An event as a program gets it.
    fn bytes(&self, event: &Event) -> [u8; EVENT_LEN] {
        let mut ns = event.time.as_ns();
        if self.clock.load(Ordering::Relaxed) == Clock::Realtime as u32 {
            ns = ns.wrapping_add_signed(timekeeping::offset_ns());
        }
        let mut bytes = [0; EVENT_LEN];
        bytes[..8].copy_from_slice(&(ns / 1_000_000_000).to_ne_bytes());
        bytes[8..16].copy_from_slice(&(ns % 1_000_000_000 / 1000).to_ne_bytes());
        bytes[16..18].copy_from_slice(&event.kind.to_ne_bytes());
        bytes[18..20].copy_from_slice(&event.code.to_ne_bytes());
        bytes[20..].copy_from_slice(&event.value.to_ne_bytes());
        bytes
    }

    /// Moves as many events as `len` bytes have room for. `step` moves one: false if the program's memory is missing,
    /// `None` if there is no event.
    fn whole_events(&self, len: usize, mut step: impl FnMut() -> Option<bool>) -> Result<usize> {
        if self.is_gone() {
            return Err(Errno::ENODEV);
        }
        if len > 0 && len < EVENT_LEN {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        while done + EVENT_LEN <= len {
            match step() {
                Some(true) => done += EVENT_LEN,
                Some(false) if done == 0 => return Err(Errno::EFAULT),
                _ => break,
            }
        }
        Ok(done)
    }

    fn set_clock(&self, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let mut number = [0; 4];
        mem.read(arg, &mut number)?;
        let number = u32::from_ne_bytes(number);
        let known = [Clock::Realtime, Clock::Monotonic, Clock::Boottime];
        if !known.iter().any(|clock| *clock as u32 == number) {
            return Err(Errno::EINVAL);
        }
        self.clock.store(number, Ordering::Relaxed);
        Ok(0)
    }

    fn grab(&self, on: bool) -> Result<u64> {
        match (on, on && self.input.grab(&self.reader)) {
            (true, true) => Ok(0),
            (true, false) => Err(Errno::EBUSY),
            (false, _) if self.input.ungrab(&self.reader) => Ok(0),
            (false, _) => Err(Errno::EINVAL),
        }
    }

    /// The requests that read as much as the caller has room for.
    fn read_any(&self, number: u32) -> Result<Vec<u8>> {
        let text = |text: &str| format!("{text}\0").into_bytes();
        Ok(match number {
            NAME => text(self.input.name),
            PHYS => text(self.input.phys),
            UNIQUE => return Err(Errno::ENOENT),
            PROPERTIES => Bits::new(0x20).bytes(),
            KEYS_DOWN => Bits::pressed(&self.input).bytes(),
            LEDS_ON | SOUNDS_ON | SWITCHES_ON => Bits::new(0x10).bytes(),
            FIRST_BITS..=LAST_BITS => {
                let bits = Bits::of(&self.input, (number - FIRST_BITS) as u16);
                bits.ok_or(Errno::EINVAL)?.bytes()
            }
            _ => return Err(Errno::EINVAL),
        })
    }
}

impl FileOps for Open {
    /// Gives whole events, as many as fit.
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let some = buf.remaining() > 0;
        let read = self.whole_events(buf.remaining(), || {
            let event = self.reader.next()?;
            Some(buf.put(&self.bytes(&event)) == EVENT_LEN)
        });
        match read? {
            0 if some => Err(Errno::EAGAIN),
            done => Ok(done),
        }
    }

    /// Takes whole events, and lets keys among them happen as if they were pressed.
    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        self.whole_events(buf.remaining(), || {
            let mut bytes = [0; EVENT_LEN];
            if buf.take(&mut bytes) < EVENT_LEN {
                return Some(false);
            }
            let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            let (kind, key) = (half(16), half(18));
            // The device has no other events that could be made to happen.
            if kind == code::EV_KEY && self.input.keys().contains(&key) {
                let down = bytes[20..].iter().any(|byte| *byte != 0);
                self.input.key(key, down, None);
            }
            Some(true)
        })
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(self.reader.changed());
        }
        let mut events = PollEvents::WRITE;
        events.set(PollEvents::READ, self.reader.is_ready());
        if self.is_gone() {
            events = events.difference(PollEvents::WRITE) | PollEvents::ALWAYS;
        }
        events
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        if self.is_gone() {
            return Err(Errno::ENODEV);
        }
        match cmd {
            GET_VERSION => mem.write(arg, &VERSION.to_ne_bytes()).map(|()| 0),
            GET_ID => {
                let id = self.input.identity;
                let halves = [id.bus, id.vendor, id.product, id.version];
                let bytes: Vec<_> = halves.iter().flat_map(|half| half.to_ne_bytes()).collect();
                mem.write(arg, &bytes).map(|()| 0)
            }
            GRAB => self.grab(arg != 0),
            REVOKE if arg != 0 => Err(Errno::EINVAL),
            REVOKE => {
                self.revoked.store(true, Ordering::Release);
                self.input.ungrab(&self.reader);
                self.reader.changed().wake_all();
                Ok(0)
            }
            SET_CLOCK => self.set_clock(arg, mem),
            _ if cmd & 0xc000_ff00 == READ_ANY => {
                let room = (cmd >> 16 & 0x3fff) as usize;
                let bytes = self.read_any(cmd & 0xff)?;
                let len = bytes.len().min(room);
                mem.write(arg, &bytes[..len]).map(|()| len as u64)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}
