//! Virtio over PCI: configuration structures, features and status (4.1).

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use executor::time::{Instant, sleep};

use super::queue::{Layout, Queue, QueueError};
use crate::device::DriverError;
use crate::interrupt::Interrupt;
use crate::io::{ReadOnly, ReadWrite, Reg, Region, WriteOnly};
use crate::pci::{Function, PciDevice, capability_id};

/// Kinds of device (5).
#[expect(missing_docs, reason = "the names say it")]
pub mod kind {
    pub const NETWORK: u16 = 1;
    pub const BLOCK: u16 = 2;
    pub const CONSOLE: u16 = 3;
    pub const ENTROPY: u16 = 4;
}

/// Features of all devices, as bits (6).
pub mod feature {
    /// Interrupts and notifications are asked for by index.
    pub const EVENT_INDEX: u64 = 1 << 29;
    /// The device is a modern one.
    pub const VERSION_1: u64 = 1 << 32;
}

const VENDOR: u16 = 0x1af4;
const FIRST_TRANSITIONAL: u16 = 0x1000;
const FIRST_MODERN: u16 = 0x1040;
const LAST: u16 = 0x107f;

/// Whether a function is a virtio device of this kind.
pub fn is_virtio(function: &Function, kind: u16) -> bool {
    let id = function.identity();
    let own = match id.device {
        FIRST_TRANSITIONAL..FIRST_MODERN => id.subsystem,
        FIRST_MODERN..=LAST => id.device - FIRST_MODERN,
        _ => return false,
    };
    id.vendor == VENDOR && own == kind
}

// The common configuration structure (4.1.4.3).
const DEVICE_FEATURE_SELECT: Reg<u32, ReadWrite> = Reg::new(0x00);
const DEVICE_FEATURE: Reg<u32, ReadOnly> = Reg::new(0x04);
const DRIVER_FEATURE_SELECT: Reg<u32, ReadWrite> = Reg::new(0x08);
const DRIVER_FEATURE: Reg<u32, ReadWrite> = Reg::new(0x0c);
const CONFIG_VECTOR: Reg<u16, ReadWrite> = Reg::new(0x10);
const QUEUES: Reg<u16, ReadOnly> = Reg::new(0x12);
const STATUS: Reg<u8, ReadWrite> = Reg::new(0x14);
const QUEUE_SELECT: Reg<u16, ReadWrite> = Reg::new(0x16);
const QUEUE_SIZE: Reg<u16, ReadWrite> = Reg::new(0x18);
const QUEUE_VECTOR: Reg<u16, ReadWrite> = Reg::new(0x1a);
const QUEUE_ENABLE: Reg<u16, ReadWrite> = Reg::new(0x1c);
const QUEUE_NOTIFY_OFFSET: Reg<u16, ReadOnly> = Reg::new(0x1e);
const QUEUE_DESCRIPTORS: Reg<u32, ReadWrite> = Reg::new(0x20);
const QUEUE_DRIVER: Reg<u32, ReadWrite> = Reg::new(0x28);
const QUEUE_DEVICE: Reg<u32, ReadWrite> = Reg::new(0x30);
const COMMON_LEN: usize = 0x38;

/// Reading it answers a pin's interrupt.
const INTERRUPT_STATUS: Reg<u8, ReadOnly> = Reg::new(0);
const NOTIFY: Reg<u16, WriteOnly> = Reg::new(0);

// Status bits (2.1).
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const FAILED: u8 = 128;

/// No message.
const NO_VECTOR: u16 = 0xffff;
/// Descriptors in a queue, where the device has room for more.
const MOST_DESCRIPTORS: u16 = 128;
/// How long a device may take to reset.
const RESET_PATIENCE: Duration = Duration::from_secs(1);

// The configuration structures (4.1.4).
const COMMON: u8 = 1;
const NOTIFICATIONS: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// A virtio device. It is reset when this, or the first of its queues, is dropped: their memory must not be its then.
pub struct Transport {
    device: Arc<PciDevice>,
    common: Region,
    notify: Region,
    notify_multiplier: usize,
    isr: Region,
    config: Option<Region>,
    /// It was reset: the device may have another driver by now.
    stopped: AtomicBool,
}

impl Transport {
    /// Finds a device's configuration structures and resets it.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`DriverError::NoRegisters`] for a device without the modern structures, [`DriverError::Silent`].
    pub async fn open(device: &Arc<PciDevice>) -> Result<Arc<Self>, DriverError> {
        let (common, _) = structure(device, COMMON, COMMON_LEN)?;
        let (notify, notify_at) = structure(device, NOTIFICATIONS, 2)?;
        let multiplier: u32 = device.config().read(notify_at + 16);
        let transport = Arc::new(Self {
            common,
            notify,
            notify_multiplier: multiplier as usize,
            isr: structure(device, ISR, 1)?.0,
            config: structure(device, DEVICE, 1).ok().map(|found| found.0),
            device: device.clone(),
            stopped: AtomicBool::new(false),
        });
        transport.common.write(STATUS, 0);
        let until = Instant::now() + RESET_PATIENCE;
        while transport.common.read(STATUS) != 0 {
            if Instant::now() >= until {
                return Err(DriverError::Silent);
            }
            sleep(Duration::from_millis(1)).await;
        }
        transport.common.write(STATUS, ACKNOWLEDGE);
        transport.common.write(STATUS, ACKNOWLEDGE | DRIVER);
        device.set_bus_master(true);
        Ok(transport)
    }

    /// Agrees on those of the features `wanted` that the device has; answers them. [`feature::VERSION_1`] is always
    /// wanted, and [`feature::EVENT_INDEX`].
    ///
    /// # Errors
    /// [`DriverError::NotMine`] if the device does not agree.
    pub fn agree(&self, wanted: u64) -> Result<u64, DriverError> {
        let half = |select: u32| {
            self.common.write(DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.read(DEVICE_FEATURE))
        };
        let offered = half(0) | half(1) << 32;
        let agreed = offered & (wanted | feature::VERSION_1 | feature::EVENT_INDEX);
        for (select, half) in [(0, agreed as u32), (1, (agreed >> 32) as u32)] {
            self.common.write(DRIVER_FEATURE_SELECT, select);
            self.common.write(DRIVER_FEATURE, half);
        }
        self.common
            .write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        let accepted = self.common.read(STATUS) & FEATURES_OK != 0;
        match agreed & feature::VERSION_1 != 0 && accepted {
            true => Ok(agreed),
            false => Err(DriverError::NotMine),
        }
    }

    /// Makes queues 0 to `count`, and an interrupt for each, or one for all.
    ///
    /// # Errors
    /// [`DriverError::Lied`] about its queues, [`DriverError::NoMemory`], [`DriverError::NoInterrupt`].
    pub fn queues(
        self: &Arc<Self>,
        count: u16,
        agreed: u64,
        name: &'static str,
    ) -> Result<(Vec<Arc<Queue>>, Vec<Interrupt>), DriverError> {
        if self.common.read(QUEUES) < count {
            return Err(DriverError::Lied("it has too few queues"));
        }
        let interrupts = self.device.interrupts(count.into(), name)?;
        let by_table = self.device.sends_msi_x();
        self.common.write(CONFIG_VECTOR, NO_VECTOR);
        let queue = |index: u16| {
            let vector = match by_table {
                true => index.min(interrupts.len() as u16 - 1),
                false => NO_VECTOR,
            };
            self.queue(index, agreed, vector, name)
        };
        let queues: Result<Vec<_>, _> = (0..count).map(queue).collect();
        Ok((queues?, interrupts))
    }

    fn queue(
        self: &Arc<Self>,
        index: u16,
        agreed: u64,
        vector: u16,
        name: &'static str,
    ) -> Result<Arc<Queue>, DriverError> {
        self.common.write(QUEUE_SELECT, index);
        let size = self.common.read(QUEUE_SIZE);
        if !size.is_power_of_two() || self.common.read(QUEUE_ENABLE) != 0 {
            return Err(DriverError::Lied("a queue's size is no power of two"));
        }
        let size = size.min(MOST_DESCRIPTORS);
        self.common.write(QUEUE_SIZE, size);
        let offset = usize::from(self.common.read(QUEUE_NOTIFY_OFFSET)) * self.notify_multiplier;
        let doorbell = self.notify.part(offset..offset.saturating_add(2));
        let doorbell = doorbell.ok_or(DriverError::Lied("a queue's doorbell is nowhere"))?;
        let layout = Layout::new(size);
        let memory = self.device.dma().shared(layout.len())?;
        let bus = memory.bus_address();
        for (register, address) in [
            (QUEUE_DESCRIPTORS, bus),
            (QUEUE_DRIVER, bus + layout.available as u64),
            (QUEUE_DEVICE, bus + layout.used as u64),
        ] {
            self.common.write(register, address as u32);
            let high = Reg::new(register.offset() + 4);
            self.common
                .write::<u32, ReadWrite>(high, (address >> 32) as u32);
        }
        self.common.write(QUEUE_VECTOR, vector);
        if vector != NO_VECTOR && self.common.read(QUEUE_VECTOR) != vector {
            return Err(DriverError::NoInterrupt);
        }
        self.common.write(QUEUE_ENABLE, 1);
        let by_index = agreed & feature::EVENT_INDEX != 0;
        let ring = move || doorbell.write(NOTIFY, index);
        let own = self.clone();
        let stop = move || own.reset();
        let queue = Queue::new(name, layout, memory, by_index, ring, stop);
        Ok(Arc::new(queue))
    }

    /// Says that the driver is ready: from here on the device answers.
    pub fn ready(&self) {
        self.common
            .write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Says that the driver has given up.
    pub fn fail(&self) {
        self.common.write(STATUS, FAILED);
    }

    /// Stops the device: it touches no memory from here on. Once is enough: a queue that somebody still holds must not
    /// stop a device that was bound again since.
    pub fn reset(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        // The one stops it in good order, the other in any case.
        self.common.write(STATUS, 0);
        self.device.set_bus_master(false);
    }

    /// Answers a pin's interrupt, and says whether it was for a queue. A message needs no answer.
    pub fn read_interrupt_status(&self) -> bool {
        self.isr.read(INTERRUPT_STATUS) & 1 != 0
    }

    /// Whether the device no longer answers.
    pub fn is_gone(&self) -> bool {
        self.common.read(STATUS) == u8::MAX
    }

    /// The device's own configuration structure; an empty one reads as all ones.
    pub fn config(&self) -> Option<&Region> {
        self.config.as_ref()
    }

    /// The function.
    pub fn device(&self) -> &Arc<PciDevice> {
        &self.device
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.reset();
    }
}

/// A device in use. When its driver goes, requests under way and to come fail, and the device is stopped.
pub(super) struct Online {
    transport: Arc<Transport>,
    queues: Vec<Arc<Queue>>,
}

impl Online {
    /// Puts a device to use with its first `count` queues, and spawns into its scope what answers its interrupts.
    ///
    /// # Errors
    /// Those of [`Transport::queues`]; `NoInterrupt`.
    pub(super) fn start(
        device: &PciDevice,
        transport: &Arc<Transport>,
        agreed: u64,
        name: &'static str,
        count: u16,
    ) -> Result<Self, DriverError> {
        let (queues, interrupts) = transport.queues(count, agreed, name)?;
        let last = interrupts.len().checked_sub(1);
        let last = last.ok_or(DriverError::NoInterrupt)?;
        let online = Self {
            transport: transport.clone(),
            queues,
        };
        online.leave_will(device);
        transport.ready();
        for (at, interrupt) in interrupts.into_iter().enumerate() {
            // Each has its own, or the last one serves the rest.
            let queues = online.queues.iter().enumerate();
            let served = queues.filter(|(index, _)| (*index).min(last) == at);
            let served: Vec<_> = served.map(|(_, queue)| queue.clone()).collect();
            let answers = transport.clone();
            let bottom_half = async move {
                loop {
                    interrupt.wait().await;
                    answers.read_interrupt_status();
                    served.iter().for_each(|queue| queue.drain());
                    interrupt.answered();
                }
            };
            device.spawn(name, bottom_half).detach();
        }
        Ok(online)
    }

    /// The queue number `index`, one of those that it was started with.
    pub(super) fn queue(&self, index: usize) -> Arc<Queue> {
        self.queues[index].clone()
    }

    /// Has the same done as by dropping this, if the driver dies.
    fn leave_will(&self, device: &PciDevice) {
        let transport = Arc::downgrade(&self.transport);
        let queues: Vec<_> = self.queues.iter().map(Arc::downgrade).collect();
        device.if_it_dies(move || {
            if let Some(transport) = transport.upgrade() {
                transport.reset();
            }
            let queues = queues.iter().filter_map(Weak::upgrade);
            queues.for_each(|queue| queue.close(QueueError::Gone));
        });
    }
}

impl Drop for Online {
    fn drop(&mut self) {
        self.transport.reset();
        for queue in &self.queues {
            queue.close(QueueError::Gone);
        }
    }
}

/// The configuration structure of a kind with at least `least` bytes, and where its capability is.
fn structure(device: &PciDevice, kind: u8, least: usize) -> Result<(Region, u16), DriverError> {
    let config = device.config();
    for found in device.capabilities() {
        let at = found.offset;
        if found.id != capability_id::VENDOR || config.read::<u8>(at + 3) != kind {
            continue;
        }
        let bar: u8 = config.read(at + 4);
        let start = config.read::<u32>(at + 8) as usize;
        let len = config.read::<u32>(at + 12) as usize;
        if bar > 5 || len < least {
            continue;
        }
        let end = start.checked_add(len).ok_or(DriverError::NoRegisters)?;
        let region = device.map(bar, end)?;
        let part = region.part(start..end).ok_or(DriverError::NoRegisters)?;
        return Ok((part, at));
    }
    Err(DriverError::NoRegisters)
}
