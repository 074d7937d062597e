//! Sockets of any family: the trait a family implements, and the file that stands for a socket.
//!
//! As with files, every operation is an attempt that never waits. Those for which a file's
//! [`poll`](crate::FileOps::poll) is not precise enough, since what they wait for depends on an address, take a
//! [`PollTable`]: they register with it what they wait for, look once more, and only then answer `EAGAIN`.

mod addr;
pub mod cmsg;
pub mod option;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use conquer_once::spin::OnceCell;

use crate::anon::{self, AnonKind};
use crate::cred::Credentials;
use crate::file::oflag::{O_NONBLOCK, O_RDWR};
use crate::file::{File, FileOps, Positioning};
use crate::iobuf::{Sink, Source, UserMemory};
use crate::mount::FsContext;
use crate::poll::{PollEvents, PollTable};
use crate::{Errno, Result};

pub use addr::SocketAddr;

/// The local family.
pub const AF_UNIX: u16 = 1;
/// No family: dissolves the association of a datagram socket.
pub const AF_UNSPEC: u16 = 0;

/// Flags of `send` and `recv`.
#[allow(missing_docs, reason = "the names are those of send(2) and recv(2)")]
pub mod msg {
    pub const OOB: u32 = 0x1;
    pub const PEEK: u32 = 0x2;
    pub const CTRUNC: u32 = 0x8;
    pub const TRUNC: u32 = 0x20;
    pub const DONTWAIT: u32 = 0x40;
    pub const EOR: u32 = 0x80;
    pub const WAITALL: u32 = 0x100;
    pub const ERRQUEUE: u32 = 0x2000;
    pub const NOSIGNAL: u32 = 0x4000;
    pub const WAITFORONE: u32 = 0x10000;
    pub const CMSG_CLOEXEC: u32 = 0x4000_0000;
}

/// What kind of socket: how it delimits and orders what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketType {
    /// A stream of bytes.
    Stream = 1,
    /// Messages, each with an address.
    Datagram = 2,
    /// Messages over a connection.
    SeqPacket = 5,
}

/// `struct ucred`: who sent something, or made a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ucred {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Ucred {
    /// What stands where credentials were not recorded.
    pub const NOBODY: Ucred = Ucred {
        pid: 0,
        uid: 65534,
        gid: 65534,
    };

    /// Returns the bytes that user space sees.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.uid.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.gid.to_ne_bytes());
        bytes
    }

    /// Decodes what user space passed.
    pub fn from_bytes(bytes: [u8; 12]) -> Ucred {
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        Ucred {
            pid: word(0),
            uid: word(4),
            gid: word(8),
        }
    }
}

/// Who makes a call, as far as sockets ask.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Its credentials.
    pub cred: &'a Credentials,
    /// Its process.
    pub pid: u32,
    /// Where its paths start; `None` inside the kernel, where paths are not looked up.
    pub fs: Option<&'a FsContext>,
    /// Its `RLIMIT_NOFILE`, which bounds the descriptors it may have in flight.
    pub nofile: u64,
}

impl Caller<'_> {
    /// Returns what is recorded of it with a socket or message.
    pub fn ucred(&self) -> Ucred {
        Ucred {
            pid: self.pid,
            uid: self.cred.euid,
            gid: self.cred.egid,
        }
    }
}

static IDENTITY: OnceCell<fn() -> Ucred> = OnceCell::uninit();

/// Registers who asks for the process, user and group of the running thread, for plain `write` to a socket whose peer wants
/// credentials. The first call wins.
///
/// # Context
/// Boot.
pub fn register_identity(identity: fn() -> Ucred) {
    let _ = IDENTITY.try_init_once(|| identity);
}

/// Returns who runs, for messages that do not say who sends them.
pub(crate) fn current_identity() -> Ucred {
    IDENTITY
        .try_get()
        .map_or(Ucred::NOBODY, |identity| identity())
}

/// A message to send.
pub struct SendMsg<'a> {
    /// The data.
    pub data: &'a mut dyn Source,
    /// `MSG_*`.
    pub flags: u32,
    /// Where to, if not to the peer, and who asks, for the way there.
    pub to: Option<(&'a [u8], Caller<'a>)>,
    /// Who sends; `None` for the running thread.
    pub from: Option<Ucred>,
    /// Whether [`from`](SendMsg::from) was given by the program and goes along in any case (`SCM_CREDENTIALS`).
    pub explicit_creds: bool,
    /// Open files that go along (`SCM_RIGHTS`); taken by the first part that is sent.
    pub files: Vec<Arc<File>>,
    /// Who is charged for them while they are under way, and how many it may have so.
    pub files_of: Option<(u32, u64)>,
}

impl<'a> SendMsg<'a> {
    /// Makes a message of `data` alone to the peer.
    pub fn new(data: &'a mut dyn Source, flags: u32) -> Self {
        SendMsg {
            data,
            flags,
            to: None,
            from: None,
            explicit_creds: false,
            files: Vec::new(),
            files_of: None,
        }
    }
}

/// A message to receive: where the data goes, and what came with it.
pub struct RecvMsg<'a> {
    /// Where the data goes.
    pub data: &'a mut dyn Sink,
    /// `MSG_*`.
    pub flags: u32,
    /// Filled in: who sent it, where it has an address.
    pub from: Option<SocketAddr>,
    /// Filled in: `MSG_TRUNC`, `MSG_EOR`.
    pub out_flags: u32,
    /// Filled in: the files that came along.
    pub files: Vec<Arc<File>>,
    /// Filled in: who sent it, if the socket asks (`SO_PASSCRED`).
    pub creds: Option<Ucred>,
    /// Filled in: more data must not be added to this (`MSG_WAITALL` ends).
    pub complete: bool,
}

impl<'a> RecvMsg<'a> {
    /// Makes an empty message whose data goes to `data`.
    pub fn new(data: &'a mut dyn Sink, flags: u32) -> Self {
        RecvMsg {
            data,
            flags,
            from: None,
            out_flags: 0,
            files: Vec::new(),
            creds: None,
            complete: false,
        }
    }
}

/// Which directions `shutdown(2)` closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing more is received.
    Read,
    /// Nothing more is sent.
    Write,
    /// Neither.
    Both,
}

impl Shutdown {
    /// Decodes `shutdown`'s second argument.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn from_raw(how: i32) -> Result<Shutdown> {
        Ok(match how {
            0 => Shutdown::Read,
            1 => Shutdown::Write,
            2 => Shutdown::Both,
            _ => return Err(Errno::EINVAL),
        })
    }
}

/// An endpoint of communication.
///
/// Each default is what Linux answers for a family without the operation.
pub trait Socket: Any + Send + Sync {
    /// Returns the address family.
    fn domain(&self) -> u16;

    /// Returns the type.
    fn kind(&self) -> SocketType;

    /// Returns the protocol.
    fn protocol(&self) -> u32 {
        0
    }

    /// Returns the socket's options.
    fn options(&self) -> &option::SocketOptions;

    /// Gives the socket an address.
    fn bind(&self, who: Caller<'_>, addr: &[u8]) -> Result<()> {
        let _ = (who, addr);
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes the socket wait for connections, `backlog` of which may be pending.
    fn listen(&self, who: Caller<'_>, backlog: u32) -> Result<()> {
        let _ = (who, backlog);
        Err(Errno::EOPNOTSUPP)
    }

    /// Connects to `addr`. `EAGAIN`: the other side's backlog is full, and `wait` hears when it is not.
    fn connect(
        &self,
        who: Caller<'_>,
        addr: &[u8],
        wait: Option<&mut PollTable<'_>>,
    ) -> Result<()> {
        let _ = (who, addr, wait);
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes the first pending connection; `EAGAIN` if there is none.
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sends a message, or of a stream as much as there is room for. `EAGAIN`: there is none, and `wait` hears when there is.
    fn send(&self, msg: &mut SendMsg<'_>, wait: Option<&mut PollTable<'_>>) -> Result<usize>;

    /// Receives a message, or of a stream what there is. `EAGAIN`: nothing, and the file's `poll` says when.
    fn recv(&self, msg: &mut RecvMsg<'_>) -> Result<usize>;

    /// Closes one or both directions.
    fn shutdown(&self, how: Shutdown) -> Result<()>;

    /// Returns the socket's own address.
    fn local_addr(&self) -> Result<SocketAddr>;

    /// Returns the peer's address; `ENOTCONN` without one.
    fn peer_addr(&self) -> Result<SocketAddr>;

    /// Sets an option of the family's, or one that [`option`] leaves to it.
    fn set_option(&self, who: Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let _ = (who, level, name, value);
        Err(Errno::ENOPROTOOPT)
    }

    /// Writes an option's value to `out` and returns its size, as [`set_option`](Socket::set_option).
    fn get_option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<usize> {
        let _ = (level, name, out);
        Err(Errno::ENOPROTOOPT)
    }

    /// As [`FileOps::poll`].
    fn poll(&self, table: Option<&mut PollTable<'_>>) -> PollEvents;

    /// As [`FileOps::ioctl`].
    fn ioctl(&self, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let _ = (cmd, arg, mem);
        Err(Errno::ENOTTY)
    }

    /// The last descriptor is gone.
    fn release(&self);
}

/// What makes a file of a socket; the socket is released with it.
pub struct SocketFile(Arc<dyn Socket>);

/// Makes an open file of `socket`, owned by `cred`; `flags` may have `O_NONBLOCK`.
///
/// # Errors
/// `ENOMEM`; the socket is released then.
pub fn open(socket: Arc<dyn Socket>, cred: &Credentials, flags: u32) -> Result<Arc<File>> {
    let ops = Arc::new(SocketFile::new(socket));
    let path = anon::unique(AnonKind::Socket, cred.fsuid, cred.fsgid)?;
    File::new(ops, path, flags & O_NONBLOCK | O_RDWR, Positioning::Stream)
}

impl SocketFile {
    /// Wraps `socket`.
    pub fn new(socket: Arc<dyn Socket>) -> SocketFile {
        SocketFile(socket)
    }

    /// Returns the socket behind `file`.
    ///
    /// # Errors
    /// `ENOTSOCK`.
    #[inline]
    pub fn of(file: &File) -> Result<&Arc<dyn Socket>> {
        match file.ops_as::<SocketFile>() {
            Some(SocketFile(socket)) => Ok(socket),
            None => Err(Errno::ENOTSOCK),
        }
    }
}

/// Returns the socket as the concrete type `T`, if it is one.
pub(crate) fn downcast<T: Socket>(socket: &Arc<dyn Socket>) -> Option<&T> {
    let any: &dyn Any = &**socket;
    any.downcast_ref()
}

impl FileOps for SocketFile {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, file: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        if buf.remaining() == 0 {
            return Ok(0);
        }
        let flags = if file.nonblocking() { msg::DONTWAIT } else { 0 };
        // Files that came along are closed, as by a `recvmsg` without room for them.
        self.0.recv(&mut RecvMsg::new(buf, flags))
    }

    fn signals_broken_pipe(&self) -> bool {
        self.0.kind() == SocketType::Stream
    }

    fn read_expired(&self, _: &File, _: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EAGAIN)
    }

    fn write(&self, file: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let flags = if file.nonblocking() { msg::DONTWAIT } else { 0 };
        self.0.send(&mut SendMsg::new(buf, flags), None)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        self.0.poll(table)
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        self.0.ioctl(cmd, arg, mem)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.release();
    }
}
