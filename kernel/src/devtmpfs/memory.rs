//! `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/random`, `/dev/urandom`.
//!
//! Source: null(4), full(4), random(4).

use alloc::sync::Arc;

use fs::device::{self, DeviceKind, SharedOps};
use fs::file::{Positioning, Whence};
use fs::{Errno, File, FileOps, Mapping, Result, Sink, Source, UserMemory};

use super::add;
use crate::process::current;
use crate::random;

/// Major number of the memory devices.
pub const MAJOR: u32 = 1;

/// Bytes made at a time.
const CHUNK: usize = 256;

const RNDGETENTCNT: u32 = 0x8004_5200;
const RNDADDTOENTCNT: u32 = 0x4004_5201;
const RNDADDENTROPY: u32 = 0x4008_5203;
const RNDZAPENTCNT: u32 = 0x5204;
const RNDCLEARPOOL: u32 = 0x5206;
const RNDRESEEDCRNG: u32 = 0x5207;
/// What the kernel says of its entropy once it has any, in bits.
const ENTROPY_BITS: u32 = 256;

/// Swallows what is written and has nothing to read.
struct Null;

impl FileOps for Null {
    fn read(&self, _: &File, _: &mut u64, _: &mut dyn Sink) -> Result<usize> {
        Ok(0)
    }
    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        // Passed over without a look, so that no address is wrong.
        let all = buf.remaining();
        Ok(buf.skip(all))
    }
    fn seek(&self, _: &File, _: u64, _: i64, _: Whence) -> Result<u64> {
        Ok(0)
    }
}

fn read_zeros(buf: &mut dyn Sink) -> Result<usize> {
    let want = buf.remaining();
    match buf.put_zeros(want) {
        0 if want > 0 => Err(Errno::EFAULT),
        n => Ok(n),
    }
}

/// Reads as zeros.
struct Zero;

impl FileOps for Zero {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        read_zeros(buf)
    }
    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let all = buf.remaining();
        Ok(buf.skip(all))
    }
    fn seek(&self, _: &File, _: u64, _: i64, _: Whence) -> Result<u64> {
        Ok(0)
    }
    fn mmap(&self, _: &File) -> Result<Arc<Mapping>> {
        Ok(Mapping::anonymous(i64::MAX as u64))
    }
}

/// Reads as zeros and has no room.
struct Full;

impl FileOps for Full {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        read_zeros(buf)
    }
    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        if buf.remaining() == 0 {
            Ok(0)
        } else {
            Err(Errno::ENOSPC)
        }
    }
    fn seek(&self, _: &File, _: u64, _: i64, _: Whence) -> Result<u64> {
        Ok(0)
    }
}

/// Reads as random bytes; what is written is mixed in.
struct Random;

impl FileOps for Random {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        while buf.remaining() > 0 {
            let step = buf.remaining().min(CHUNK);
            random::fill(&mut chunk[..step]);
            let took = buf.put(&chunk[..step]);
            done += took;
            if took < step {
                break;
            }
        }
        if done == 0 && buf.faulted() {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        loop {
            let took = buf.take(&mut chunk);
            if took == 0 {
                break;
            }
            random::add(&chunk[..took]);
            done += took;
        }
        if done == 0 && buf.faulted() {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let admin = current().cred().capable(fs::Cap::SysAdmin);
        match cmd {
            RNDGETENTCNT => {
                let bits = if random::is_seeded() { ENTROPY_BITS } else { 0 };
                mem.write(arg, &bits.to_ne_bytes()).map(|()| 0)
            }
            RNDADDTOENTCNT | RNDADDENTROPY | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG
                if !admin =>
            {
                Err(Errno::EPERM)
            }
            RNDADDENTROPY => {
                // `struct rand_pool_info`: bits, bytes, the bytes.
                let mut head = [0; 8];
                mem.read(arg, &mut head)?;
                let word = |at: usize| {
                    i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
                };
                if word(0) < 0 || word(4) < 0 {
                    return Err(Errno::EINVAL);
                }
                let mut chunk = [0; CHUNK];
                let (mut at, mut left) = (arg.saturating_add(8), word(4) as usize);
                while left > 0 {
                    let step = left.min(CHUNK);
                    mem.read(at, &mut chunk[..step])?;
                    random::add(&chunk[..step]);
                    at += step as u64;
                    left -= step;
                }
                Ok(0)
            }
            RNDADDTOENTCNT | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG => Ok(0),
            _ => Err(Errno::EINVAL),
        }
    }

    fn seek(&self, _: &File, pos: u64, _: i64, _: Whence) -> Result<u64> {
        Ok(pos)
    }
}

/// Registers the devices and makes their nodes.
pub(super) fn init() -> Result<()> {
    let plain = Positioning::Ignored;
    let devices: [(&'static str, u32, Arc<dyn device::Device>); 5] = [
        ("null", 3, Arc::new(SharedOps::new(Null, plain))),
        ("zero", 5, Arc::new(SharedOps::new(Zero, plain))),
        ("full", 7, Arc::new(SharedOps::new(Full, plain))),
        ("random", 8, Arc::new(SharedOps::new(Random, plain))),
        ("urandom", 9, Arc::new(SharedOps::new(Random, plain))),
    ];
    for (name, minor, device) in devices {
        device::register(DeviceKind::Char, "mem", (MAJOR, minor), 1, device)?;
        add(name, 0o666, (MAJOR, minor))?;
    }
    Ok(())
}
