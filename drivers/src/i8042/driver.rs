//! The driver: from the controller's interrupts to the events of an input device.

use alloc::boxed::Box;
use alloc::sync::Arc;

use executor::yield_now;

use super::controller::{Controller, Output, REGISTERS_LEN};
use super::keys::{self, Decoder};
use crate::device::{DriverError, Interface};
use crate::input::{Connected, Identity, Input};
use crate::platform::{PlatformDevice, PlatformDriver};

/// The driver. Its device's registers are the ports from 0x60 on, and its interrupt is the keyboard's.
pub static DRIVER: PlatformDriver = PlatformDriver {
    name: "i8042",
    matches: |device| device.id() == ID,
    run: |device| Box::pin(run(device)),
};

/// What the driver knows its device as.
pub const ID: &str = "i8042";

/// What Linux calls such a keyboard, too.
const IDENTITY: Identity = Identity {
    bus: 0x11,
    vendor: 1,
    product: 1,
    version: 0xab41,
};
const NAME: &str = "AT Translated Set 2 keyboard";
const PHYS: &str = "isa0060/serio0/input0";

/// Bytes taken before others get their turn.
const BUDGET: usize = 32;
/// Bytes without a pause that no keyboard sends.
const FLOOD: usize = 4096;

async fn run(device: Arc<PlatformDevice>) -> Result<(), DriverError> {
    let controller = Controller::start(device.region(0, REGISTERS_LEN)?).await?;
    let interrupt = device.interrupt(0, "i8042")?;
    let input = Input::new(NAME, PHYS, IDENTITY, keys::all(), true);
    let _connected = Connected(input.clone());
    let _published = device.publish(Interface::Input(input.clone()))?;
    device.bound();
    let mut decoder = Decoder::default();
    loop {
        // Before the first interrupt as well: its edge may have been before anybody had asked for it.
        take_all(&controller, &mut decoder, &input).await?;
        interrupt.answered();
        interrupt.wait().await;
    }
}

/// Takes bytes until there are none.
async fn take_all(
    controller: &Controller,
    decoder: &mut Decoder,
    input: &Input,
) -> Result<(), DriverError> {
    for count in 1..FLOOD {
        match controller.take()? {
            Output::Empty => return Ok(()),
            Output::Other => {}
            Output::Key(byte) => {
                if let Some(key) = decoder.feed(byte) {
                    input.key(key.code, key.down, Some(key.scan));
                }
            }
        }
        if count % BUDGET == 0 {
            yield_now().await;
        }
    }
    Err(DriverError::Lied("its output buffer never runs empty"))
}
