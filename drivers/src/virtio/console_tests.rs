//! The console's driver against a simulated device.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::future::Future;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::vec::Vec;

use executor::platform::host::block_on;
use executor::yield_now;

use super::CONSOLE;
use super::tests::{EVENT_INDEX, NAME, Seen};
use crate::device::{Model, TerminalEnd, TerminalPort};
use crate::pci::{Address, PciBus};
use crate::simulated::{LineFaults, SimulatedPci, SimulatedVirtio, VirtioFaults};

/// A terminal that takes `room` bytes and has `output` to send.
#[derive(Default)]
struct Terminal {
    room: AtomicUsize,
    input: Mutex<Vec<u8>>,
    output: Mutex<Vec<u8>>,
    sent: AtomicUsize,
}

impl TerminalEnd for Terminal {
    fn received(&self, bytes: &[u8]) -> usize {
        let taken = self.room.load(Ordering::Relaxed).min(bytes.len());
        self.room.fetch_sub(taken, Ordering::Relaxed);
        self.input.lock().unwrap().extend(&bytes[..taken]);
        taken
    }
    fn next_output(&self, buf: &mut [u8]) -> usize {
        let mut output = self.output.lock().unwrap();
        let n = output.len().min(buf.len());
        buf[..n].copy_from_slice(&output[..n]);
        output.drain(..n);
        n
    }
    fn output_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    machine: Arc<SimulatedPci>,
    bus: Arc<PciBus>,
    virtio: SimulatedVirtio,
    terminal: Arc<Terminal>,
    port: Arc<dyn TerminalPort>,
    /// What the far end has typed, and what it was shown.
    typed: Arc<Mutex<VecDeque<Vec<u8>>>>,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Bench {
    fn types(&self, bytes: &[u8]) {
        self.typed.lock().unwrap().push_back(bytes.to_vec());
        self.virtio.work();
    }

    fn is_bound(&self) -> bool {
        self.bus.device(NAME).unwrap().driver().is_some()
    }

    fn input(&self) -> Vec<u8> {
        self.terminal.input.lock().unwrap().clone()
    }
}

async fn turns() {
    for _ in 0..100 {
        yield_now().await;
    }
}

fn with<F: Future<Output = ()> + Send>(test: impl FnOnce(Bench) -> F + Send) {
    block_on(async {
        let machine = SimulatedPci::new();
        let (typed, shown) = <(Arc<Mutex<VecDeque<Vec<u8>>>>, Arc<Mutex<Vec<u8>>>)>::default();
        let (typing, showing) = (typed.clone(), shown.clone());
        let virtio = SimulatedVirtio::plug(
            &machine,
            Address::new(0, 4, 0),
            super::kind::CONSOLE,
            2,
            EVENT_INDEX | 1,
            [80_u16.to_le_bytes(), 25_u16.to_le_bytes()].concat(),
            move |asked| {
                showing.lock().unwrap().extend(&asked.read);
                let next = || typing.lock().unwrap().pop_front().unwrap_or_default();
                if asked.writable > 0 {
                    next()
                } else {
                    Vec::new()
                }
            },
        );
        virtio.set_faults(VirtioFaults {
            slow_queue: Some(0),
            ..VirtioFaults::default()
        });
        let seen = Seen::default();
        let bus = PciBus::new("pci", &Model::new(seen.clone()));
        bus.add_driver(&CONSOLE);
        for function in machine.scan() {
            bus.add_device(NAME, "devices/pci0000:00/0000:00:04.0", function);
        }
        bus.settle().await;
        let terminal = Arc::new(Terminal::default());
        let port = seen.ports.lock().unwrap()[0].clone();
        port.attach(terminal.clone());
        turns().await;
        let bench = Bench {
            machine: machine.clone(),
            bus: bus.clone(),
            virtio: virtio.clone(),
            terminal,
            port,
            typed,
            shown,
        };
        assert!(bench.is_bound());
        test(bench).await;
        bus.remove_device(NAME).await;
        seen.ports.lock().unwrap().clear();
        turns().await;
        assert!(!virtio.is_bus_master());
        assert_eq!(virtio.memory_faults(), 0);
        assert_eq!(machine.memory().live(), 0, "all memory came back");
    });
}

#[test]
fn what_is_written_is_shown_and_what_is_typed_is_read() {
    with(|bench| async move {
        assert_eq!(bench.port.size(), Some((80, 25)));
        let text: Vec<u8> = (0..5000).map(|n| n as u8).collect();
        *bench.terminal.output.lock().unwrap() = text.clone();
        bench.port.changed();
        turns().await;
        assert_eq!(*bench.shown.lock().unwrap(), text);
        assert_eq!(bench.terminal.sent.load(Ordering::Relaxed), 5, "in chunks");
        bench.terminal.room.store(100, Ordering::Relaxed);
        for word in [&b"one "[..], b"two ", b"three"] {
            bench.types(word);
            turns().await;
        }
        assert_eq!(bench.input(), b"one two three");
    });
}

#[test]
fn several_buffers_are_filled_at_once_and_read_in_order() {
    with(|bench| async move {
        bench.terminal.room.store(100, Ordering::Relaxed);
        for word in [&b"one "[..], b"two ", b"three"] {
            bench.typed.lock().unwrap().push_back(word.to_vec());
        }
        let before = bench.virtio.answered();
        bench.virtio.work();
        assert_eq!(bench.virtio.answered() - before, 4, "before anybody looked");
        turns().await;
        assert_eq!(bench.input(), b"one two three");
    });
}

#[test]
fn interrupts_that_are_double_late_meaningless_or_lost_lose_no_byte() {
    with(|bench| async move {
        let line = bench.machine.message_line(0);
        bench.terminal.room.store(100, Ordering::Relaxed);
        line.set_faults(LineFaults {
            duplicate: 2,
            ..LineFaults::default()
        });
        line.spurious();
        bench.types(b"one ");
        turns().await;
        line.set_faults(LineFaults {
            hold: true,
            ..LineFaults::default()
        });
        bench.types(b"two ");
        turns().await;
        assert_eq!(bench.input(), b"one ");
        line.deliver();
        turns().await;
        line.set_faults(LineFaults {
            lose: 1,
            ..LineFaults::default()
        });
        bench.types(b"three ");
        turns().await;
        assert_eq!(bench.input(), b"one two ");
        // The next one, whatever it is for, tells of it.
        line.spurious();
        turns().await;
        assert_eq!(bench.input(), b"one two three ");
        assert!(bench.is_bound());
    });
}

#[test]
fn a_console_that_is_removed_in_the_midst_of_output_gives_everything_back() {
    with(|bench| async move {
        bench.virtio.set_faults(VirtioFaults {
            slow: true,
            ..VirtioFaults::default()
        });
        bench.terminal.output.lock().unwrap().extend(b"never shown");
        bench.port.changed();
        turns().await;
        assert!(bench.bus.unbind(NAME).await);
        assert!(!bench.is_bound());
        assert_eq!(*bench.shown.lock().unwrap(), b"");
        // And one that resets itself waits, as for a far end that does not read, until it is taken away.
        assert!(bench.bus.bind(NAME));
        bench.bus.settle().await;
        bench.virtio.reset();
        bench.port.changed();
        turns().await;
        assert!(bench.bus.unbind(NAME).await);
    });
}

#[test]
fn who_types_waits_while_there_is_no_room() {
    with(|bench| async move {
        bench.terminal.room.store(3, Ordering::Relaxed);
        bench.types(b"first");
        turns().await;
        bench.types(b"second");
        turns().await;
        assert_eq!(bench.input(), b"fir");
        for room in [1, 4, 100] {
            bench.terminal.room.store(room, Ordering::Relaxed);
            bench.port.changed();
            turns().await;
            bench.virtio.work();
            turns().await;
        }
        assert_eq!(bench.input(), b"firstsecond", "nothing is lost");
    });
}

#[test]
fn a_console_that_lies_ends_its_driver() {
    for faults in [
        VirtioFaults {
            wrong_len: Some(1025),
            ..VirtioFaults::default()
        },
        VirtioFaults {
            wrong_id: Some(99),
            ..VirtioFaults::default()
        },
        VirtioFaults {
            index_jump: 300,
            ..VirtioFaults::default()
        },
    ] {
        with(|bench| async move {
            bench.terminal.room.store(100, Ordering::Relaxed);
            bench.virtio.set_faults(faults);
            bench.types(b"lies");
            turns().await;
            assert!(!bench.is_bound(), "{faults:?}");
            assert!(!bench.virtio.is_bus_master(), "it was stopped");
            assert_eq!(bench.input(), b"");
        });
    }
}

#[test]
fn a_console_that_always_has_nothing_keeps_nobody_from_running() {
    with(|bench| async move {
        bench.virtio.set_faults(VirtioFaults::default());
        bench.virtio.work();
        turns().await;
        assert!(bench.is_bound());
        bench.terminal.output.lock().unwrap().extend(b"still here");
        bench.port.changed();
        turns().await;
        assert_eq!(*bench.shown.lock().unwrap(), b"still here");
    });
}
