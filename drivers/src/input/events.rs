//! An input device and those who read it.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use executor::sync::{SpinLock, WaitQueue};
use executor::time::Instant;

/// Event types and codes.
#[expect(missing_docs, reason = "the names are Linux's")]
pub mod code {
    pub const EV_SYN: u16 = 0;
    pub const EV_KEY: u16 = 1;
    pub const EV_MSC: u16 = 4;
    pub const EV_REP: u16 = 0x14;
    pub const SYN_REPORT: u16 = 0;
    pub const SYN_DROPPED: u16 = 3;
    pub const MSC_SCAN: u16 = 4;
    pub const KEY_POWER: u16 = 116;
    /// One more than the largest key.
    pub const KEY_CNT: usize = 0x300;
}

/// Events that a slow reader may fall behind.
const BACKLOG: usize = 64;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it came.
    pub time: Instant,
    /// `EV_*`.
    pub kind: u16,
    /// What, by its type.
    pub code: u16,
    /// How much: 1 for a key that goes down, 0 for one that comes up, 2 for one that repeats.
    pub value: i32,
}

/// Bus, vendor, product and version, as `EVIOCGID` gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `BUS_*`.
    pub bus: u16,
    /// Who made it.
    pub vendor: u16,
    /// Which of theirs.
    pub product: u16,
    /// Which version.
    pub version: u16,
}

/// An input device.
pub struct Input {
    /// What it is called.
    pub name: &'static str,
    /// Where it is plugged in.
    pub phys: &'static str,
    /// What it is.
    pub identity: Identity,
    /// The keys that it has.
    keys: Vec<u16>,
    /// Its key events come with the hardware's own number.
    scans: bool,
    /// The keys that are down.
    down: SpinLock<Vec<u16>>,
    readers: SpinLock<Vec<Weak<Reader>>>,
    /// The one reader who gets events, if one wants them alone.
    grabbed: SpinLock<Weak<Reader>>,
    gone: AtomicBool,
}

impl Input {
    /// A device with these keys, none down. `scans` says whether it tells what the hardware calls them.
    pub fn new(
        name: &'static str,
        phys: &'static str,
        identity: Identity,
        keys: Vec<u16>,
        scans: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            phys,
            identity,
            keys,
            scans,
            down: SpinLock::default(),
            readers: SpinLock::default(),
            grabbed: SpinLock::new(Weak::new()),
            gone: AtomicBool::new(false),
        })
    }

    /// The keys that it has.
    pub fn keys(&self) -> &[u16] {
        &self.keys
    }

    /// Whether its key events come with what the hardware calls the key.
    pub fn scans(&self) -> bool {
        self.scans
    }

    /// The keys that are down.
    pub fn pressed(&self) -> Vec<u16> {
        self.down.lock().clone()
    }

    /// A new reader, who gets what comes from now on.
    pub fn open(&self) -> Arc<Reader> {
        let reader = Arc::new(Reader {
            queue: SpinLock::default(),
            changed: Arc::new(WaitQueue::new()),
            gone: AtomicBool::new(self.gone.load(Ordering::Acquire)),
        });
        self.readers.lock().push(Arc::downgrade(&reader));
        reader
    }

    /// A key went down or came up; `scan` is what the hardware calls it. A key that is down and goes down again repeats.
    ///
    /// # Context
    /// Task.
    pub fn key(&self, code: u16, down: bool, scan: Option<i32>) {
        let value = {
            let mut pressed = self.down.lock();
            let known = pressed.iter().position(|own| *own == code);
            match (down, known) {
                (true, Some(_)) => 2,
                (true, None) => {
                    pressed.push(code);
                    1
                }
                (false, Some(at)) => {
                    pressed.swap_remove(at);
                    0
                }
                // It came up without having gone down, before anybody looked.
                (false, None) => return,
            }
        };
        let time = Instant::now();
        let event = |kind, code, value| Event {
            time,
            kind,
            code,
            value,
        };
        let scan = scan.map(|scan| event(code::EV_MSC, code::MSC_SCAN, scan));
        let rest = [
            event(code::EV_KEY, code, value),
            event(code::EV_SYN, code::SYN_REPORT, 0),
        ];
        let packet: Vec<_> = scan.into_iter().chain(rest).collect();
        self.report(&packet);
    }

    /// Has `reader` alone get the events, until it gives them back or goes. False if another has them.
    pub fn grab(&self, reader: &Arc<Reader>) -> bool {
        let mut grabbed = self.grabbed.lock();
        if grabbed.strong_count() > 0 {
            return false;
        }
        *grabbed = Arc::downgrade(reader);
        true
    }

    /// Gives the events back to all. False if it is not `reader` that has them.
    pub fn ungrab(&self, reader: &Arc<Reader>) -> bool {
        let mut grabbed = self.grabbed.lock();
        let own = core::ptr::eq(grabbed.as_ptr(), Arc::as_ptr(reader));
        if own {
            *grabbed = Weak::new();
        }
        own
    }

    /// The device is gone: readers get an end.
    pub fn disconnect(&self) {
        self.gone.store(true, Ordering::Release);
        for reader in self.live_readers() {
            reader.gone.store(true, Ordering::Release);
            reader.changed.wake_all();
        }
    }

    fn report(&self, packet: &[Event]) {
        let grabbed = self.grabbed.lock().upgrade();
        let readers = match grabbed {
            Some(only) => alloc::vec![only],
            None => self.live_readers(),
        };
        for reader in readers {
            reader.take(packet);
            reader.changed.wake_all();
        }
    }

    fn live_readers(&self) -> Vec<Arc<Reader>> {
        let mut readers = self.readers.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Input").field(&self.name).finish()
    }
}

/// A driver's hold on its input device, which ends with the driver.
#[derive(Debug)]
pub struct Connected(pub Arc<Input>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.disconnect();
    }
}

/// One who reads a device's events.
pub struct Reader {
    queue: SpinLock<VecDeque<Event>>,
    changed: Arc<WaitQueue>,
    gone: AtomicBool,
}

impl Reader {
    /// The next event.
    pub fn next(&self) -> Option<Event> {
        self.queue.lock().pop_front()
    }

    /// Whether there is one.
    pub fn is_ready(&self) -> bool {
        !self.queue.lock().is_empty()
    }

    /// Whether the device is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Woken when there is something new.
    pub fn changed(&self) -> &Arc<WaitQueue> {
        &self.changed
    }

    /// Takes a packet; who has fallen too far behind loses all that it has not read, and is told.
    fn take(&self, packet: &[Event]) {
        let mut queue = self.queue.lock();
        if queue.len() + packet.len() > BACKLOG {
            queue.clear();
            if let Some(last) = packet.last() {
                queue.push_back(Event {
                    kind: code::EV_SYN,
                    code: code::SYN_DROPPED,
                    value: 0,
                    ..*last
                });
            }
            return;
        }
        queue.extend(packet);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("gone", &self.is_gone())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyboard() -> Arc<Input> {
        Input::new(
            "keys",
            "here",
            Identity::default(),
            alloc::vec![30, 31],
            true,
        )
    }

    #[test]
    fn keys_go_down_repeat_and_come_up() {
        let input = keyboard();
        let reader = input.open();
        input.key(30, true, Some(0x1e));
        input.key(30, true, None);
        input.key(30, false, None);
        input.key(31, false, None);
        let values: Vec<_> = core::iter::from_fn(|| reader.next())
            .filter(|event| event.kind == code::EV_KEY)
            .map(|event| event.value)
            .collect();
        assert_eq!(values, [1, 2, 0]);
        assert!(input.pressed().is_empty());
    }

    #[test]
    fn slow_readers_are_told_that_they_lost_something() {
        let input = keyboard();
        let reader = input.open();
        for _ in 0..BACKLOG {
            input.key(30, true, None);
        }
        let mut last = None;
        let count = core::iter::from_fn(|| reader.next())
            .inspect(|event| last = last.or((event.code == code::SYN_DROPPED).then_some(*event)))
            .count();
        assert!(count <= BACKLOG);
        assert!(last.is_some());
    }

    #[test]
    fn who_grabs_a_device_has_it_alone_until_it_lets_go_or_is_gone() {
        let input = keyboard();
        let (one, other) = (input.open(), input.open());
        assert!(input.grab(&one) && !input.grab(&other) && !input.grab(&one));
        input.key(30, true, None);
        assert!(one.is_ready() && !other.is_ready());
        assert!(!input.ungrab(&other) && input.ungrab(&one) && !input.ungrab(&one));
        input.key(30, false, None);
        assert!(other.is_ready());
        assert!(input.grab(&one));
        drop(one);
        assert!(input.grab(&other), "who is gone has nothing");
    }

    #[test]
    fn readers_of_a_device_that_is_gone_see_the_end() {
        let input = keyboard();
        let reader = input.open();
        input.disconnect();
        assert!(reader.is_gone() && input.open().is_gone());
    }
}
