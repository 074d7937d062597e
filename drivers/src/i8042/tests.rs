//! The driver against a simulated controller, with what can go wrong.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use std::sync::Mutex;

use executor::platform::host::block_on;
use executor::platform::{self, VirtualTime};
use executor::yield_now;

use super::{DRIVER, ID};
use crate::device::{Interface, Model, Published, Upper};
use crate::input::{Reader, code};
use crate::io::{Io, Region, Width};
use crate::platform::{Platform, PlatformBus};
use crate::simulated::SimulatedLine;

/// What is wrong with the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Nobody is there.
    Absent,
    /// It takes no commands.
    Busy,
    /// It takes commands and answers none.
    Dead,
    /// Its test fails.
    Broken,
    /// It always has one more byte.
    Flood,
    /// The keyboard wants everything once more.
    Deaf,
}

#[derive(Default)]
struct Model8042 {
    fault: Fault,
    output: VecDeque<(u8, u8)>,
    config: u8,
    writes_config: bool,
    keyboard_on: bool,
}

#[derive(Clone)]
struct Simulated {
    model: Arc<Mutex<Model8042>>,
    line: SimulatedLine,
}

impl Simulated {
    fn new(fault: Fault) -> Self {
        let model = Model8042 {
            fault,
            config: 0x30,
            ..Model8042::default()
        };
        Self {
            model: Arc::new(Mutex::new(model)),
            line: SimulatedLine::new(),
        }
    }

    /// The keyboard sends bytes; `flags` are more bits of the status register.
    fn types(&self, bytes: &[u8], flags: u8) {
        let mut model = self.model.lock().unwrap();
        model.output.extend(bytes.iter().map(|b| (*b, flags)));
        drop(model);
        self.line.raise();
    }
}

impl Io for Simulated {
    fn len(&self) -> usize {
        5
    }

    fn read(&self, offset: usize, _: Width) -> u64 {
        let mut model = self.model.lock().unwrap();
        let value = match (model.fault, offset) {
            (Fault::Absent, _) => 0xff,
            (Fault::Flood, 0) => 0x1e,
            (Fault::Flood, 4) => 1,
            (_, 0) => model.output.pop_front().unwrap_or((0, 0)).0,
            (fault, _) => {
                let busy = u8::from(fault == Fault::Busy) << 1;
                model.output.front().map_or(0, |(_, flags)| 1 | flags) | busy
            }
        };
        value.into()
    }

    fn write(&self, offset: usize, _: Width, value: u64) {
        let mut model = self.model.lock().unwrap();
        let answer = match (offset, value as u8) {
            (4, 0x20) => Some(model.config),
            (4, 0x60) => {
                model.writes_config = true;
                None
            }
            (4, 0xaa) if model.fault == Fault::Broken => Some(0xfc),
            (4, 0xaa) => Some(0x55),
            (0, value) if model.writes_config => {
                model.writes_config = false;
                model.config = value;
                None
            }
            (0, _) if model.fault == Fault::Deaf => Some(0xfe),
            (0, 0xf4) => {
                model.keyboard_on = true;
                Some(0xfa)
            }
            _ => None,
        };
        if model.fault != Fault::Dead {
            model.output.extend(answer.map(|byte| (byte, 0)));
        }
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Arc<Reader>>>>);

impl Upper for Seen {
    fn publish(&self, _: &str, interface: Interface) -> Option<Published> {
        if let Interface::Input(input) = interface {
            self.0.lock().unwrap().push(input.open());
        }
        Some(Published::nowhere())
    }
}

struct Bench {
    chip: Simulated,
    bus: Arc<PlatformBus>,
    seen: Seen,
}

impl Bench {
    fn is_bound(&self) -> bool {
        self.bus.device("kbd").unwrap().driver().is_some()
    }

    fn reader(&self) -> Arc<Reader> {
        self.seen.0.lock().unwrap()[0].clone()
    }

    fn keys(&self) -> Vec<(u16, i32)> {
        let reader = self.reader();
        core::iter::from_fn(|| reader.next())
            .filter(|event| event.kind == code::EV_KEY)
            .map(|event| (event.code, event.value))
            .collect()
    }
}

async fn turns() {
    for _ in 0..400 {
        yield_now().await;
    }
}

/// Runs `test` with a driver that has looked at a controller with this fault.
fn with<F: Future<Output = ()> + Send>(fault: Fault, test: impl FnOnce(Bench) -> F + Send) {
    block_on(async {
        let clock = VirtualTime::install();
        let (chip, seen) = (Simulated::new(fault), Seen::default());
        let bus = PlatformBus::new("platform", &Model::new(seen.clone()));
        bus.add_driver(&DRIVER);
        let line = chip.line.clone();
        let device = Platform::new(ID)
            .registers(Region::new(Arc::new(chip.clone())))
            .interrupt_by(move |_| Some(line.interrupt()));
        bus.add_device("kbd", "devices/kbd", device);
        // What waits for the controller waits for half a second at most.
        for _ in 0..10_100 {
            for _ in 0..3 {
                yield_now().await;
            }
            if !clock.advance_to_next() {
                break;
            }
        }
        bus.settle().await;
        test(Bench { chip, bus, seen }).await;
        platform::register(&(&platform::host::HostPlatform as &dyn platform::Platform));
    });
}

#[test]
fn keys_become_events() {
    with(Fault::None, |bench| async move {
        assert!(bench.is_bound());
        {
            let model = bench.chip.model.lock().unwrap();
            assert!(model.keyboard_on);
            // Interrupts and translation on, the mouse off.
            assert_eq!(model.config & 0x73, 0x61);
        }
        bench.chip.types(&[0x1e, 0x1e, 0x9e, 0xe0, 0x48], 0);
        turns().await;
        assert_eq!(bench.keys(), [(30, 1), (30, 2), (30, 0), (103, 1)]);
        bench.bus.remove_device("kbd").await;
        assert!(bench.reader().is_gone());
    });
}

#[test]
fn damaged_bytes_the_mouses_and_interrupts_for_nothing_are_passed_over() {
    with(Fault::None, |bench| async move {
        for flags in [0x20, 0x40, 0x80] {
            bench.chip.types(&[0x1e], flags);
            bench.chip.line.spurious();
            turns().await;
        }
        assert_eq!(bench.keys(), []);
        bench.chip.types(&[0x1e], 0);
        turns().await;
        assert_eq!(bench.keys(), [(30, 1)]);
        bench.bus.remove_device("kbd").await;
    });
}

#[test]
fn controllers_that_do_not_work_are_not_driven() {
    for fault in [
        Fault::Absent,
        Fault::Busy,
        Fault::Dead,
        Fault::Broken,
        Fault::Flood,
        Fault::Deaf,
    ] {
        with(fault, |bench| async move {
            assert!(!bench.is_bound(), "{fault:?}");
            assert!(bench.seen.0.lock().unwrap().is_empty());
        });
    }
}

#[test]
fn a_controller_that_floods_or_vanishes_later_ends_the_driver() {
    for fault in [Fault::Flood, Fault::Absent] {
        with(Fault::None, |bench| async move {
            assert!(bench.is_bound());
            bench.chip.model.lock().unwrap().fault = fault;
            bench.chip.line.raise();
            turns().await;
            assert!(!bench.is_bound(), "{fault:?}");
            assert!(bench.reader().is_gone());
        });
    }
}
