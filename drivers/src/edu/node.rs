//! The device as programs see it: lines in, lines out.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use executor::sync::{SpinLock, WaitQueue};

use super::{BUFFER_LEN, Edu};
use crate::device::{CharDevice, CharError, DriverError, Interface, Readiness};

/// Orders that may wait.
const MOST_ORDERS: usize = 16;
/// Bytes of answers that may wait to be read.
const MOST_ANSWERS: usize = 64 * 1024;

/// Orders and answers.
pub(super) struct Node(Arc<Shared>, Arc<Edu>);

struct Shared {
    queues: SpinLock<Queues>,
    /// Woken at every change of the queues.
    changed: Arc<WaitQueue>,
    gone: AtomicBool,
}

#[derive(Default)]
struct Queues {
    orders: VecDeque<Vec<u8>>,
    answers: VecDeque<u8>,
}

impl Node {
    pub(super) fn new(edu: Arc<Edu>) -> Self {
        let shared = Shared {
            queues: SpinLock::default(),
            changed: Arc::new(WaitQueue::new()),
            gone: AtomicBool::new(false),
        };
        Self(Arc::new(shared), edu)
    }

    /// What is published.
    pub(super) fn interface(&self) -> Interface {
        Interface::Char {
            name: String::from("edu0"),
            class: "misc",
            minor: None,
            device: self.0.clone(),
        }
    }

    /// Does one order after the other. An order that fails is answered by why.
    pub(super) async fn serve(&self) -> Result<(), DriverError> {
        loop {
            let next = || self.0.queues.lock().orders.pop_front();
            let order = self.0.changed.wait_until(next).await;
            let answer = match self.answer(&order).await {
                Ok(answer) => answer,
                Err(DriverError::Gone) => return Err(DriverError::Gone),
                Err(error) => format!("{error}\n").into_bytes(),
            };
            self.0.queues.lock().answers.extend(answer);
            self.0.changed.wake_all();
        }
    }

    async fn answer(&self, order: &[u8]) -> Result<Vec<u8>, DriverError> {
        let text = core::str::from_utf8(order).unwrap_or("").trim();
        if let Ok(n) = text.parse::<u32>() {
            return Ok(format!("{}\n", self.1.factorial(n).await?).into_bytes());
        }
        let mut buffer = self.1.buffer(order.len())?;
        buffer.copy_from_slice(order);
        let mut buffer = self.1.copy_in(buffer).await?;
        buffer.fill(0);
        Ok(self.1.copy_out(buffer).await?.to_vec())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.changed.wake_all();
    }
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl CharDevice for Shared {
    fn read(&self, take: &mut dyn FnMut(&[u8]) -> usize) -> Result<usize, CharError> {
        let mut queues = self.queues.lock();
        if queues.answers.is_empty() {
            return Err(match self.is_gone() {
                true => CharError::Gone,
                false => CharError::NotReady,
            });
        }
        let taken = take(queues.answers.make_contiguous());
        queues.answers.drain(..taken);
        drop(queues);
        self.changed.wake_all();
        Ok(taken)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, CharError> {
        if self.is_gone() {
            return Err(CharError::Gone);
        }
        if bytes.is_empty() || bytes.len() > BUFFER_LEN {
            return Err(CharError::Invalid);
        }
        let mut order = Vec::new();
        order
            .try_reserve_exact(bytes.len())
            .map_err(|_| CharError::Device)?;
        order.extend_from_slice(bytes);
        {
            let mut queues = self.queues.lock();
            if !queues.has_room() {
                return Err(CharError::NotReady);
            }
            queues.orders.push_back(order);
        }
        self.changed.wake_all();
        Ok(bytes.len())
    }

    fn readiness(&self) -> Readiness {
        let queues = self.queues.lock();
        Readiness {
            read: !queues.answers.is_empty() || self.is_gone(),
            write: queues.has_room() || self.is_gone(),
        }
    }

    fn changed(&self) -> Arc<WaitQueue> {
        self.changed.clone()
    }
}

impl Queues {
    fn has_room(&self) -> bool {
        self.orders.len() < MOST_ORDERS && self.answers.len() < MOST_ANSWERS
    }
}
