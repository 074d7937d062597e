//! The block device (5.2): `/dev/vda` and on.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::queue::{Part, Queue, QueueError};
use super::transport::{Online, Transport, is_virtio, kind};
use crate::block::partition;
use crate::block::{BlockDevice, BlockError, BlockFuture, Disk, Failed, Geometry, SECTOR};
use crate::device::{DriverError, Interface};
use crate::dma::{Dma, DmaBuf, DmaShared, NoMemory};
use crate::io::{ReadOnly, Reg};
use crate::pci::{PciDevice, PciDriver};

/// The driver.
pub static BLOCK: PciDriver = PciDriver {
    name: "virtio_blk",
    matches: |function| is_virtio(function, kind::BLOCK),
    run: |device| Box::pin(run(device)),
};

// Features (5.2.3).
const SIZE_MAX: u64 = 1 << 1;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;

// The configuration structure (5.2.4).
const CAPACITY_LOW: Reg<u32, ReadOnly> = Reg::new(0);
const CAPACITY_HIGH: Reg<u32, ReadOnly> = Reg::new(4);
const LARGEST_SEGMENT: Reg<u32, ReadOnly> = Reg::new(8);
const UNIT: Reg<u32, ReadOnly> = Reg::new(20);

// Requests (5.2.6): a header, the data, a byte of status.
const TYPE_READ: u32 = 0;
const TYPE_WRITE: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_IDENTIFY: u32 = 8;
const HEADER_LEN: usize = 16;
const IDENTITY_LEN: usize = 20;
const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What the status byte holds until the device has written it.
const STATUS_NONE: u8 = 0xff;

/// The largest request.
const MOST_BYTES: usize = 256 * 1024;
/// Linux's limit as well: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A disk.
pub struct VirtioBlock {
    queue: Arc<Queue>,
    /// A header for each descriptor that a request may begin with, then a status byte for each.
    headers: DmaShared,
    dma: Dma,
    geometry: Geometry,
    can_flush: bool,
    name: String,
    serial: String,
}

async fn run(device: Arc<PciDevice>) -> Result<(), DriverError> {
    let transport = Transport::open(&device).await?;
    let agreed = transport.agree(SIZE_MAX | READ_ONLY | BLOCK_SIZE | FLUSH)?;
    let geometry = geometry(&transport, agreed)?;
    let online = Online::start(&device, &transport, agreed, "virtio-blk", 1)?;
    let queue = online.queue(0);

    let index = Index::take().ok_or(DriverError::NoPlace)?;
    let headers = device
        .dma()
        .shared(usize::from(queue.size()) * (HEADER_LEN + 1))?;
    let mut disk = VirtioBlock {
        queue: queue.clone(),
        headers,
        dma: device.dma(),
        geometry,
        can_flush: agreed & FLUSH != 0,
        name: index.name(),
        serial: String::new(),
    };
    disk.serial = disk.identify().await.unwrap_or_default();
    let disk = Arc::new(disk);
    log::info!(
        "virtio-blk {}: {} has {} sectors of {SECTOR} bytes",
        device.name(),
        disk.name,
        geometry.sectors
    );
    let partitions = partition::read(&*disk).await;
    let _published = device.publish(Interface::Disk(Arc::new(Disk {
        name: disk.name.clone(),
        index: index.0,
        device: disk.clone(),
        partitions,
    })))?;
    device.bound();
    Err(queue.until_closed().await.into())
}

fn geometry(transport: &Transport, agreed: u64) -> Result<Geometry, DriverError> {
    let config = transport.config().ok_or(DriverError::NoRegisters)?;
    let capacity = || {
        let high = u64::from(config.read(CAPACITY_HIGH));
        high << 32 | u64::from(config.read(CAPACITY_LOW))
    };
    // Two reads of a number that may change in between.
    let sectors = capacity();
    if sectors != capacity() || sectors > u64::MAX / SECTOR as u64 {
        return Err(DriverError::Lied("its size makes no sense"));
    }
    let block_size = match agreed & BLOCK_SIZE {
        0 => SECTOR as u32,
        _ => config.read(UNIT),
    };
    if !block_size.is_power_of_two() || !(512..=4096).contains(&block_size) {
        return Err(DriverError::Lied("its block size makes no sense"));
    }
    let largest = match agreed & SIZE_MAX {
        0 => MOST_BYTES,
        _ => (config.read(LARGEST_SEGMENT) as usize).min(MOST_BYTES),
    };
    let max_bytes = largest & !(block_size as usize - 1);
    if max_bytes == 0 {
        return Err(DriverError::Lied("its largest request is none"));
    }
    Ok(Geometry {
        sectors,
        block_size,
        read_only: agreed & READ_ONLY != 0,
        max_bytes,
    })
}

impl VirtioBlock {
    /// Its name in `/dev`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it calls itself.
    async fn identify(&self) -> Result<String, Failed> {
        let buffer = self
            .buffer(IDENTITY_LEN)
            .map_err(|_| fail(BlockError::Device, None))?;
        let answer = self.request(TYPE_IDENTIFY, 0, Some(buffer)).await?;
        let text: &[u8] = answer.as_deref().unwrap_or(&[]);
        let text = text.split(|byte| *byte == 0).next().unwrap_or(&[]);
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Checks a transfer before the device sees it.
    fn check(&self, sector: u64, buffer: DmaBuf, writes: bool) -> Result<DmaBuf, Failed> {
        let Geometry {
            sectors,
            block_size,
            read_only,
            max_bytes,
        } = self.geometry;
        let whole = buffer.len().is_multiple_of(block_size as usize);
        let count = (buffer.len() / SECTOR) as u64;
        let inside = sector.checked_add(count).is_some_and(|end| end <= sectors);
        let error = if writes && read_only {
            BlockError::ReadOnly
        } else if !whole || !inside || buffer.is_empty() || buffer.len() > max_bytes {
            BlockError::OutOfRange
        } else {
            return Ok(buffer);
        };
        Err(fail(error, Some(buffer)))
    }

    /// Makes a request and waits for its answer. The buffer, if there is one, is what it transfers.
    async fn request(
        &self,
        kind: u32,
        sector: u64,
        buffer: Option<DmaBuf>,
    ) -> Result<Option<DmaBuf>, Failed> {
        let statuses = usize::from(self.queue.size()) * HEADER_LEN;
        let mut own = 0;
        let submitted = self.queue.submit(buffer, |head, buffer| {
            own = statuses + usize::from(head);
            let header = usize::from(head) * HEADER_LEN;
            self.headers.write(header, kind);
            self.headers.write(header + 4, 0_u32);
            self.headers.write(header + 8, sector);
            self.headers.write(own, STATUS_NONE);
            let bus = self.headers.bus_address();
            let data = buffer.map(|buffer| match kind {
                TYPE_WRITE => Part::read(buffer.bus_address(), buffer.len()),
                _ => Part::write(buffer.bus_address(), buffer.len()),
            });
            let status = Part::write(bus + own as u64, 1);
            let header = Part::read(bus + header as u64, HEADER_LEN);
            match data {
                Some(data) => [Some(header), Some(data), Some(status)],
                None => [Some(header), Some(status), None],
            }
        });
        let request = match submitted.await {
            Ok(request) => request,
            Err((error, buffer)) => return Err(fail(error.into(), buffer)),
        };
        let answered = request.with(|| self.headers.read::<u8>(own));
        let Ok((completion, status)) = self.queue.within(PATIENCE, answered).await else {
            log::error!("{}: no answer in {} s", self.name, PATIENCE.as_secs());
            return Err(fail(BlockError::TimedOut, None));
        };
        let error = match (completion.written, status) {
            (Err(error), _) => error.into(),
            (Ok(_), STATUS_OK) => return Ok(completion.buffer),
            (Ok(_), STATUS_UNSUPPORTED) => BlockError::Unsupported,
            (Ok(_), status) => {
                log::error!("{}: sector {sector}: status {status}", self.name);
                BlockError::Device
            }
        };
        Err(fail(error, completion.buffer))
    }

    async fn transfer(&self, kind: u32, sector: u64, buffer: DmaBuf) -> Result<DmaBuf, Failed> {
        let buffer = self.check(sector, buffer, kind == TYPE_WRITE)?;
        let answer = self.request(kind, sector, Some(buffer)).await?;
        answer.ok_or_else(|| fail(BlockError::Gone, None))
    }
}

fn fail(error: BlockError, buffer: Option<DmaBuf>) -> Failed {
    Failed { error, buffer }
}

impl From<QueueError> for BlockError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Lied => Self::Device,
            QueueError::Gone => Self::Gone,
        }
    }
}

impl BlockDevice for VirtioBlock {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn serial(&self) -> String {
        self.serial.clone()
    }

    fn buffer(&self, len: usize) -> Result<DmaBuf, NoMemory> {
        self.dma.buffer(len)
    }

    fn read(&self, sector: u64, buffer: DmaBuf) -> BlockFuture<'_> {
        Box::pin(self.transfer(TYPE_READ, sector, buffer))
    }

    fn write(&self, sector: u64, buffer: DmaBuf) -> BlockFuture<'_> {
        Box::pin(self.transfer(TYPE_WRITE, sector, buffer))
    }

    fn flush(&self) -> Pin<Box<dyn Future<Output = Result<(), BlockError>> + Send + '_>> {
        Box::pin(async {
            if !self.can_flush {
                // It has no cache of its own.
                return Ok(());
            }
            let answer = self.request(TYPE_FLUSH, 0, None).await;
            answer.map(|_| ()).map_err(|failed| failed.error)
        })
    }
}

/// The numbers of disks in use.
static USED: AtomicU64 = AtomicU64::new(0);

/// A disk's number, until it is dropped.
struct Index(u32);

impl Index {
    fn take() -> Option<Self> {
        let free = |used: u64| (used != u64::MAX).then(|| used | (used + 1));
        let before = USED.try_update(Ordering::AcqRel, Ordering::Relaxed, free);
        Some(Self(before.ok()?.trailing_ones()))
    }

    /// `vda` to `vdz`, then `vdaa` and on.
    fn name(&self) -> String {
        let letter = |n: u32| char::from(b'a' + n as u8);
        match self.0 {
            n @ ..26 => format!("vd{}", letter(n)),
            n => format!("vd{}{}", letter(n / 26 - 1), letter(n % 26)),
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        USED.fetch_and(!(1 << self.0), Ordering::AcqRel);
    }
}
