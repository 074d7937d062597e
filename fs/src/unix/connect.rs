//! How connections begin and end.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::addr::{self, Given};
use super::inbox::Inbox;
use super::{BOTH, MAX_BACKLOG, Phase, RECEIVE, SEND, UnixSocket};
use crate::poll::PollTable;
use crate::socket::{AF_UNSPEC, Caller, SocketType, Ucred};
use crate::{Errno, Result};

impl UnixSocket {
    /// Makes two sockets that are each other's peers.
    pub fn pair(kind: SocketType, who: Caller<'_>) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
        let (a, b) = (UnixSocket::new(kind), UnixSocket::new(kind));
        a.join(&b, Some(who.ucred()));
        b.join(&a, Some(who.ucred()));
        (a, b)
    }

    /// Makes `peer` the peer of this new socket.
    fn join(&self, peer: &Arc<UnixSocket>, cred: Option<Ucred>) {
        let mut state = self.state.lock();
        state.peer = Some(peer.clone());
        state.peer_cred = cred;
        self.inbox.lock().byte_sender = Some(peer.out.clone());
        self.set_phase(Phase::Connected);
    }

    pub(super) fn start_listening(&self, who: Caller<'_>, backlog: u32) -> Result<()> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if state.addr.is_none() || self.phase() == Phase::Connected {
            return Err(Errno::EINVAL);
        }
        state.peer_cred = Some(who.ucred());
        self.set_phase(Phase::Listening);
        drop(state);
        let backlog = (backlog as usize).min(MAX_BACKLOG.count());
        if backlog > self.backlog.swap(backlog, Ordering::Relaxed) {
            self.room.wake_all();
        }
        Ok(())
    }

    /// Connects a stream or sequenced-packet socket.
    ///
    /// # Errors
    /// `EAGAIN` while the backlog is full; see [`addr::find`] for those of the address; `EISCONN`, `EINVAL` in a phase that does
    /// not allow it.
    pub(super) fn connect_stream(
        &self,
        who: Caller<'_>,
        addr: &[u8],
        mut wait: Option<&mut PollTable<'_>>,
    ) -> Result<()> {
        let given = Given::parse(addr)?;
        if given == Given::Any {
            return Err(Errno::EINVAL);
        }
        self.autobind_if_asked()?;
        let listener = addr::find(who, given, self.kind)?;
        let me = self.me()?;
        let server = UnixSocket::new(self.kind);
        loop {
            if listener.phase() != Phase::Listening || listener.is_shut(RECEIVE) {
                return Err(Errno::ECONNREFUSED);
            }
            let backlog = listener.backlog.load(Ordering::Relaxed);
            if listener.inbox.with(|i| i.pending.len()) <= backlog {
                break;
            }
            // Registered, it is looked at once more.
            match wait.take() {
                Some(table) => table.register(&listener.room),
                None => return Err(Errno::EAGAIN),
            }
        }
        let (listener_addr, listener_cred) = {
            let state = listener.state.lock();
            (state.addr.clone(), state.peer_cred)
        };
        server.join(&me, Some(who.ucred()));
        server.state.lock().addr = listener_addr;
        server.out.options.inherit(&listener.out.options);
        {
            let mut state = self.state.lock();
            match self.phase() {
                Phase::Unconnected => {}
                Phase::Connected => return Err(Errno::EISCONN),
                Phase::Listening => return Err(Errno::EINVAL),
            }
            let mut inbox = listener.inbox.lock();
            if inbox.closed {
                return Err(Errno::ECONNREFUSED);
            }
            inbox.pending.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            inbox.pending.push_back(server.clone());
            drop(inbox);
            state.peer = Some(server.clone());
            state.peer_cred = listener_cred;
            self.inbox.lock().byte_sender = Some(server.out.clone());
            self.set_phase(Phase::Connected);
        }
        listener.readers.wake_all();
        self.out.writers.wake_all();
        Ok(())
    }

    /// Sets, changes or, for `AF_UNSPEC`, dissolves the peer of a datagram socket.
    pub(super) fn connect_datagram(&self, who: Caller<'_>, addr: &[u8]) -> Result<()> {
        let family = addr.get(..2).ok_or(Errno::EINVAL)?;
        let peer = if family == AF_UNSPEC.to_ne_bytes() {
            None
        } else {
            let given = Given::parse(addr)?;
            if given == Given::Any {
                return Err(Errno::EINVAL);
            }
            self.autobind_if_asked()?;
            let peer = addr::find(who, given, self.kind)?;
            if !peer.accepts_from(self) {
                return Err(Errno::EPERM);
            }
            Some(peer)
        };
        let old = {
            let mut state = self.state.lock();
            self.set_phase(match peer {
                Some(_) => Phase::Connected,
                None => Phase::Unconnected,
            });
            core::mem::replace(&mut state.peer, peer)
        };
        if let Some(old) = old
            && !self.is_peer(&old)
        {
            self.disconnected_from(&old);
        }
        self.out.writers.wake_all();
        Ok(())
    }

    /// Whether datagrams of `sender` are welcome: a socket with a peer hears only that.
    pub(super) fn accepts_from(&self, sender: &UnixSocket) -> bool {
        let state = self.state.lock();
        match &state.peer {
            Some(peer) => core::ptr::eq(&**peer, sender),
            None => true,
        }
    }

    /// Drops what a former peer sent, and tells it.
    pub(super) fn disconnected_from(&self, old: &UnixSocket) {
        let dropped = self
            .inbox
            .with(|inbox| core::mem::take(&mut inbox.messages));
        if !dropped.is_empty() {
            drop(dropped);
            self.room.wake_all();
            if old.is_peer(self) {
                old.out.options.set_error(Errno::ECONNRESET);
                old.wake_all();
            }
        }
    }

    /// Takes the first connection that waits to be accepted.
    ///
    /// # Errors
    /// `EAGAIN` if there is none; `EOPNOTSUPP` for datagrams; `EINVAL` if it does not listen, or no more.
    pub(super) fn take_connection(&self) -> Result<Arc<UnixSocket>> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.phase() != Phase::Listening {
            return Err(Errno::EINVAL);
        }
        match self.inbox.with(|inbox| inbox.pending.pop_front()) {
            Some(socket) => {
                self.room.wake_one();
                Ok(socket)
            }
            None if self.is_shut(RECEIVE) => Err(Errno::EINVAL),
            None => Err(Errno::EAGAIN),
        }
    }

    /// Notes that `directions` are shut down.
    fn mark_shut(&self, directions: u8) {
        // Under the lock that senders hold as they look.
        let _inbox = self.inbox.lock();
        self.shut.fetch_or(directions, Ordering::AcqRel);
    }

    pub(super) fn shut_down(&self, directions: u8) {
        self.mark_shut(directions);
        if self.connection_based()
            && let Some(peer) = self.peer()
        {
            let mirrored = (directions & RECEIVE) << 1 | (directions & SEND) >> 1;
            peer.mark_shut(mirrored);
            peer.wake_all();
        }
        self.wake_all();
        self.room.wake_all();
    }

    /// The last descriptor is gone, or the listener that it was to be accepted from.
    pub(super) fn close(&self) {
        let (peer, addr) = {
            let mut state = self.state.lock();
            (state.peer.take(), state.addr.clone())
        };
        // An accepted socket shares the name of the listener, which keeps it.
        if let Some(addr) = addr
            && addr::owns(&addr, self)
        {
            addr::unbind(&addr);
        }
        let unread = {
            let mut inbox = self.inbox.lock();
            self.shut.store(BOTH, Ordering::Release);
            let rest = Inbox {
                closed: true,
                ..Inbox::default()
            };
            core::mem::replace(&mut *inbox, rest)
        };
        if let Some(peer) = peer
            && self.connection_based()
        {
            peer.mark_shut(BOTH);
            if !unread.is_empty() {
                peer.out.options.set_error(Errno::ECONNRESET);
            }
            peer.wake_all();
        }
        self.wake_all();
        self.room.wake_all();
        refuse_all(unread);
    }

    /// A connection whose listener went before it was accepted.
    fn close_unaccepted(&self) {
        if let Some(peer) = self.peer() {
            peer.out.options.set_error(Errno::ECONNRESET);
        }
        self.close();
    }
}

/// Ends the connections in what was an inbox; its messages go with it.
fn refuse_all(mut unread: Inbox) {
    while let Some(socket) = unread.pending.pop_front() {
        socket.close_unaccepted();
    }
}
