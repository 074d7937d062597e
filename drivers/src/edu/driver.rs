//! The driver itself.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use executor::sync::{Mutex, SpinLock};
use executor::time::timeout;

use super::node::Node;
use crate::device::DriverError;
use crate::dma::{Dma, DmaBuf};
use crate::interrupt::Interrupt;
use crate::io::{ReadOnly, ReadWrite, Reg, Region, WriteOnly};
use crate::pci::{PciDevice, PciDriver};

// The registers.
const IDENTITY: Reg<u32, ReadOnly> = Reg::new(0x00);
const LIVENESS: Reg<u32, ReadWrite> = Reg::new(0x04);
const FACTORIAL: Reg<u32, ReadWrite> = Reg::new(0x08);
const STATUS: Reg<u32, ReadWrite> = Reg::new(0x20);
const INTERRUPT_STATUS: Reg<u32, ReadOnly> = Reg::new(0x24);
const INTERRUPT_RAISE: Reg<u32, WriteOnly> = Reg::new(0x60);
const INTERRUPT_ACK: Reg<u32, WriteOnly> = Reg::new(0x64);
const DMA_SOURCE: Reg<u64, ReadWrite> = Reg::new(0x80);
const DMA_TARGET: Reg<u64, ReadWrite> = Reg::new(0x88);
const DMA_COUNT: Reg<u64, ReadWrite> = Reg::new(0x90);
const DMA_COMMAND: Reg<u64, ReadWrite> = Reg::new(0x98);
const REGISTERS_LEN: usize = 0xa0;

// Their bits.
const COMPUTING: u32 = 1;
const INTERRUPT_WHEN_COMPUTED: u32 = 0x80;
const DMA_START: u64 = 1;
const DMA_TO_MEMORY: u64 = 2;
const DMA_INTERRUPT: u64 = 4;

// What it interrupts for.
const COMPUTED: u32 = 1;
const COPIED: u32 = 0x100;

/// Where the device finds its own memory.
const BUFFER: u64 = 0x40000;
/// How much of it there is.
pub const BUFFER_LEN: usize = 4096;
/// The device's addresses have so many bits.
const ADDRESS_BITS: u32 = 28;
/// What takes longer has failed; the device itself takes a tenth of a second for a copy.
const PATIENCE: Duration = Duration::from_secs(2);

/// The driver, for [`PciBus::add_driver`](crate::device::Bus::add_driver).
pub static DRIVER: PciDriver = PciDriver {
    name: "edu",
    matches: |function| function.is(0x1234, 0x11e8),
    run: |device| Box::pin(run(device)),
};

/// Serves one device until it goes.
async fn run(device: Arc<PciDevice>) -> Result<(), DriverError> {
    let edu = Arc::new(Edu::start(&device, device.interrupt("edu")?)?);
    let node = Node::new(edu.clone());
    let _published = device.publish(node.interface())?;
    device.bound();
    node.serve().await
}

/// A working device.
pub struct Edu {
    device: Arc<PciDevice>,
    registers: Region,
    interrupt: Interrupt,
    dma: Dma,
    /// One order at a time.
    turn: Mutex<()>,
    /// The buffer that the device copies from or to: its own until it has said that it is through.
    lent: SpinLock<Option<DmaBuf>>,
}

impl Edu {
    /// Finds out whether the device works, and takes it, with whatever interrupt was routed.
    ///
    /// # Errors
    /// [`DriverError::NotMine`], [`DriverError::Lied`], [`DriverError::NoRegisters`].
    pub fn start(device: &Arc<PciDevice>, interrupt: Interrupt) -> Result<Self, DriverError> {
        let registers = device.map(0, REGISTERS_LEN)?;
        if registers.read(IDENTITY) & 0xffff != 0x00ed {
            return Err(DriverError::NotMine);
        }
        registers.write(LIVENESS, 0x1234_5678);
        if registers.read(LIVENESS) != !0x1234_5678 {
            return Err(DriverError::Lied("it is not alive"));
        }
        registers.write(STATUS, INTERRUPT_WHEN_COMPUTED);
        device.set_bus_master(true);
        Ok(Self {
            registers,
            interrupt,
            dma: device.dma().limited_to(ADDRESS_BITS),
            turn: Mutex::new(()),
            lent: SpinLock::new(None),
            device: device.clone(),
        })
    }

    /// Computes `n`!, modulo 2^32.
    ///
    /// # Errors
    /// [`DriverError::Silent`] after two seconds, [`DriverError::Gone`].
    /// # Cancel safety
    /// The next order waits until the device is through with this one.
    pub async fn factorial(&self, n: u32) -> Result<u32, DriverError> {
        let _turn = self.turn.lock().await;
        self.registers.write(FACTORIAL, n);
        let computing = || self.registers.read(STATUS) & COMPUTING != 0;
        self.finished(COMPUTED, computing).await?;
        Ok(self.registers.read(FACTORIAL))
    }

    /// Has the device interrupt for nothing but `bits`, as its register for tests does, and waits until that has arrived.
    ///
    /// # Errors
    /// As [`Edu::factorial`].
    pub async fn poke(&self, bits: u32) -> Result<(), DriverError> {
        let _turn = self.turn.lock().await;
        self.registers.write(INTERRUPT_RAISE, bits);
        let not_yet = || self.registers.read(INTERRUPT_STATUS) & bits != 0;
        self.finished(bits, not_yet).await
    }

    /// A buffer for [`Edu::copy_in`] and [`Edu::copy_out`].
    ///
    /// # Errors
    /// [`DriverError::NoMemory`]; [`DriverError::Lied`] for more than the device has.
    pub fn buffer(&self, len: usize) -> Result<DmaBuf, DriverError> {
        if len > BUFFER_LEN {
            return Err(DriverError::Lied("more than the device's memory"));
        }
        Ok(self.dma.buffer(len)?)
    }

    /// Copies a buffer to the start of the device's memory, and gives it back.
    ///
    /// # Errors
    /// As [`Edu::factorial`].
    /// # Cancel safety
    /// The buffer stays with the driver until the device is through with it.
    pub async fn copy_in(&self, buffer: DmaBuf) -> Result<DmaBuf, DriverError> {
        let source = buffer.bus_address();
        self.copy(buffer, source, BUFFER, 0).await
    }

    /// Fills a buffer from the start of the device's memory, and gives it back.
    ///
    /// # Errors
    /// As [`Edu::factorial`].
    /// # Cancel safety
    /// As [`Edu::copy_in`].
    pub async fn copy_out(&self, buffer: DmaBuf) -> Result<DmaBuf, DriverError> {
        let target = buffer.bus_address();
        self.copy(buffer, BUFFER, target, DMA_TO_MEMORY).await
    }

    async fn copy(
        &self,
        buffer: DmaBuf,
        source: u64,
        target: u64,
        direction: u64,
    ) -> Result<DmaBuf, DriverError> {
        let _turn = self.turn.lock().await;
        let copying = || self.registers.read(DMA_COMMAND) & DMA_START != 0;
        if copying() {
            // Somebody did not wait for his; its buffer is still lent.
            self.finished(COPIED, copying).await?;
        }
        self.registers.write(DMA_SOURCE, source);
        self.registers.write(DMA_TARGET, target);
        self.registers.write(DMA_COUNT, buffer.len() as u64);
        *self.lent.lock() = Some(buffer);
        self.registers
            .write(DMA_COMMAND, DMA_START | DMA_INTERRUPT | direction);
        self.finished(COPIED, copying).await?;
        self.lent.lock().take().ok_or(DriverError::Gone)
    }

    /// Waits until the device has interrupted for `what` and is no longer `busy`.
    ///
    /// Interrupts for nothing, for something else, and for what was given up are passed over. One that was lost is
    /// noticed when time is up: the device is through then all the same.
    async fn finished(&self, what: u32, busy: impl Fn() -> bool) -> Result<(), DriverError> {
        let told = async {
            loop {
                self.interrupt.wait().await;
                let status = self.registers.read(INTERRUPT_STATUS);
                if status == u32::MAX {
                    return Err(DriverError::Gone);
                }
                self.registers.write(INTERRUPT_ACK, status);
                self.interrupt.answered();
                if status & what != 0 && !busy() {
                    return Ok(());
                }
            }
        };
        match timeout(PATIENCE, told).await {
            Ok(told) => told,
            Err(_) if self.registers.read(IDENTITY) == u32::MAX => Err(DriverError::Gone),
            Err(_) if busy() => {
                log::warn!("edu {}: no answer", self.device.name());
                Err(DriverError::Silent)
            }
            Err(_) => {
                log::warn!("edu {}: an interrupt was lost", self.device.name());
                let status = self.registers.read(INTERRUPT_STATUS);
                self.registers.write(INTERRUPT_ACK, status);
                Ok(())
            }
        }
    }
}

impl Drop for Edu {
    fn drop(&mut self) {
        // It touches no memory from here on, so that a buffer which is still lent may go.
        self.device.set_bus_master(false);
        self.registers.write(STATUS, 0);
    }
}
