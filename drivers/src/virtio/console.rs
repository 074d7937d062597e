//! The console device (5.3): `/dev/hvc0` and on.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::irq::IrqEvent;
use executor::sync::{Either, SpinLock, select};
use executor::yield_now;

use super::queue::{Completion, Part, Queue, Submitted};
use super::transport::{Online, Transport, is_virtio, kind};
use crate::device::{DriverError, Interface, TerminalEnd, TerminalPort};
use crate::dma::DmaBuf;
use crate::io::{ReadOnly, Reg};
use crate::pci::{PciDevice, PciDriver};

/// The driver.
pub static CONSOLE: PciDriver = PciDriver {
    name: "virtio_console",
    matches: |function| is_virtio(function, kind::CONSOLE),
    run: |device| Box::pin(run(device)),
};

/// The configuration structure has the size of the far end (5.3.3).
const SIZE: u64 = 1 << 0;
const COLUMNS: Reg<u16, ReadOnly> = Reg::new(0);
const ROWS: Reg<u16, ReadOnly> = Reg::new(2);

// Its queues (5.3.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Bytes of a request.
const CHUNK: usize = 1024;
/// Buffers that the device may fill while the terminal sees to what came before.
const RECEIVE_BUFFERS: usize = 4;

/// A line.
struct Port {
    end: SpinLock<Option<Arc<dyn TerminalEnd>>>,
    /// There is output, perhaps.
    output: IrqEvent,
    /// There is room for input, perhaps.
    room: IrqEvent,
    size: Option<(u16, u16)>,
}

async fn run(device: Arc<PciDevice>) -> Result<(), DriverError> {
    let transport = Transport::open(&device).await?;
    let agreed = transport.agree(SIZE)?;
    let config = transport.config().filter(|_| agreed & SIZE != 0);
    let size = config.map(|config| (config.read(COLUMNS), config.read(ROWS)));
    let online = Online::start(&device, &transport, agreed, "virtio-console", 2)?;
    let port = Arc::new(Port {
        end: SpinLock::new(None),
        output: IrqEvent::new(),
        room: IrqEvent::new(),
        size: size.filter(|size| *size != (0, 0)),
    });
    let _published = device.publish(Interface::Terminal(port.clone()))?;
    let queue = online.queue(RECEIVE);
    let count = usize::from(queue.size()).clamp(1, RECEIVE_BUFFERS);
    let buffers = (0..count).map(|_| device.dma().buffer(CHUNK));
    let buffers = buffers.collect::<Result<Vec<_>, _>>()?;
    let receive = receive(queue, port.clone(), buffers);
    let receive = device.spawn("virtio-console-in", receive);
    device.bound();
    let send = send(online.queue(TRANSMIT), &port, device.dma().buffer(CHUNK)?);
    Err(match select(core::pin::pin!(send), receive).await {
        Either::First(error) => error,
        Either::Second(error) => error.unwrap_or(DriverError::Gone),
    })
}

impl TerminalPort for Port {
    fn attach(&self, end: Arc<dyn TerminalEnd>) {
        *self.end.lock() = Some(end);
        self.changed();
    }

    fn changed(&self) {
        self.output.raise();
        self.room.raise();
    }

    fn size(&self) -> Option<(u16, u16)> {
        self.size
    }
}

impl Port {
    fn end(&self) -> Option<Arc<dyn TerminalEnd>> {
        self.end.lock().clone()
    }
}

/// Brings what is received to the terminal, until the device fails. While there is no room, the device gets its buffers
/// back no sooner, and the far end waits. The device fills them in the order in which it got them.
async fn receive(queue: Arc<Queue>, port: Arc<Port>, buffers: Vec<DmaBuf>) -> DriverError {
    let mut filling = VecDeque::new();
    let mut free = buffers;
    loop {
        for buffer in free.drain(..) {
            match offer(&queue, buffer, CHUNK, Part::write).await {
                Ok(request) => filling.push_back(request),
                Err(error) => return error,
            }
        }
        let Some(next) = filling.pop_front() else {
            return DriverError::Gone;
        };
        let (buffer, len) = match answer(next).await {
            Ok(answered) => answered,
            Err(error) => return error,
        };
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            let taken = port.end().map_or(0, |end| end.received(rest));
            rest = &rest[taken.min(rest.len())..];
            if taken == 0 {
                port.room.wait().await;
            }
        }
        free.push(buffer);
        // A device that always has some does not keep the CPU for itself.
        yield_now().await;
    }
}

/// Sends what the terminal has, until the device fails.
async fn send(queue: Arc<Queue>, port: &Port, mut buffer: DmaBuf) -> DriverError {
    loop {
        let end = port.end();
        let len = end.as_ref().map_or(0, |end| end.next_output(&mut buffer));
        if len == 0 {
            port.output.wait().await;
            continue;
        }
        // It takes as long as the far end takes: that nobody reads there is no fault.
        let sent = match offer(&queue, buffer, len, Part::read).await {
            Ok(request) => answer(request).await,
            Err(error) => return error,
        };
        buffer = match sent {
            Ok((buffer, _)) => buffer,
            Err(error) => return error,
        };
        if let Some(end) = end {
            end.output_sent();
        }
        yield_now().await;
    }
}

/// Has the device read or write the first `len` bytes of the buffer.
async fn offer(
    queue: &Arc<Queue>,
    buffer: DmaBuf,
    len: usize,
    part: fn(u64, usize) -> Part,
) -> Result<Submitted, DriverError> {
    let submitted = queue.submit(Some(buffer), |_, buffer| {
        let part = buffer.map(|buffer| part(buffer.bus_address(), len));
        [part, None, None]
    });
    submitted.await.map_err(|(error, _)| error.into())
}

/// Waits until the device has done that; gives the buffer back with how much was written.
async fn answer(request: Submitted) -> Result<(DmaBuf, usize), DriverError> {
    let Completion { buffer, written } = request.await;
    let written = written? as usize;
    Ok((buffer.ok_or(DriverError::Gone)?, written))
}
