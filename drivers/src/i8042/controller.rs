//! The controller: its registers and commands.
//!
//! Source: the PS/2 technical reference; Linux's `drivers/input/serio/i8042.c` for what machines do in fact.

use core::time::Duration;

use bitflags::bitflags;
use executor::time::sleep;

use crate::device::DriverError;
use crate::io::{ReadOnly, ReadWrite, Reg, Region, WriteOnly};

// The registers, from port 0x60 on.
const DATA: Reg<u8, ReadWrite> = Reg::new(0);
const STATUS: Reg<u8, ReadOnly> = Reg::new(4);
const COMMAND: Reg<u8, WriteOnly> = Reg::new(4);
pub(super) const REGISTERS_LEN: usize = 5;

bitflags! {
    /// The status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u8 {
        /// There is a byte to read.
        const OUTPUT_FULL = 1 << 0;
        /// What was written last is not taken yet.
        const INPUT_FULL = 1 << 1;
        /// The byte to read is the mouse's.
        const FROM_MOUSE = 1 << 5;
        /// The keyboard was cut off in a byte.
        const TIMED_OUT = 1 << 6;
        /// The byte to read is damaged.
        const PARITY = 1 << 7;
    }
}

bitflags! {
    /// The configuration byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Config: u8 {
        const KEYBOARD_INTERRUPT = 1 << 0;
        const MOUSE_INTERRUPT = 1 << 1;
        const KEYBOARD_OFF = 1 << 4;
        const MOUSE_OFF = 1 << 5;
        /// Scan codes of set 2 are translated to those of set 1.
        const TRANSLATE = 1 << 6;
        /// What this driver leaves as it is.
        const _ = !0;
    }
}

// Commands.
const READ_CONFIG: u8 = 0x20;
const WRITE_CONFIG: u8 = 0x60;
const MOUSE_PORT_OFF: u8 = 0xa7;
const TEST: u8 = 0xaa;
const KEYBOARD_PORT_OFF: u8 = 0xad;
const KEYBOARD_PORT_ON: u8 = 0xae;
/// What a controller that works answers to its test.
const TEST_PASSED: u8 = 0x55;

// What a keyboard is told, and answers.
const SCANNING_ON: u8 = 0xf4;
const ACKNOWLEDGED: u8 = 0xfa;
const AGAIN: u8 = 0xfe;

/// Bytes that a controller holds at most.
const MOST_HELD: usize = 16;
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// Half a second in all, as Linux has it.
const LOOKS: usize = 10_000;
const TRIES: usize = 3;

/// What a look at the output buffer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Nothing.
    Empty,
    /// A byte of the keyboard's.
    Key(u8),
    /// A byte of the mouse's, or a damaged one.
    Other,
}

/// A keyboard controller.
pub(super) struct Controller(Region);

impl Controller {
    /// Finds out whether there is a working controller, and starts the keyboard.
    ///
    /// # Errors
    /// [`DriverError::NotMine`] if there is none, [`DriverError::Lied`] if it is broken, [`DriverError::Silent`].
    pub(super) async fn start(registers: Region) -> Result<Self, DriverError> {
        let own = Self(registers);
        if own.0.read(STATUS) == u8::MAX {
            return Err(DriverError::NotMine);
        }
        own.command(KEYBOARD_PORT_OFF).await?;
        own.command(MOUSE_PORT_OFF).await?;
        own.empty()?;
        own.command(TEST).await?;
        if own.answer().await? != TEST_PASSED {
            return Err(DriverError::Lied("its test failed"));
        }
        own.command(READ_CONFIG).await?;
        let mut config = Config::from_bits_retain(own.answer().await?);
        config.insert(Config::KEYBOARD_INTERRUPT | Config::MOUSE_OFF | Config::TRANSLATE);
        config.remove(Config::MOUSE_INTERRUPT | Config::KEYBOARD_OFF);
        own.command(WRITE_CONFIG).await?;
        own.send(config.bits()).await?;
        own.command(KEYBOARD_PORT_ON).await?;
        own.empty()?;
        own.start_keyboard().await?;
        Ok(own)
    }

    async fn start_keyboard(&self) -> Result<(), DriverError> {
        for _ in 0..TRIES {
            self.send(SCANNING_ON).await?;
            for _ in 0..MOST_HELD {
                match self.answer().await? {
                    ACKNOWLEDGED => return Ok(()),
                    AGAIN => break,
                    // A key that was pressed just before.
                    _ => {}
                }
            }
        }
        Err(DriverError::Lied("its keyboard does not take commands"))
    }

    /// Takes what there is to read.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub(super) fn take(&self) -> Result<Output, DriverError> {
        let bits = self.0.read(STATUS);
        if bits == u8::MAX {
            return Err(DriverError::Gone);
        }
        let status = Status::from_bits_retain(bits);
        if !status.contains(Status::OUTPUT_FULL) {
            return Ok(Output::Empty);
        }
        let byte = self.0.read(DATA);
        let unwanted = Status::FROM_MOUSE | Status::TIMED_OUT | Status::PARITY;
        Ok(match status.intersects(unwanted) {
            true => Output::Other,
            false => Output::Key(byte),
        })
    }

    /// Throws away what there is to read.
    fn empty(&self) -> Result<(), DriverError> {
        for _ in 0..=MOST_HELD {
            if self.take()? == Output::Empty {
                return Ok(());
            }
        }
        Err(DriverError::Lied("its output buffer never runs empty"))
    }

    async fn command(&self, command: u8) -> Result<(), DriverError> {
        self.until_taken().await?;
        self.0.write(COMMAND, command);
        Ok(())
    }

    async fn send(&self, byte: u8) -> Result<(), DriverError> {
        self.until_taken().await?;
        self.0.write(DATA, byte);
        Ok(())
    }

    async fn until_taken(&self) -> Result<(), DriverError> {
        let taken = || {
            let status = Status::from_bits_retain(self.0.read(STATUS));
            Ok((!status.contains(Status::INPUT_FULL)).then_some(()))
        };
        within_half_a_second(taken).await
    }

    async fn answer(&self) -> Result<u8, DriverError> {
        let look = || {
            Ok(match self.take()? {
                Output::Key(byte) => Some(byte),
                Output::Empty | Output::Other => None,
            })
        };
        within_half_a_second(look).await
    }
}

async fn within_half_a_second<T>(
    look: impl Fn() -> Result<Option<T>, DriverError>,
) -> Result<T, DriverError> {
    for _ in 0..LOOKS {
        if let Some(found) = look()? {
            return Ok(found);
        }
        sleep(LOOK_EVERY).await;
    }
    Err(DriverError::Silent)
}
