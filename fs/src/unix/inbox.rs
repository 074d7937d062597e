//! What a socket has received and nobody has read.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::UnixSocket;
use super::addr::UnixAddr;
use super::gc::InFlight;
use super::stream::ByteQueue;
use crate::socket::Ucred;
use crate::socket::option::SocketOptions;
use crate::sync::WaitQueue;

/// The sending side of a socket: what it has sent and the receivers have not read counts against its send buffer.
///
/// It is shared with the messages, which outlive the socket.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) options: SocketOptions,
    used: AtomicUsize,
    /// Who waits for room.
    pub(super) writers: Arc<WaitQueue>,
}

impl Outgoing {
    /// Returns how much is unread.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns how much room is left; one message may pass the limit.
    pub(super) fn room(&self) -> usize {
        self.options.send_buffer().saturating_sub(self.used())
    }

    /// Tells whether it polls as writable: at most a quarter is in use, so that who waits can write for a while.
    pub(super) fn writable(&self) -> bool {
        Self::roomy(self.used(), self.options.send_buffer())
    }

    fn roomy(used: usize, limit: usize) -> bool {
        used.saturating_mul(4) <= limit
    }

    pub(super) fn charge(&self, len: usize) {
        self.used.fetch_add(len, Ordering::Relaxed);
    }

    /// Gives room back; wakes who waits for it once there is plenty.
    pub(super) fn credit(&self, len: usize) {
        let before = self.used.fetch_sub(len, Ordering::Relaxed);
        let limit = self.options.send_buffer();
        if !Self::roomy(before, limit) && Self::roomy(before - len, limit) {
            self.writers.wake_all();
        }
    }
}

/// A datagram, or a message of a sequenced-packet connection.
pub(super) struct Message {
    pub(super) data: Vec<u8>,
    pub(super) from: Option<Arc<UnixAddr>>,
    pub(super) creds: Option<Ucred>,
    pub(super) files: Option<InFlight>,
    sender: Arc<Outgoing>,
}

impl Message {
    /// Makes a message and charges its sender.
    pub(super) fn new(
        data: Vec<u8>,
        from: Option<Arc<UnixAddr>>,
        creds: Option<Ucred>,
        files: Option<InFlight>,
        sender: &Arc<Outgoing>,
    ) -> Message {
        sender.charge(Self::weight(data.len()));
        Message {
            data,
            from,
            creds,
            files,
            sender: sender.clone(),
        }
    }

    /// What a message of `len` bytes counts, as Linux counts it: a power of two for data and its trailer, and a header.
    fn weight(len: usize) -> usize {
        (len + 320).next_power_of_two() + 256
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.sender.credit(Self::weight(self.data.len()));
    }
}

/// The queues of a socket, of which its type uses one. Nothing is dropped, and nobody woken, under its lock.
#[derive(Default)]
pub(super) struct Inbox {
    /// Of a connected stream.
    pub(super) bytes: ByteQueue,
    /// Of a datagram or sequenced-packet socket.
    pub(super) messages: VecDeque<Message>,
    /// Of a listening one: connections that were not accepted.
    pub(super) pending: VecDeque<Arc<UnixSocket>>,
    /// Who sends the bytes.
    pub(super) byte_sender: Option<Arc<Outgoing>>,
    /// The socket is gone; nothing more is put in.
    pub(super) closed: bool,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty() && self.pending.is_empty()
    }

    /// Takes everything but the pending connections out.
    pub(super) fn take_messages(&mut self) -> Inbox {
        Inbox {
            bytes: core::mem::take(&mut self.bytes),
            messages: core::mem::take(&mut self.messages),
            ..Inbox::default()
        }
    }
}
