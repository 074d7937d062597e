//! The power button that is wired to ACPI's fixed registers: `KEY_POWER` for whoever listens.
//!
//! The kernel does nothing else about it, as Linux does not: what pressing it means is for programs to say.
//!
//! Source: ACPI 6.5, 4.8.3.1 (PM1 event registers), 5.2.9 (FADT).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::device::{DriverError, Interface};
use crate::input::{Connected, Identity, Input, code};
use crate::io::{ReadWrite, Reg};
use crate::platform::{PlatformDevice, PlatformDriver};

/// The driver. Its device's registers are the status and the enable half of the PM1 event block, two bytes each, and its
/// interrupt is the system control interrupt.
pub static DRIVER: PlatformDriver = PlatformDriver {
    name: "power-button",
    matches: |device| device.id() == ID,
    run: |device| Box::pin(run(device)),
};

/// What the driver knows its device as.
pub const ID: &str = "LNXPWRBN";

/// What happened; writing a one forgets it.
const STATUS: Reg<u16, ReadWrite> = Reg::new(0);
/// What interrupts.
const ENABLE: Reg<u16, ReadWrite> = Reg::new(0);
const POWER_BUTTON: u16 = 1 << 8;

/// What Linux calls it, too.
const IDENTITY: Identity = Identity {
    bus: 0x19,
    vendor: 0,
    product: 1,
    version: 0,
};

const NAME: &str = "Power Button";
const PHYS: &str = "LNXPWRBN/button/input0";

async fn run(device: Arc<PlatformDevice>) -> Result<(), DriverError> {
    let status = device.region(0, 2)?;
    let enable = device.region(1, 2)?;
    let interrupt = device.interrupt(0, "acpi")?;
    let keys = alloc::vec![code::KEY_POWER];
    let input = Input::new(NAME, PHYS, IDENTITY, keys, false);
    let _connected = Connected(input.clone());
    let _published = device.publish(Interface::Input(input.clone()))?;
    // What was pressed before anybody listened is forgotten.
    status.write(STATUS, POWER_BUTTON);
    enable.write(ENABLE, enable.read(ENABLE) | POWER_BUTTON);
    device.bound();
    loop {
        let happened = status.read(STATUS);
        if happened == u16::MAX {
            return Err(DriverError::Gone);
        }
        if happened & POWER_BUTTON != 0 {
            status.write(STATUS, POWER_BUTTON);
            if status.read(STATUS) & POWER_BUTTON != 0 {
                // The line would stay asserted, and keep the CPU busy.
                return Err(DriverError::Lied("its status does not go away"));
            }
            input.key(code::KEY_POWER, true, None);
            input.key(code::KEY_POWER, false, None);
        }
        interrupt.answered();
        interrupt.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use executor::platform::host::block_on;
    use executor::yield_now;

    use super::*;
    use crate::device::{Model, Published, Upper};
    use crate::input::Reader;
    use crate::io::{Io, Region, Width};
    use crate::platform::{Platform, PlatformBus};
    use crate::simulated::{Memory, SimulatedLine};

    /// A status register whose bits are forgotten by writing ones, unless it is stuck.
    #[derive(Default)]
    struct Status {
        bits: Mutex<u16>,
        stuck: bool,
    }

    impl Io for Status {
        fn len(&self) -> usize {
            2
        }
        fn read(&self, _: usize, _: Width) -> u64 {
            (*self.bits.lock().unwrap()).into()
        }
        fn write(&self, _: usize, _: Width, value: u64) {
            if !self.stuck {
                *self.bits.lock().unwrap() &= !(value as u16);
            }
        }
    }

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Option<Arc<Reader>>>>);

    impl Upper for Seen {
        fn publish(&self, _: &str, interface: Interface) -> Option<Published> {
            if let Interface::Input(input) = interface {
                *self.0.lock().unwrap() = Some(input.open());
            }
            Some(Published::nowhere())
        }
    }

    struct Bench {
        status: Arc<Status>,
        line: SimulatedLine,
        bus: Arc<PlatformBus>,
        reader: Arc<Reader>,
    }

    impl Bench {
        async fn new(stuck: bool) -> Self {
            let status = Arc::new(Status {
                stuck,
                ..Status::default()
            });
            let (line, seen) = (SimulatedLine::new(), Seen::default());
            let bus = PlatformBus::new("platform", &Model::new(seen.clone()));
            bus.add_driver(&DRIVER);
            let wire = line.clone();
            let device = Platform::new(ID)
                .registers(Region::new(status.clone()))
                .registers(Region::new(Arc::new(Memory::new(2))))
                .interrupt_by(move |_| Some(wire.interrupt()));
            bus.add_device("button", "devices/button", device);
            bus.settle().await;
            let reader = seen.0.lock().unwrap().clone().expect("it is published");
            Self {
                status,
                line,
                bus,
                reader,
            }
        }

        /// The bits of the status register become `bits`, and the line is raised.
        async fn press(&self, bits: u16) {
            *self.status.bits.lock().unwrap() |= bits;
            self.line.raise();
            for _ in 0..10 {
                yield_now().await;
            }
        }

        fn keys(&self) -> alloc::vec::Vec<(u16, i32)> {
            core::iter::from_fn(|| self.reader.next())
                .filter(|event| event.kind == code::EV_KEY)
                .map(|event| (event.code, event.value))
                .collect()
        }
    }

    #[test]
    fn each_press_is_a_key_that_goes_down_and_up() {
        block_on(async {
            let bench = Bench::new(false).await;
            for _ in 0..3 {
                bench.press(POWER_BUTTON).await;
                assert_eq!(bench.keys(), [(116, 1), (116, 0)]);
            }
            assert!(bench.line.answered() >= 3, "the line is let through again");
            bench.bus.remove_device("button").await;
            assert!(bench.reader.is_gone());
        });
    }

    #[test]
    fn interrupts_of_others_on_the_line_are_passed_over() {
        block_on(async {
            let bench = Bench::new(false).await;
            for _ in 0..10 {
                bench.press(1).await;
            }
            assert_eq!(bench.keys(), []);
            bench.press(POWER_BUTTON).await;
            assert_eq!(bench.keys().len(), 2);
            bench.bus.remove_device("button").await;
        });
    }

    #[test]
    fn a_status_that_stays_or_is_gone_ends_the_driver() {
        for bits in [POWER_BUTTON, u16::MAX] {
            block_on(async move {
                let bench = Bench::new(true).await;
                assert!(bench.bus.device("button").unwrap().driver().is_some());
                bench.press(bits).await;
                assert!(bench.bus.device("button").unwrap().driver().is_none());
                assert_eq!(bench.keys(), []);
                assert!(bench.reader.is_gone());
            });
        }
    }
}
