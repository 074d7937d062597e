//! Sockets: making, naming, connecting, options. [`message`] sends and receives.

mod address;
mod message;

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use executor::time::{Instant, sleep_until};
use fs::file::oflag;
use fs::poll::{PollTable, Waiters};
use fs::socket::{self, AF_UNIX, Caller, Shutdown, Socket, SocketAddr, SocketFile, Ucred, option};
use fs::unix::UnixSocket;
use fs::{Cap, Credentials, Errno, File, FsContext, PollEvents, Result};

use super::rw::set_socket_deadline;
use super::wait::given_up;
use super::{Call, Plain, Stop, SysResult, fd};
use crate::process::Thread;
use crate::process::rlimit::Resource;
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (41, socket),
    (42, connect),
    (43, accept),
    (44, message::sendto),
    (45, message::recvfrom),
    (46, message::sendmsg),
    (47, message::recvmsg),
    (48, shutdown),
    (49, bind),
    (50, listen),
    (51, getsockname),
    (52, getpeername),
    (53, socketpair),
    (54, setsockopt),
    (55, getsockopt),
    (288, accept4),
    (299, message::recvmmsg),
    (307, message::sendmmsg),
];

/// The flags that go with a socket's type.
const TYPE_FLAGS: u32 = oflag::O_CLOEXEC | oflag::O_NONBLOCK;

/// Who makes a call, kept for as long as a [`Caller`] of it is needed.
struct Who {
    cred: Arc<Credentials>,
    fs: Option<FsContext>,
    pid: u32,
    nofile: u64,
}

impl Who {
    /// For calls that look up no path.
    fn new(thread: &Thread) -> Who {
        let cred = thread.cred();
        let unbounded = cred.capable(Cap::SysResource) || cred.capable(Cap::SysAdmin);
        Who {
            nofile: if unbounded {
                u64::MAX
            } else {
                thread.process().limit(Resource::Files)
            },
            cred,
            fs: None,
            pid: thread.process().pid as u32,
        }
    }

    /// For calls with an address, which may be a path.
    fn with_paths(thread: &Thread) -> Who {
        Who {
            fs: Some(thread.fs().lock().clone()),
            ..Who::new(thread)
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            cred: &self.cred,
            pid: self.pid,
            fs: self.fs.as_ref(),
            nofile: self.nofile,
        }
    }
}

/// Who runs, for messages sent by a plain write.
pub fn identity() -> Ucred {
    Who::new(&crate::process::current()).caller().ucred()
}

/// The file of descriptor `fd`, a socket.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
fn socket_file(call: &Call<'_>, fd: i32) -> Result<Arc<File>> {
    let file = call.thread.file(fd)?;
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    SocketFile::of(&file)?;
    Ok(file)
}

/// Checks what `socket` and `socketpair` ask for.
fn family(domain: i32, kind: u32, protocol: i32) -> Result<socket::SocketType> {
    const TYPE_MASK: u32 = 0xf;
    if kind & !TYPE_MASK & !TYPE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if domain != i32::from(AF_UNIX) {
        return Err(Errno::EAFNOSUPPORT);
    }
    UnixSocket::check(kind & TYPE_MASK, protocol)
}

fn socket(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(1) as u32;
    let kind = family(call.int(0), flags, call.int(2))?;
    call.admit_file()?;
    let file = socket::open(UnixSocket::new(kind), &call.thread.cred(), flags)?;
    fd::install(call, file, flags & oflag::O_CLOEXEC != 0)
}

fn socketpair(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(1) as u32;
    let kind = family(call.int(0), flags, call.int(2))?;
    call.admit_file()?;
    let who = Who::new(call.thread);
    let (a, b) = UnixSocket::pair(kind, who.caller());
    let a = socket::open(a, &who.cred, flags);
    let b = socket::open(b, &who.cred, flags);
    let (a, b) = (a?, b?);
    let cloexec = flags & oflag::O_CLOEXEC != 0;
    let files = call.thread.files();
    let first = fd::install(call, a, cloexec)? as i32;
    let second = match fd::install(call, b, cloexec) {
        Ok(second) => second as i32,
        Err(stop) => {
            drop(files.remove(first));
            return Err(stop);
        }
    };
    if let Err(e) = usermem::write(call.arg(3), &[first, second]) {
        drop((files.remove(first), files.remove(second)));
        return Err(e.into());
    }
    Ok(0)
}

fn bind(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let addr = address::read(call.arg(1), call.int(2))?;
    crate::mm::admit()?;
    let who = Who::with_paths(call.thread);
    SocketFile::of(&file)?.bind(who.caller(), addr.as_bytes())?;
    Ok(0)
}

fn listen(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let who = Who::new(call.thread);
    SocketFile::of(&file)?.listen(who.caller(), call.int(1) as u32)?;
    Ok(0)
}

/// One attempt of a connect; registers with `table` what it waits for.
fn try_connect(call: &mut Call<'_>, table: Option<&mut PollTable<'_>>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let addr = address::read(call.arg(1), call.int(2))?;
    crate::mm::admit()?;
    let who = Who::with_paths(call.thread);
    match SocketFile::of(&file)?.connect(who.caller(), addr.as_bytes(), table) {
        Err(Errno::EAGAIN) if !file.nonblocking() => {
            set_socket_deadline(call, &file, false);
            Err(Stop::Wait)
        }
        result => Ok(result.map(|()| 0)?),
    }
}

fn connect(call: &mut Call<'_>) -> SysResult {
    try_connect(call, None)
}

/// The waiting part of the calls that tell precisely what they wait for.
pub async fn wait(call: &mut Call<'_>) -> Result<u64> {
    let attempt = match call.number() {
        42 => try_connect,
        _ => message::try_send,
    };
    let deadline = call.deadline;
    let mut waiters = pin!(Waiters::new());
    let mut sleep = pin!(sleep_until(deadline.unwrap_or(Instant::MAX)));
    poll_fn(|cx| {
        waiters.as_mut().clear();
        let mut table = PollTable::new(waiters.as_mut(), cx.waker(), PollEvents::OUT);
        let result = attempt(call, Some(&mut table));
        let failed = table.failed();
        match result {
            Err(Stop::Wait) if failed => return Poll::Ready(Err(Errno::ENOMEM)),
            Err(Stop::Wait | Stop::Yield | Stop::NotReady(..)) => {}
            Err(Stop::Error(e)) => return Poll::Ready(Err(e)),
            Ok(value) => return Poll::Ready(Ok(value)),
        }
        match given_up(call, deadline, sleep.as_mut(), cx) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    })
    .await
}

fn accept(call: &mut Call<'_>) -> SysResult {
    accept_with(call, 0)
}

fn accept4(call: &mut Call<'_>) -> SysResult {
    accept_with(call, call.arg(3) as u32)
}

fn accept_with(call: &mut Call<'_>, flags: u32) -> SysResult {
    if flags & !TYPE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = socket_file(call, call.int(0))?;
    call.admit_file()?;
    let accepted = match SocketFile::of(&file)?.accept() {
        Err(Errno::EAGAIN) if !file.nonblocking() => {
            set_socket_deadline(call, &file, true);
            return Err(Stop::NotReady(file, PollEvents::IN));
        }
        accepted => accepted?,
    };
    let peer = accepted.peer_addr();
    let new = socket::open(accepted, &call.thread.cred(), flags)?;
    if call.arg(1) != 0 {
        // A peer that is gone already has no address any more.
        let peer = peer.map_err(|_| Errno::ECONNABORTED)?;
        address::write(call.arg(1), call.arg(2), &peer)?;
    }
    fd::install(call, new, flags & oflag::O_CLOEXEC != 0)
}

fn shutdown(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    SocketFile::of(&file)?.shutdown(Shutdown::from_raw(call.int(1))?)?;
    Ok(0)
}

fn name(call: &Call<'_>, addr: impl Fn(&dyn Socket) -> Result<SocketAddr>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let addr = addr(&**SocketFile::of(&file)?)?;
    address::write(call.arg(1), call.arg(2), &addr)?;
    Ok(0)
}

fn getsockname(call: &mut Call<'_>) -> SysResult {
    name(call, |socket| socket.local_addr())
}

fn getpeername(call: &mut Call<'_>) -> SysResult {
    name(call, |socket| socket.peer_addr())
}

/// The longest option value that is looked at.
const MAX_OPTION: usize = 256;

fn setsockopt(call: &mut Call<'_>) -> SysResult {
    let len = usize::try_from(call.int(4)).map_err(|_| Errno::EINVAL)?;
    let file = socket_file(call, call.int(0))?;
    let mut value = [0; MAX_OPTION];
    let value = &mut value[..len.min(MAX_OPTION)];
    usermem::read_bytes(call.arg(3), value)?;
    let who = Who::new(call.thread);
    let socket = SocketFile::of(&file)?;
    option::set(&**socket, who.caller(), call.int(1), call.int(2), value)?;
    Ok(0)
}

fn getsockopt(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let len = usermem::read::<i32>(call.arg(4))?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut value = [0; MAX_OPTION];
    let value = &mut value[..len.min(MAX_OPTION)];
    let socket = SocketFile::of(&file)?;
    let len = option::get(&**socket, call.int(1), call.int(2), value)?;
    usermem::write_bytes(call.arg(3), &value[..len])?;
    usermem::write(call.arg(4), &(len as i32))?;
    Ok(0)
}
