//! The entropy device (5.4): random bytes for the kernel's generator, and `/dev/hwrng` for those who want them raw.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use executor::sync::{SpinLock, WaitQueue};
use executor::time::{sleep, timeout};

use super::queue::{Part, Queue};
use super::transport::{Online, Transport, is_virtio, kind};
use crate::device::{CharDevice, CharError, DriverError, Interface, Readiness};
use crate::dma::DmaBuf;
use crate::pci::{PciDevice, PciDriver};

/// The driver.
pub static RNG: PciDriver = PciDriver {
    name: "virtio_rng",
    matches: |function| is_virtio(function, kind::ENTROPY),
    run: |device| alloc::boxed::Box::pin(run(device)),
};

/// Linux's `HWRNG_MINOR`.
const MINOR: u32 = 183;
/// Bytes asked for at a time.
const REQUEST: usize = 64;
/// Bytes kept for readers.
const POOL: usize = 512;
/// A device that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the kernel's generator gets fresh bytes.
const RESEED: Duration = Duration::from_secs(60);

async fn run(device: Arc<PciDevice>) -> Result<(), DriverError> {
    let transport = Transport::open(&device).await?;
    let agreed = transport.agree(0)?;
    let online = Online::start(&device, &transport, agreed, "virtio-rng", 1)?;
    let queue = online.queue(0);

    let mut buffer = device.dma().buffer(REQUEST)?;
    let model = device.model()?;
    let n;
    (buffer, n) = fetch(&queue, buffer).await?;
    model.upper().entropy(&buffer[..n]);
    let pool = Arc::new(Pool::default());
    let _gone = Gone(pool.clone());
    let _published = device.publish(Interface::Char {
        name: String::from("hwrng"),
        class: "misc",
        minor: Some(MINOR),
        device: pool.clone(),
    })?;
    device.bound();
    loop {
        // For readers when they want some, for the generator now and then.
        let wanted = timeout(RESEED, pool.wanted()).await;
        let n;
        (buffer, n) = fetch(&queue, buffer).await?;
        match wanted {
            Ok(()) => pool.add(&buffer[..n]),
            Err(_) => model.upper().entropy(&buffer[..n]),
        }
    }
}

/// Has the device fill the buffer; gives it back with how much it filled.
async fn fetch(queue: &Arc<Queue>, buffer: DmaBuf) -> Result<(DmaBuf, usize), DriverError> {
    let capacity = buffer.len();
    let submitted = queue.submit(Some(buffer), |_, buffer| {
        let part = buffer.map(|buffer| Part::write(buffer.bus_address(), buffer.len()));
        [part, None, None]
    });
    let request = submitted.await.map_err(|(error, _)| error)?;
    let completion = queue.within(PATIENCE, request).await?;
    let written = completion.written? as usize;
    let buffer = completion.buffer.ok_or(DriverError::Gone)?;
    if written == 0 {
        // It has none now. Asking at once would keep it, and us, busy.
        sleep(Duration::from_millis(10)).await;
    }
    Ok((buffer, written.min(capacity)))
}

/// Bytes for readers.
#[derive(Default)]
struct Pool {
    bytes: SpinLock<VecDeque<u8>>,
    changed: Arc<WaitQueue>,
    gone: AtomicBool,
}

impl Pool {
    /// Waits until there is room for more.
    async fn wanted(&self) {
        let room = || (self.bytes.lock().len() + REQUEST <= POOL).then_some(());
        self.changed.wait_until(room).await;
    }

    fn add(&self, bytes: &[u8]) {
        self.bytes.lock().extend(bytes);
        self.changed.wake_all();
    }
}

struct Gone(Arc<Pool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.changed.wake_all();
    }
}

impl CharDevice for Pool {
    fn read(&self, take: &mut dyn FnMut(&[u8]) -> usize) -> Result<usize, CharError> {
        if self.gone.load(Ordering::Acquire) {
            return Err(CharError::Gone);
        }
        let taken = {
            let mut bytes = self.bytes.lock();
            if bytes.is_empty() {
                return Err(CharError::NotReady);
            }
            let taken = take(bytes.make_contiguous());
            bytes.drain(..taken);
            taken
        };
        self.changed.wake_all();
        Ok(taken)
    }

    fn write(&self, _: &[u8]) -> Result<usize, CharError> {
        Err(CharError::Invalid)
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            read: !self.bytes.lock().is_empty() || self.gone.load(Ordering::Acquire),
            write: false,
        }
    }

    fn changed(&self) -> Arc<WaitQueue> {
        self.changed.clone()
    }
}
