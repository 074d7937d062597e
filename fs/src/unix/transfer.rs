//! Sending and receiving.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::addr::{self, Given};
use super::gc::InFlight;
use super::inbox::Message;
use super::stream::Taken;
use super::{MAX_DATAGRAMS, Phase, RECEIVE, SEND, UnixSocket};
use crate::iobuf::Source;
use crate::poll::PollTable;
use crate::socket::{RecvMsg, SendMsg, SocketType, Ucred, current_identity, msg};
use crate::{Errno, Result};

/// What a message counts beside its data when it is compared with the send buffer.
const MESSAGE_OVERHEAD: usize = 32;

/// Returns the credentials that go along: those given, or the sender's own where either side asks for them.
fn credentials(msg: &SendMsg<'_>, asked: bool) -> Option<Ucred> {
    (msg.explicit_creds || asked).then(|| msg.from.unwrap_or_else(current_identity))
}

/// Puts the files of `msg` under way.
fn take_off(msg: &mut SendMsg<'_>) -> Result<Option<InFlight>> {
    if msg.files.is_empty() {
        return Ok(None);
    }
    let (uid, limit) = msg.files_of.unwrap_or((0, u64::MAX));
    InFlight::new(core::mem::take(&mut msg.files), uid, limit).map(Some)
}

/// Gives the files back to `msg` where nothing was sent, for the next attempt.
fn take_back(msg: &mut SendMsg<'_>, files: Option<InFlight>) {
    if let Some(files) = files {
        msg.files = files.land();
    }
}

impl UnixSocket {
    /// Sends what there is room for.
    pub(super) fn send_stream(&self, msg: &mut SendMsg<'_>) -> Result<usize> {
        if msg.flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if msg.to.is_some() {
            return Err(match self.phase() {
                Phase::Connected => Errno::EISCONN,
                _ => Errno::EOPNOTSUPP,
            });
        }
        let peer = self.peer().ok_or(Errno::ENOTCONN)?;
        if self.is_shut(SEND) {
            return Err(Errno::EPIPE);
        }
        if msg.data.remaining() == 0 {
            return Ok(0);
        }
        let mut files = take_off(msg)?;
        let creds = credentials(
            msg,
            self.out.options.pass_cred() || peer.out.options.pass_cred(),
        );
        let sent = {
            let mut inbox = peer.inbox.lock();
            let room = self.out.room();
            if inbox.closed || peer.is_shut(RECEIVE) {
                Err(Errno::EPIPE)
            } else if room == 0 {
                Err(Errno::EAGAIN)
            } else {
                let sent = inbox.bytes.push(msg.data, room, creds, &mut files);
                if let Ok(sent) = sent {
                    self.out.charge(sent);
                }
                sent
            }
        };
        take_back(msg, files);
        if sent.is_ok() {
            peer.readers.wake_all();
        }
        sent
    }

    /// Receives bytes.
    pub(super) fn recv_stream(&self, msg: &mut RecvMsg<'_>) -> Result<usize> {
        if self.phase() != Phase::Connected {
            return Err(Errno::EINVAL);
        }
        if msg.flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let wants_creds = self.out.options.pass_cred();
        let peeks = msg.flags & msg::PEEK != 0;
        let (taken, sender) = {
            let mut inbox = self.inbox.lock();
            if inbox.bytes.is_empty() {
                self.out.options.take_error()?;
                return if self.is_shut(RECEIVE) {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            if peeks {
                let (taken, files) = inbox.bytes.peek(msg.data, wants_creds);
                msg.files = files.map_or(Vec::new(), |f| f.files().to_vec());
                (taken, None)
            } else {
                let taken = inbox.bytes.take(msg.data, wants_creds);
                if taken.bytes > 0 {
                    let sender = inbox.byte_sender.as_ref();
                    // While the buffer was not full nobody waits, so that no reference is needed to wake them.
                    let waited_for = sender.filter(|s| !s.writable()).cloned();
                    if waited_for.is_none()
                        && let Some(sender) = sender
                    {
                        sender.credit(taken.bytes);
                    }
                    (taken, waited_for)
                } else {
                    (taken, None)
                }
            }
        };
        if let Some(sender) = sender {
            sender.credit(taken.bytes);
        }
        self.finish_stream(msg, taken, wants_creds)
    }

    fn finish_stream(
        &self,
        msg: &mut RecvMsg<'_>,
        taken: Taken,
        wants_creds: bool,
    ) -> Result<usize> {
        if taken.bytes == 0 && taken.faulted {
            return Err(Errno::EFAULT);
        }
        if wants_creds {
            msg.creds = Some(taken.creds.unwrap_or(Ucred::NOBODY));
        }
        if let Some(files) = taken.files {
            msg.files = files.land();
        }
        msg.complete = taken.complete;
        Ok(taken.bytes)
    }

    /// Sends a datagram, or a message over a connection.
    pub(super) fn send_message(
        &self,
        msg: &mut SendMsg<'_>,
        wait: Option<&mut PollTable<'_>>,
    ) -> Result<usize> {
        if msg.flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.connection_based() {
            self.out.options.take_error()?;
            if self.phase() != Phase::Connected {
                return Err(Errno::ENOTCONN);
            }
            // An address is of no interest to a connection.
            msg.to = None;
        }
        let to = match &msg.to {
            Some((addr, who)) => Some((Given::parse(addr)?, *who)),
            None => None,
        };
        if to.is_some_and(|(given, _)| given == Given::Any) {
            return Err(Errno::EINVAL);
        }
        self.autobind_if_asked()?;
        let len = msg.data.remaining();
        if len > self.out.options.send_buffer() - MESSAGE_OVERHEAD {
            return Err(Errno::EMSGSIZE);
        }
        let target = match to {
            Some((given, who)) => addr::find(who, given, self.kind)?,
            None => self.peer().ok_or(Errno::ENOTCONN)?,
        };
        if let Some(table) = wait {
            table.register(&self.out.writers);
            table.register(&target.room);
        }
        // The cheap looks come before the copy; what counts is looked at again below.
        self.check_target(&target)?;
        if self.out.room() == 0 {
            return Err(Errno::EAGAIN);
        }
        let data = gather(msg.data, len)?;
        let files = take_off(msg)?;
        let creds = credentials(
            msg,
            self.out.options.pass_cred() || target.out.options.pass_cred(),
        );
        let from = self.state.lock().addr.clone();
        let mutual = target.is_peer(self);
        let message = Message::new(data, from, creds, files, &self.out);
        let refused = {
            let mut inbox = target.inbox.lock();
            if inbox.closed {
                Some((message, self.gone_error()))
            } else if target.is_shut(RECEIVE) {
                Some((message, Errno::EPIPE))
            } else if inbox.messages.len() > MAX_DATAGRAMS.count() && !mutual {
                Some((message, Errno::EAGAIN))
            } else if inbox.messages.try_reserve(1).is_err() {
                Some((message, Errno::ENOBUFS))
            } else {
                inbox.messages.push_back(message);
                None
            }
        };
        if let Some((mut message, error)) = refused {
            take_back(msg, message.files.take());
            self.forget_if_gone(&target, error);
            return Err(error);
        }
        target.readers.wake_all();
        Ok(len)
    }

    /// What sending to a socket that is gone gives.
    fn gone_error(&self) -> Errno {
        if self.connection_based() {
            Errno::EPIPE
        } else {
            Errno::ECONNREFUSED
        }
    }

    /// Checks what does not depend on the message.
    fn check_target(&self, target: &Arc<UnixSocket>) -> Result<()> {
        if !self.connection_based() && !target.accepts_from(self) {
            return Err(Errno::EPERM);
        }
        let (closed, queued) = target.inbox.with(|i| (i.closed, i.messages.len()));
        if closed {
            let error = self.gone_error();
            self.forget_if_gone(target, error);
            return Err(error);
        }
        if target.is_shut(RECEIVE) || self.is_shut(SEND) {
            return Err(Errno::EPIPE);
        }
        if target.refuses_datagram_of(self, queued) {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// A datagram socket whose peer is gone has none.
    fn forget_if_gone(&self, target: &Arc<UnixSocket>, error: Errno) {
        if error != Errno::ECONNREFUSED {
            return;
        }
        let gone = {
            let mut state = self.state.lock();
            match &state.peer {
                Some(peer) if Arc::ptr_eq(peer, target) => {
                    self.set_phase(Phase::Unconnected);
                    state.peer.take()
                }
                _ => None,
            }
        };
        if gone.is_some() {
            self.disconnected_from(target);
        }
    }

    /// Receives a message.
    pub(super) fn recv_message(&self, msg: &mut RecvMsg<'_>) -> Result<usize> {
        if msg.flags & msg::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.kind == SocketType::SeqPacket && self.phase() != Phase::Connected {
            return Err(Errno::ENOTCONN);
        }
        let wants_creds = self.out.options.pass_cred();
        let (len, put, message) = {
            self.out.options.take_error()?;
            let mut inbox = self.inbox.lock();
            let Some(first) = inbox.messages.front() else {
                let waits = msg.flags & msg::DONTWAIT == 0;
                let ends = self.is_shut(RECEIVE) && (waits || self.connection_based());
                return if ends { Ok(0) } else { Err(Errno::EAGAIN) };
            };
            let len = first.data.len();
            let wanted = len.min(msg.data.remaining());
            let put = msg.data.put(&first.data[..wanted]);
            if put < wanted {
                return Err(Errno::EFAULT);
            }
            msg.from = first.from.as_ref().map(|a| a.to_socket_addr());
            if wants_creds {
                msg.creds = Some(first.creds.unwrap_or(Ucred::NOBODY));
            }
            if msg.flags & msg::PEEK != 0 {
                let files = first.files.as_ref();
                msg.files = files.map_or(Vec::new(), |f| f.files().to_vec());
                (len, put, None)
            } else {
                (len, put, inbox.messages.pop_front())
            }
        };
        msg.complete = true;
        if let Some(mut message) = message {
            if let Some(files) = message.files.take() {
                msg.files = files.land();
            }
            drop(message);
            self.room.wake_one();
        }
        if put < len {
            msg.out_flags |= msg::TRUNC;
            if msg.flags & msg::TRUNC != 0 {
                return Ok(len);
            }
        }
        Ok(put)
    }
}

/// Copies the data of a message.
///
/// # Errors
/// `ENOBUFS`; `EFAULT`.
fn gather(data: &mut dyn Source, len: usize) -> Result<Vec<u8>> {
    let mut buf = Vec::new();
    buf.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
    buf.resize(len, 0);
    if data.take(&mut buf) < len {
        return Err(Errno::EFAULT);
    }
    Ok(buf)
}
