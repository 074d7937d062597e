//! `AF_UNIX`: sockets between processes of this machine (`unix(7)`).
//!
//! # Structures
//! Sending puts data straight into the *inbox* of the receiver; there is nothing between. How much a socket may have unread
//! elsewhere is counted in its [`Outgoing`]. A connected socket and its peer refer to each other until they are closed.
//!
//! | file | holds |
//! | --- | --- |
//! | [`connect`] | listening, connecting, accepting, closing |
//! | [`transfer`] | sending and receiving |
//! | [`stream`], [`inbox`] | what was sent and not yet received |
//! | [`addr`] | names, and the sockets behind them |
//! | [`gc`] | files under way, and cycles of them |
//!
//! # Locks
//! Outermost first: a socket's state (of two sockets one after the other, never together), the registry of files under way,
//! an inbox. Wake-ups, and drops of messages and sockets, come after all of them.

mod addr;
mod connect;
mod gc;
mod inbox;
mod stream;
mod transfer;

#[cfg(test)]
mod tests;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::iobuf::UserMemory;
use crate::poll::{PollEvents, PollTable};
use crate::socket::option::{SocketOptions, put_value, so};
use crate::socket::{
    AF_UNIX, Caller, RecvMsg, SendMsg, Shutdown, Socket, SocketAddr, SocketType, Ucred, cmsg,
};
use crate::sync::{SpinLock, WaitQueue};
use crate::{Errno, Result, Tunable};

use addr::{Given, UnixAddr};
use inbox::{Inbox, Outgoing};

/// The receiving direction is shut down.
const RECEIVE: u8 = 1;
/// The sending direction is shut down.
const SEND: u8 = 2;
const BOTH: u8 = RECEIVE | SEND;

/// `FIONREAD`, also called `SIOCINQ`: how much can be received.
const FIONREAD: u32 = 0x541b;
/// `TIOCOUTQ`, also called `SIOCOUTQ`: how much was sent and not yet received.
const TIOCOUTQ: u32 = 0x5411;

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Made; a datagram socket stays so until it has a peer.
    Unconnected,
    Listening,
    /// Has a peer, or had one that is gone.
    Connected,
}

/// A local socket.
pub struct UnixSocket {
    this: Weak<UnixSocket>,
    kind: SocketType,
    out: Arc<Outgoing>,
    state: SpinLock<State>,
    /// A [`Phase`]; changes under `state`.
    phase: AtomicU8,
    /// [`RECEIVE`] and [`SEND`]; changes under the inbox's lock.
    shut: AtomicU8,
    inbox: SpinLock<Inbox>,
    /// How many connections may be pending.
    backlog: AtomicUsize,
    /// Who waits for something in the inbox.
    readers: Arc<WaitQueue>,
    /// Who waits for room in the inbox: those that connect, or send datagrams.
    room: Arc<WaitQueue>,
}

#[derive(Default)]
struct State {
    peer: Option<Arc<UnixSocket>>,
    addr: Option<Arc<UnixAddr>>,
    /// Who connected, or listened, on the other side.
    peer_cred: Option<Ucred>,
}

/// The longest queue of datagrams from those that are not the receiver's peer (`net.unix.max_dgram_qlen`).
pub static MAX_DATAGRAMS: Tunable = Tunable::new(10, 0, i32::MAX as i64);
/// The longest backlog (`net.core.somaxconn`).
pub static MAX_BACKLOG: Tunable = Tunable::new(4096, 0, i32::MAX as i64);

impl UnixSocket {
    /// Makes a socket of its own.
    pub fn new(kind: SocketType) -> Arc<UnixSocket> {
        Arc::new_cyclic(|this| UnixSocket {
            this: this.clone(),
            kind,
            out: Arc::new(Outgoing::default()),
            state: SpinLock::new(State::default()),
            phase: AtomicU8::new(Phase::Unconnected as u8),
            shut: AtomicU8::new(0),
            inbox: SpinLock::new(Inbox::default()),
            backlog: AtomicUsize::new(MAX_DATAGRAMS.count()),
            readers: Arc::new(WaitQueue::new()),
            room: Arc::new(WaitQueue::new()),
        })
    }

    /// Decodes the type and protocol of `socket(2)`.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`.
    pub fn check(kind: u32, protocol: i32) -> Result<SocketType> {
        if protocol != 0 && protocol != i32::from(AF_UNIX) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        match kind {
            1 => Ok(SocketType::Stream),
            // Linux takes raw for datagram.
            2 | 3 => Ok(SocketType::Datagram),
            5 => Ok(SocketType::SeqPacket),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Unconnected,
            1 => Phase::Listening,
            _ => Phase::Connected,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn shut(&self) -> u8 {
        self.shut.load(Ordering::Acquire)
    }

    fn is_shut(&self, direction: u8) -> bool {
        self.shut() & direction != 0
    }

    fn connection_based(&self) -> bool {
        self.kind != SocketType::Datagram
    }

    fn peer(&self) -> Option<Arc<UnixSocket>> {
        self.state.lock().peer.clone()
    }

    fn is_peer(&self, other: &UnixSocket) -> bool {
        let state = self.state.lock();
        state
            .peer
            .as_ref()
            .is_some_and(|peer| core::ptr::eq(&**peer, other))
    }

    fn me(&self) -> Result<Arc<UnixSocket>> {
        self.this.upgrade().ok_or(Errno::ENOTCONN)
    }

    /// Gives it an address of the kernel's choice if it passes credentials and has none, so that receivers can answer.
    fn autobind_if_asked(&self) -> Result<()> {
        if self.out.options.pass_cred() && self.state.lock().addr.is_none() {
            return self.bind_to(addr::autobind);
        }
        Ok(())
    }

    /// Binds, unless bound.
    fn bind_to(&self, make: impl FnOnce(&Arc<UnixSocket>) -> Result<UnixAddr>) -> Result<()> {
        let made = Arc::new(make(&self.me()?)?);
        let mut state = self.state.lock();
        if state.addr.is_some() {
            drop(state);
            addr::unbind(&made);
            return Err(Errno::EINVAL);
        }
        state.addr = Some(made);
        Ok(())
    }

    fn wake_all(&self) {
        self.readers.wake_all();
        self.out.writers.wake_all();
    }

    /// Takes the messages out of the inbox, and out of those of connections not yet accepted, for the garbage collector.
    fn take_messages(&self, into: &mut Vec<Inbox>) {
        let pending: Vec<_> = {
            let mut inbox = self.inbox.lock();
            into.push(inbox.take_messages());
            inbox.pending.iter().cloned().collect()
        };
        for socket in pending {
            socket.take_messages(into);
        }
    }

    /// Calls `each` with the files under way in its messages, and in those of connections not yet accepted.
    fn each_in_flight(&self, each: &mut dyn FnMut(&gc::InFlight)) {
        let pending: Vec<_> = {
            let inbox = self.inbox.lock();
            inbox.bytes.in_flight().for_each(&mut *each);
            let messages = inbox.messages.iter();
            messages
                .filter_map(|m| m.files.as_ref())
                .for_each(&mut *each);
            inbox.pending.iter().cloned().collect()
        };
        for socket in pending {
            socket.each_in_flight(each);
        }
    }

    /// Whether a datagram from `sender` has to wait for room here.
    fn refuses_datagram_of(&self, sender: &UnixSocket, queued: usize) -> bool {
        queued > MAX_DATAGRAMS.count() && !self.is_peer(sender)
    }

    fn poll_datagram_room(&self, table: Option<&mut PollTable<'_>>) -> bool {
        let Some(peer) = self.peer() else { return true };
        if peer.is_peer(self) {
            return true;
        }
        if let Some(table) = table {
            table.register(&peer.room);
        }
        let queued = peer.inbox.lock().messages.len();
        queued <= MAX_DATAGRAMS.count()
    }
}

impl Socket for UnixSocket {
    fn domain(&self) -> u16 {
        AF_UNIX
    }

    fn kind(&self) -> SocketType {
        self.kind
    }

    fn options(&self) -> &SocketOptions {
        &self.out.options
    }

    fn bind(&self, who: Caller<'_>, addr: &[u8]) -> Result<()> {
        let given = Given::parse(addr)?;
        if self.state.lock().addr.is_some() {
            return if given == Given::Any {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            };
        }
        self.bind_to(|me| addr::bind(me, who, given))
    }

    fn listen(&self, who: Caller<'_>, backlog: u32) -> Result<()> {
        self.start_listening(who, backlog)
    }

    fn connect(
        &self,
        who: Caller<'_>,
        addr: &[u8],
        wait: Option<&mut PollTable<'_>>,
    ) -> Result<()> {
        if self.connection_based() {
            self.connect_stream(who, addr, wait)
        } else {
            self.connect_datagram(who, addr)
        }
    }

    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Ok(self.take_connection()?)
    }

    fn send(&self, msg: &mut SendMsg<'_>, wait: Option<&mut PollTable<'_>>) -> Result<usize> {
        match self.kind {
            SocketType::Stream => self.send_stream(msg),
            _ => self.send_message(msg, wait),
        }
    }

    fn recv(&self, msg: &mut RecvMsg<'_>) -> Result<usize> {
        match self.kind {
            SocketType::Stream => self.recv_stream(msg),
            _ => self.recv_message(msg),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.shut_down(match how {
            Shutdown::Read => RECEIVE,
            Shutdown::Write => SEND,
            Shutdown::Both => BOTH,
        });
        Ok(())
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        let state = self.state.lock();
        Ok(match &state.addr {
            Some(addr) => addr.to_socket_addr(),
            None => UnixAddr::unnamed(),
        })
    }

    fn peer_addr(&self) -> Result<SocketAddr> {
        self.peer().ok_or(Errno::ENOTCONN)?.local_addr()
    }

    fn get_option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<usize> {
        if level != cmsg::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        match name {
            so::ACCEPTCONN => {
                let listening = i32::from(self.phase() == Phase::Listening);
                Ok(put_value(out, &listening.to_ne_bytes()))
            }
            so::PEERCRED => {
                let nobody = Ucred {
                    pid: 0,
                    uid: u32::MAX,
                    gid: u32::MAX,
                };
                let cred = self.state.lock().peer_cred.unwrap_or(nobody);
                Ok(put_value(out, &cred.to_bytes()))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, _: Caller<'_>, level: i32, _: i32, _: &[u8]) -> Result<()> {
        Err(if level == cmsg::SOL_SOCKET {
            Errno::ENOPROTOOPT
        } else {
            Errno::EOPNOTSUPP
        })
    }

    fn poll(&self, mut table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table.as_deref_mut() {
            table.register_rw(&self.readers, &self.out.writers);
        }
        let (phase, shut) = (self.phase(), self.shut());
        let mut events = PollEvents::empty();
        events.set(PollEvents::ERR, self.out.options.has_error());
        if shut & RECEIVE != 0 {
            events |= PollEvents::RDHUP | PollEvents::READ;
        }
        if !self.inbox.with(|inbox| inbox.is_empty()) {
            events |= PollEvents::READ;
        }
        let unconnected = self.connection_based() && phase == Phase::Unconnected;
        events.set(PollEvents::HUP, shut == BOTH || unconnected);
        let writable = phase != Phase::Listening && self.out.writable();
        let has_room = match (self.kind, &table) {
            (SocketType::Stream, _) => true,
            // Whether a peer has room is a matter of writers alone.
            (_, Some(table)) if !table.interest().intersects(PollEvents::WRITE) => true,
            _ => self.poll_datagram_room(table),
        };
        if writable && has_room {
            events |= PollEvents::WRITE | PollEvents::WRBAND;
        }
        events
    }

    fn ioctl(&self, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let value = match cmd {
            FIONREAD if self.phase() == Phase::Listening => return Err(Errno::EINVAL),
            FIONREAD => self.inbox.with(|inbox| match self.kind {
                SocketType::Stream => inbox.bytes.len(),
                SocketType::SeqPacket => inbox.messages.iter().map(|m| m.data.len()).sum(),
                SocketType::Datagram => inbox.messages.front().map_or(0, |m| m.data.len()),
            }),
            TIOCOUTQ => self.out.used(),
            _ => return Err(Errno::ENOTTY),
        };
        mem.write(arg, &(value as i32).to_ne_bytes())?;
        Ok(0)
    }

    fn release(&self) {
        self.close();
        gc::socket_closed();
    }
}
