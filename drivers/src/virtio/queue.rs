//! A split virtqueue whose requests are futures (2.7).
//!
//! Contexts: submitting and waiting is done by tasks; [`Queue::drain`] is called by a bottom half, task or softirq. Lock: `state`
//! (interrupts masked), under which wakers are collected and after which they are woken.
//!
//! A request's buffer lies in its slot from submission until the device has answered; the future that waits holds only
//! the slot's number. Dropping the future leaves the slot *abandoned*: the buffer is freed when the answer comes, or with
//! the queue, by when the device was reset.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{Ordering, fence};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use executor::sync::{SpinLockIrq, WaitQueue};
use executor::time::{Elapsed, timeout};

use crate::device::DriverError;
use crate::dma::{DmaBuf, DmaShared};

/// The most descriptors of one request.
pub(super) const MOST_PARTS: usize = 3;
/// Requests that are woken under one hold of the lock.
const BATCH: usize = 16;

// A descriptor (2.7.5).
const DESCRIPTOR_LEN: usize = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// In the used ring's flags: no notifications, please (2.7.10).
const NO_NOTIFY: u16 = 1;

/// Where the three parts of a ring are in its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) size: u16,
    pub(super) available: usize,
    pub(super) used: usize,
}

impl Layout {
    pub(super) fn new(size: u16) -> Self {
        let n = usize::from(size);
        let available = n * DESCRIPTOR_LEN;
        // Flags, index, ring, event; the used ring is aligned to four.
        let used = (available + 6 + 2 * n).next_multiple_of(4);
        Self {
            size,
            available,
            used,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used + 6 + 8 * usize::from(self.size)
    }

    fn slot(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    fn available_entry(&self, index: u16) -> usize {
        self.available + 4 + 2 * self.slot(index)
    }

    fn used_entry(&self, index: u16) -> usize {
        self.used + 4 + 8 * self.slot(index)
    }

    /// Where the driver says at which index it wants the next interrupt.
    fn used_event(&self) -> usize {
        self.available + 4 + 2 * usize::from(self.size)
    }

    /// Where the device says at which index it wants the next notification.
    fn available_event(&self) -> usize {
        self.used + 4 + 8 * usize::from(self.size)
    }
}

/// A piece of a request, as the device sees it.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    bus: u64,
    len: u32,
    device_writes: bool,
}

impl Part {
    /// For the device to read.
    pub fn read(bus: u64, len: usize) -> Self {
        Self {
            bus,
            len: len as u32,
            device_writes: false,
        }
    }

    /// For the device to write.
    pub fn write(bus: u64, len: usize) -> Self {
        Self {
            bus,
            len: len as u32,
            device_writes: true,
        }
    }
}

/// Why a request comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// The device said something that cannot be.
    Lied,
    /// The device, or its driver, is gone.
    Gone,
}

impl From<QueueError> for DriverError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Lied => Self::Lied("it answered what cannot be"),
            QueueError::Gone => Self::Gone,
        }
    }
}

/// What became of a request: its buffer, and how much the device says that it wrote.
#[derive(Debug)]
pub struct Completion {
    /// The buffer that was given away.
    pub buffer: Option<DmaBuf>,
    /// Bytes written, or why the request failed.
    pub written: Result<u32, QueueError>,
}

enum Slot {
    /// No request begins with this descriptor.
    Free,
    /// The device has it.
    Lent(Lent),
    /// The device has answered.
    Answered(Completion),
}

struct Lent {
    buffer: Option<DmaBuf>,
    /// How much the device may write.
    writable: u32,
    waker: Option<Waker>,
    abandoned: bool,
}

/// What follows from an answer.
enum Answered {
    /// Somebody waits for it, perhaps.
    Wakes(Option<Waker>),
    /// Nobody does: the descriptors are free, and so may be the buffer.
    Frees(Option<DmaBuf>),
}

struct State {
    slots: Vec<Slot>,
    /// Descriptors that are in no request.
    free: Vec<u16>,
    /// How many descriptors the request has that begins with each.
    parts: Vec<u8>,
    chains: Vec<[u16; MOST_PARTS]>,
    next_available: u16,
    next_used: u16,
    /// At which index the device was asked to interrupt.
    asked: u16,
    closed: Option<QueueError>,
}

/// A queue of a device.
pub struct Queue {
    name: &'static str,
    layout: Layout,
    ring: DmaShared,
    by_index: bool,
    doorbell: Box<dyn Fn() + Send + Sync>,
    /// Has the device touch no memory any more.
    stop: Box<dyn Fn() + Send + Sync>,
    state: SpinLockIrq<State>,
    /// Woken when descriptors come free, or the queue is closed.
    room: WaitQueue,
    /// Woken when the queue is closed.
    closed: WaitQueue,
}

impl Queue {
    pub(super) fn new(
        name: &'static str,
        layout: Layout,
        ring: DmaShared,
        by_index: bool,
        doorbell: impl Fn() + Send + Sync + 'static,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let n = usize::from(layout.size);
        Self {
            name,
            layout,
            ring,
            by_index,
            doorbell: Box::new(doorbell),
            stop: Box::new(stop),
            state: SpinLockIrq::new(State {
                slots: (0..n).map(|_| Slot::Free).collect(),
                free: (0..layout.size).rev().collect(),
                parts: alloc::vec![0; n],
                chains: alloc::vec![[0; MOST_PARTS]; n],
                next_available: 0,
                next_used: 0,
                asked: 0,
                closed: None,
            }),
            room: WaitQueue::new(),
            closed: WaitQueue::new(),
        }
    }

    /// How many descriptors it has.
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// Gives a request to the device, waiting for room. `buffer` is what `make`'s parts point into, besides memory that
    /// lives as long as the queue; `make` is told the request's first descriptor, which no other request has meanwhile.
    ///
    /// # Errors
    /// The buffer comes back if the queue is closed.
    /// # Cancel safety
    /// Before there is room, the buffer is freed; afterwards, see [`Submitted`].
    pub async fn submit(
        self: &Arc<Self>,
        buffer: Option<DmaBuf>,
        mut make: impl FnMut(u16, Option<&DmaBuf>) -> [Option<Part>; MOST_PARTS],
    ) -> Result<Submitted, (QueueError, Option<DmaBuf>)> {
        let mut buffer = Some(buffer);
        self.room
            .wait_until(|| self.try_submit(&mut buffer, &mut make))
            .await
    }

    fn try_submit(
        self: &Arc<Self>,
        buffer: &mut Option<Option<DmaBuf>>,
        make: &mut impl FnMut(u16, Option<&DmaBuf>) -> [Option<Part>; MOST_PARTS],
    ) -> Option<Result<Submitted, (QueueError, Option<DmaBuf>)>> {
        let (head, notify) = {
            let mut state = self.state.lock();
            if let Some(error) = state.closed {
                return Some(Err((error, buffer.take().flatten())));
            }
            if state.free.len() < MOST_PARTS {
                return None;
            }
            let buffer = buffer.take().flatten();
            let head = *state.free.last()?;
            let parts = make(head, buffer.as_ref());
            self.chain(&mut state, &parts);
            state.slots[usize::from(head)] = Slot::Lent(Lent {
                buffer,
                writable: parts
                    .iter()
                    .flatten()
                    .filter(|part| part.device_writes)
                    .map(|part| part.len)
                    .sum(),
                waker: None,
                abandoned: false,
            });
            (head, self.publish(&mut state, head))
        };
        if notify {
            (self.doorbell)();
        }
        Some(Ok(Submitted {
            queue: self.clone(),
            head,
            taken: false,
        }))
    }

    /// Writes the descriptors of a request.
    fn chain(&self, state: &mut State, parts: &[Option<Part>; MOST_PARTS]) {
        let count = parts.iter().flatten().count();
        debug_assert!(count > 0, "a request has parts");
        let mut chain = [0; MOST_PARTS];
        for slot in &mut chain[..count] {
            *slot = state.free.pop().expect("room was looked for");
        }
        for (at, part) in parts.iter().flatten().enumerate() {
            let last = at + 1 == count;
            let place = usize::from(chain[at]) * DESCRIPTOR_LEN;
            let flags = if last { 0 } else { NEXT } | if part.device_writes { WRITE } else { 0 };
            self.ring.write(place, part.bus);
            self.ring.write(place + 8, part.len);
            self.ring.write(place + 12, flags);
            self.ring
                .write(place + 14, if last { 0 } else { chain[at + 1] });
        }
        let head = usize::from(chain[0]);
        state.parts[head] = count as u8;
        state.chains[head] = chain;
    }

    /// Makes a request available; true if the device wants to be told.
    fn publish(&self, state: &mut State, head: u16) -> bool {
        let layout = &self.layout;
        let old = state.next_available;
        state.next_available = old.wrapping_add(1);
        self.ring.write(layout.available_entry(old), head);
        // The device sees the entry before the index, and we see what it wants after it could see the index.
        fence(Ordering::Release);
        self.ring.write(layout.available + 2, state.next_available);
        fence(Ordering::SeqCst);
        if self.by_index {
            let wanted: u16 = self.ring.read(layout.available_event());
            wanted == old
        } else {
            self.ring.read::<u16>(layout.used) & NO_NOTIFY == 0
        }
    }

    /// Waits for `answer`, which this queue's device gives, for at most `patience`. An answer whose interrupt was lost is
    /// found when time is up.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`Elapsed`]: there is no answer.
    /// # Cancel safety
    /// As `answer`'s.
    pub async fn within<F: Future>(
        &self,
        patience: Duration,
        answer: F,
    ) -> Result<F::Output, Elapsed> {
        let mut answer = core::pin::pin!(answer);
        let elapsed = match timeout(patience, answer.as_mut()).await {
            Ok(answer) => return Ok(answer),
            Err(elapsed) => elapsed,
        };
        self.drain();
        let look = |cx: &mut Context<'_>| Poll::Ready(answer.as_mut().poll(cx));
        match core::future::poll_fn(look).await {
            Poll::Ready(answer) => {
                log::warn!("virtio: an interrupt was lost");
                Ok(answer)
            }
            Poll::Pending => Err(elapsed),
        }
    }

    /// Takes what the device has answered, and wakes those who wait for it.
    ///
    /// # Context
    /// Task or softirq.
    pub fn drain(&self) {
        loop {
            let mut woken: [Option<Waker>; BATCH] = [const { None }; BATCH];
            let mut freed: [Option<DmaBuf>; BATCH] = [const { None }; BATCH];
            let mut error = None;
            let mut room = false;
            let more = {
                let mut state = self.state.lock();
                let mut at = 0;
                loop {
                    if state.closed.is_some() || at == BATCH {
                        break at == BATCH;
                    }
                    match self.next_used(&mut state) {
                        Ok(Some((head, written))) => {
                            match self.answer(&mut state, head, written) {
                                Answered::Wakes(waker) => woken[at] = waker,
                                Answered::Frees(buffer) => (room, freed[at]) = (true, buffer),
                            }
                            at += 1;
                        }
                        Ok(None) => break false,
                        Err(what) => {
                            error = Some(what);
                            break false;
                        }
                    }
                }
            };
            if room {
                self.room.wake_all();
            }
            woken.into_iter().flatten().for_each(Waker::wake);
            drop(freed);
            if let Some(what) = error {
                log::error!("{}: the device lied: {what}", self.name);
                self.close(QueueError::Lied);
            }
            if !more {
                return;
            }
        }
    }

    /// The next answer: the first descriptor of a request that the device has, and how much it wrote.
    fn next_used(&self, state: &mut State) -> Result<Option<(u16, u32)>, &'static str> {
        let layout = &self.layout;
        loop {
            let index: u16 = self.ring.read(layout.used + 2);
            fence(Ordering::Acquire);
            let pending = index.wrapping_sub(state.next_used);
            if pending > layout.size {
                return Err("more answers than requests");
            }
            if pending > 0 {
                break;
            }
            if !self.by_index || state.asked == state.next_used {
                return Ok(None);
            }
            state.asked = state.next_used;
            // Ask for an interrupt at the next answer, and look once more: it may have come just now.
            self.ring.write(layout.used_event(), state.next_used);
            fence(Ordering::SeqCst);
        }
        let entry = layout.used_entry(state.next_used);
        let (id, written): (u32, u32) = (self.ring.read(entry), self.ring.read(entry + 4));
        state.next_used = state.next_used.wrapping_add(1);
        match state.slots.get(id as usize) {
            Some(Slot::Lent(_)) => Ok(Some((id as u16, written))),
            Some(_) => Err("it answered what was not asked"),
            None => Err("its ring index is out of range"),
        }
    }

    /// Notes an answer.
    fn answer(&self, state: &mut State, head: u16, written: u32) -> Answered {
        let at = usize::from(head);
        let Slot::Lent(lent) = core::mem::replace(&mut state.slots[at], Slot::Free) else {
            return Answered::Wakes(None);
        };
        if lent.abandoned {
            state.release(head);
            return Answered::Frees(lent.buffer);
        }
        let written = if written <= lent.writable {
            Ok(written)
        } else {
            log::error!(
                "{}: the device lied: {written} bytes in {}",
                self.name,
                lent.writable
            );
            Err(QueueError::Lied)
        };
        state.slots[at] = Slot::Answered(Completion {
            buffer: lent.buffer,
            written,
        });
        Answered::Wakes(lent.waker)
    }

    /// Ends the queue: everybody who waits, now or later, gets `error`. The device's buffers stay with the queue.
    ///
    /// # Context
    /// Task.
    pub fn close(&self, error: QueueError) {
        let wakers: Vec<_> = {
            let mut state = self.state.lock();
            state.closed.get_or_insert(error);
            let lent = state.slots.iter_mut().filter_map(|slot| match slot {
                Slot::Lent(lent) => lent.waker.take(),
                _ => None,
            });
            lent.collect()
        };
        wakers.into_iter().for_each(Waker::wake);
        self.room.wake_all();
        self.closed.wake_all();
    }

    /// Waits until the queue is closed, and says why.
    pub async fn until_closed(&self) -> QueueError {
        self.closed.wait_until(|| self.state.lock().closed).await
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Its memory and the buffers in it go now.
        (self.stop)();
    }
}

impl State {
    /// Gives a request's descriptors back.
    fn release(&mut self, head: u16) {
        let at = usize::from(head);
        let count = usize::from(core::mem::take(&mut self.parts[at]));
        let chain = self.chains[at];
        // The first one comes back last, and so is the first to be used again.
        self.free.extend(chain[..count].iter().rev());
        self.slots[at] = Slot::Free;
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name)
            .field("size", &self.layout.size)
            .finish_non_exhaustive()
    }
}

/// A request that the device has.
///
/// # Cancel safety
/// Dropping it abandons the answer; the buffer stays with the queue until the device has given it back.
#[must_use = "a request that nobody waits for is abandoned"]
pub struct Submitted {
    queue: Arc<Queue>,
    head: u16,
    taken: bool,
}

impl Submitted {
    /// Waits for the answer, and for what `look` finds before another request gets the same descriptors.
    ///
    /// # Cancel safety
    /// As [`Submitted`].
    pub async fn with<T>(mut self, look: impl Fn() -> T) -> (Completion, T) {
        let mut seen = None;
        let completion =
            core::future::poll_fn(|cx| self.poll_looking(cx, || seen = Some(look()))).await;
        let seen = seen.unwrap_or_else(&look);
        (completion, seen)
    }
}

impl Future for Submitted {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion> {
        self.poll_looking(cx, || {})
    }
}

impl Submitted {
    /// Polls; `look` is called when the device has answered, while the descriptors are still this request's.
    fn poll_looking(&mut self, cx: &mut Context<'_>, look: impl FnOnce()) -> Poll<Completion> {
        let at = usize::from(self.head);
        let completion = {
            let mut state = self.queue.state.lock();
            let closed = state.closed;
            match &mut state.slots[at] {
                Slot::Lent(lent) => {
                    let Some(error) = closed else {
                        let known = lent.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
                        if !known {
                            lent.waker = Some(cx.waker().clone());
                        }
                        return Poll::Pending;
                    };
                    // The device may still write to the buffer: it stays here until the device was reset.
                    lent.abandoned = true;
                    Completion {
                        buffer: None,
                        written: Err(error),
                    }
                }
                slot @ Slot::Answered(_) => {
                    let Slot::Answered(completion) = core::mem::replace(slot, Slot::Free) else {
                        unreachable!("it was looked at just now");
                    };
                    look();
                    state.release(self.head);
                    completion
                }
                Slot::Free => unreachable!("a request is polled until it is ready"),
            }
        };
        self.taken = true;
        self.queue.room.wake_one();
        Poll::Ready(completion)
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let freed = {
            let mut state = self.queue.state.lock();
            match &mut state.slots[usize::from(self.head)] {
                Slot::Lent(lent) => {
                    lent.abandoned = true;
                    (lent.waker.take(), None)
                }
                slot => {
                    let slot = core::mem::replace(slot, Slot::Free);
                    state.release(self.head);
                    (None, Some(slot))
                }
            }
        };
        drop(freed);
        self.queue.room.wake_one();
    }
}
