//! Disks and their partitions as block devices.
//!
//! There is no cache in front of a disk yet: each read and write goes to the device, so what one program has written is what
//! the next one reads, and `fsync(2)` has only the device's own cache to empty.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use drivers::block::partition::Partition;
use drivers::block::{BlockDevice, BlockError, Disk, Failed, SECTOR};
use drivers::device::Published;
use drivers::dma::DmaBuf;
use executor::sync::{RwLock, SpinLock};
use fs::device::{self, Device, DeviceKind, Opened};
use fs::file::oflag::{O_ACCMODE, O_DIRECT, O_RDONLY};
use fs::file::{Bytes, SlowIo, Transfer, Whence, generic_seek};
use fs::{Errno, File, FileOps, Inode, Result, Sink, Source, UserMemory};

use crate::devtmpfs;
use crate::pseudofs::{Out, put};
use crate::sysfs::{self, Class};

/// Major number of virtio disks, as Debian's Linux gives it.
const MAJOR: u32 = 254;
/// Minor numbers of a disk: itself, and its partitions.
const MINORS: u32 = 16;

// `ioctl(2)` requests of block devices (linux/fs.h).
const BLKROGET: u32 = 0x125e;
const BLKGETSIZE: u32 = 0x1260;
const BLKFLSBUF: u32 = 0x1261;
const BLKSSZGET: u32 = 0x1268;
const BLKIOMIN: u32 = 0x1278;
const BLKIOOPT: u32 = 0x1279;
const BLKALIGNOFF: u32 = 0x127a;
const BLKPBSZGET: u32 = 0x127b;
const BLKBSZGET: u32 = 0x8008_1270;
const BLKGETSIZE64: u32 = 0x8008_1272;

/// A disk or a part of one.
struct Volume {
    name: String,
    number: (u32, u32),
    class: Class,
    first: u64,
    sectors: u64,
    device: Arc<dyn BlockDevice>,
    /// Held shared by writes of whole blocks, and alone by one that reads a block, changes a part and writes it back.
    blocks: Arc<RwLock<()>>,
}

/// What was published of a disk, taken back by dropping it.
struct Node {
    parent: String,
    volumes: Vec<Arc<Volume>>,
}

/// All volumes, for `/proc/partitions`.
static VOLUMES: SpinLock<Vec<Arc<Volume>>> = SpinLock::new(Vec::new());

/// Makes the nodes of a disk and its partitions, below the directory `parent` in sysfs.
pub(super) fn publish(parent: &str, disk: &Disk) -> Option<Published> {
    let blocks = Arc::new(RwLock::new(()));
    let whole = Partition {
        number: 0,
        first: 0,
        sectors: disk.device.geometry().sectors,
    };
    let minor = disk.index * MINORS;
    let volume = |part: &Partition| {
        let (name, class) = match part.number {
            0 => (disk.name.clone(), Class::Disk),
            n => (format!("{}{n}", disk.name), Class::Partition),
        };
        Arc::new(Volume {
            name,
            number: (MAJOR, minor + part.number),
            class,
            first: part.first,
            sectors: part.sectors,
            device: disk.device.clone(),
            blocks: blocks.clone(),
        })
    };
    let volumes: Vec<_> = core::iter::once(&whole)
        .chain(&disk.partitions)
        .map(volume)
        .collect();
    let opener = Arc::new(Opener(volumes.clone()));
    device::register(DeviceKind::Block, "virtblk", (MAJOR, minor), MINORS, opener).ok()?;
    let node = Node {
        parent: String::from(parent),
        volumes,
    };
    for volume in &node.volumes {
        node.show(volume);
        VOLUMES.lock().push(volume.clone());
        if let Err(error) = devtmpfs::add_block(&volume.name, 0o600, volume.number) {
            log::error!("devtmpfs: no node for {}: {error}", volume.name);
        }
    }
    Some(Published::new(node))
}

/// The device of the volume `name`, for tests.
#[cfg(feature = "ktest")]
pub(super) fn device(name: &str) -> Option<Arc<dyn BlockDevice>> {
    let volumes = VOLUMES.lock();
    let found = volumes.iter().find(|volume| volume.name == name);
    found.map(|volume| volume.device.clone())
}

impl Node {
    /// The directory in sysfs that `volume`'s own is in.
    fn parent_of(&self, volume: &Volume) -> String {
        match volume.class {
            Class::Partition => format!("{}/block/{}", self.parent, self.volumes[0].name),
            _ => self.parent.clone(),
        }
    }

    fn show(&self, volume: &Volume) {
        let tree = sysfs::tree();
        let parent = self.parent_of(volume);
        let path = sysfs::add_device(tree, &parent, volume.class, &volume.name, volume.number);
        let geometry = volume.device.geometry();
        tree.constant(&format!("{path}/size"), format!("{}\n", volume.sectors));
        let read_only = u32::from(geometry.read_only);
        tree.constant(&format!("{path}/ro"), format!("{read_only}\n"));
        // Nothing is stacked on it, and nothing beneath it is out of step with it.
        tree.dir(&format!("{path}/holders"));
        for name in ["alignment_offset", "discard_alignment"] {
            tree.constant(&format!("{path}/{name}"), "0\n");
        }
        if matches!(volume.class, Class::Partition) {
            let number = volume.number.1 % MINORS;
            tree.constant(&format!("{path}/partition"), format!("{number}\n"));
            tree.constant(&format!("{path}/start"), format!("{}\n", volume.first));
            return;
        }
        tree.dir(&format!("{path}/slaves"));
        tree.link(&format!("{path}/device"), &self.parent);
        for name in ["removable", "hidden"] {
            tree.constant(&format!("{path}/{name}"), "0\n");
        }
        tree.constant(&format!("{path}/range"), format!("{MINORS}\n"));
        tree.constant(&format!("{path}/serial"), volume.device.serial());
        let block_size = format!("{}\n", geometry.block_size);
        for name in [
            "logical_block_size",
            "physical_block_size",
            "hw_sector_size",
            "minimum_io_size",
        ] {
            tree.constant(&format!("{path}/queue/{name}"), block_size.clone());
        }
        let most = format!("{}\n", geometry.max_bytes / 1024);
        for name in ["max_sectors_kb", "max_hw_sectors_kb"] {
            tree.constant(&format!("{path}/queue/{name}"), most.clone());
        }
        // It reads nothing ahead, discards nothing, and has no zones.
        for name in [
            "optimal_io_size",
            "read_ahead_kb",
            "discard_granularity",
            "discard_max_bytes",
            "write_zeroes_max_bytes",
        ] {
            tree.constant(&format!("{path}/queue/{name}"), "0\n");
        }
        tree.constant(&format!("{path}/queue/zoned"), "none\n");
        tree.constant(&format!("{path}/queue/scheduler"), "[none]\n");
        tree.constant(&format!("{path}/queue/rotational"), "1\n");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let minor = self.volumes[0].number.1;
        device::unregister(DeviceKind::Block, (MAJOR, minor));
        for volume in self.volumes.iter().rev() {
            VOLUMES.lock().retain(|own| !Arc::ptr_eq(own, volume));
            // Programs may have taken the node away themselves.
            let _ = devtmpfs::remove(&volume.name);
            let parent = self.parent_of(volume);
            sysfs::remove_device(
                sysfs::tree(),
                &parent,
                volume.class,
                &volume.name,
                volume.number,
            );
        }
    }
}

/// Writes `/proc/partitions`.
pub fn proc_partitions(out: &mut Out) -> Result<()> {
    put!(out, "major minor  #blocks  name\n\n");
    for volume in VOLUMES.lock().iter() {
        let (major, minor) = volume.number;
        let kib = volume.sectors / 2;
        put!(out, "{major:4}  {minor:7} {kib:10} {}\n", volume.name);
    }
    Ok(())
}

/// Opens the volumes of a disk.
struct Opener(Vec<Arc<Volume>>);

impl Device for Opener {
    fn open(&self, rdev: u64, _: &Arc<Inode>, flags: u32) -> Result<Opened> {
        let minor = fs::inode::dev_minor(rdev);
        let volume = self.0.iter().find(|volume| volume.number.1 == minor);
        let volume = volume.ok_or(Errno::ENXIO)?;
        if flags & O_ACCMODE != O_RDONLY && volume.device.geometry().read_only {
            return Err(Errno::EACCES);
        }
        Ok(Opened::seekable(Arc::new(OpenVolume(volume.clone()))))
    }
}

/// What a program is told.
fn errno(failed: Failed) -> Errno {
    match failed.error {
        BlockError::ReadOnly => Errno::EPERM,
        BlockError::Unsupported => Errno::EOPNOTSUPP,
        BlockError::TimedOut => Errno::ETIMEDOUT,
        BlockError::OutOfRange | BlockError::Device | BlockError::Gone => Errno::EIO,
    }
}

/// A part of a buffer.
struct PartOf(DmaBuf, Range<usize>);

impl AsRef<[u8]> for PartOf {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

impl Volume {
    fn bytes(&self) -> u64 {
        self.sectors * SECTOR as u64
    }

    /// The whole blocks around `len` bytes at `pos`, and where in them these are.
    fn around(&self, pos: u64, len: usize) -> (u64, usize, Range<usize>) {
        let unit = u64::from(self.device.geometry().block_size);
        let start = pos - pos % unit;
        let end = (pos + len as u64).next_multiple_of(unit).min(self.bytes());
        let skip = (pos - start) as usize;
        (
            start / SECTOR as u64,
            (end - start) as usize,
            skip..skip + len,
        )
    }

    /// How many of `len` bytes at `pos` are on the volume and fit one request.
    fn clip(&self, pos: u64, len: usize) -> usize {
        let geometry = self.device.geometry();
        let most = geometry.max_bytes - geometry.block_size as usize;
        let most = most.max(geometry.block_size as usize) as u64;
        let rest = self.bytes().saturating_sub(pos);
        // A request never has a block more than the device takes, wherever in a block it begins.
        let unit = u64::from(geometry.block_size);
        let most = if most == unit {
            unit - pos % unit
        } else {
            most
        };
        rest.min(most).min(len as u64) as usize
    }

    async fn read_blocks(&self, sector: u64, len: usize) -> Result<DmaBuf> {
        let buffer = self.device.buffer(len).map_err(|_| Errno::ENOMEM)?;
        let read = self.device.read(self.first + sector, buffer).await;
        read.map_err(errno)
    }

    async fn read(&self, pos: u64, len: usize) -> Result<Bytes> {
        let len = self.clip(pos, len);
        if len == 0 {
            return Ok(Box::new([0; 0]));
        }
        let (sector, whole, range) = self.around(pos, len);
        let buffer = self.read_blocks(sector, whole).await?;
        Ok(Box::new(PartOf(buffer, range)))
    }

    async fn write(&self, pos: u64, bytes: Vec<u8>) -> Result<usize> {
        let len = self.clip(pos, bytes.len());
        if len == 0 {
            return Err(Errno::ENOSPC);
        }
        let (sector, whole, range) = self.around(pos, len);
        let (_shared, _alone);
        let mut buffer = if whole == len {
            _shared = self.blocks.read().await;
            self.device.buffer(whole).map_err(|_| Errno::ENOMEM)?
        } else {
            _alone = self.blocks.write().await;
            self.read_blocks(sector, whole).await?
        };
        buffer[range].copy_from_slice(&bytes[..len]);
        let written = self.device.write(self.first + sector, buffer).await;
        written.map_err(errno)?;
        Ok(len)
    }

    /// `O_DIRECT` takes whole blocks only.
    fn check_direct(&self, file: &File, pos: u64, len: usize) -> Result<()> {
        let unit = u64::from(self.device.geometry().block_size);
        let whole = pos.is_multiple_of(unit) && (len as u64).is_multiple_of(unit);
        match file.flags() & O_DIRECT == 0 || whole {
            true => Ok(()),
            false => Err(Errno::EINVAL),
        }
    }
}

/// An open volume.
struct OpenVolume(Arc<Volume>);

impl SlowIo for OpenVolume {
    fn read_at<'a>(&'a self, file: &'a File, pos: u64, len: usize) -> Transfer<'a, Bytes> {
        Box::pin(async move {
            self.0.check_direct(file, pos, len)?;
            self.0.read(pos, len).await
        })
    }

    fn write_at<'a>(&'a self, file: &'a File, pos: u64, bytes: Vec<u8>) -> Transfer<'a, usize> {
        Box::pin(async move {
            self.0.check_direct(file, pos, bytes.len())?;
            self.0.write(pos, bytes).await
        })
    }

    fn sync<'a>(&'a self, _: &'a File) -> Transfer<'a, ()> {
        Box::pin(async {
            let flushed = self.0.device.flush().await;
            flushed.map_err(|_| Errno::EIO)
        })
    }

    fn chunk(&self) -> usize {
        self.0.device.geometry().max_bytes
    }
}

impl FileOps for OpenVolume {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        match buf.remaining() {
            0 => Ok(0),
            _ => Err(Errno::EIOCBQUEUED),
        }
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        match buf.remaining() {
            0 => Ok(0),
            _ => Err(Errno::EIOCBQUEUED),
        }
    }

    fn slow(&self) -> Option<&dyn SlowIo> {
        Some(self)
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Err(Errno::EIOCBQUEUED)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        generic_seek(pos, self.0.bytes(), offset, whence)
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let geometry = self.0.device.geometry();
        let int = |value: u32| mem.write(arg, &value.to_ne_bytes()).map(|()| 0);
        let long = |value: u64| mem.write(arg, &value.to_ne_bytes()).map(|()| 0);
        match cmd {
            BLKGETSIZE64 => long(self.0.bytes()),
            BLKGETSIZE => long(self.0.sectors),
            BLKBSZGET => long(4096),
            BLKSSZGET | BLKPBSZGET | BLKIOMIN => int(geometry.block_size),
            BLKIOOPT | BLKALIGNOFF => int(0),
            BLKROGET => int(geometry.read_only.into()),
            // There is nothing in between that could be behind.
            BLKFLSBUF => Ok(0),
            _ => Err(Errno::ENOTTY),
        }
    }
}
