//! Addresses of local sockets: names in the file system, and abstract ones.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU32, Ordering};

use super::UnixSocket;
use crate::cred::MAY_WRITE;
use crate::dirops;
use crate::inode::{Inode, S_IFSOCK};
use crate::mount::FsContext;
use crate::namei::{LookupFlags, Walk};
use crate::socket::{AF_UNIX, Caller, SocketAddr, SocketType};
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// Where the path starts in `struct sockaddr_un`.
const PATH_AT: usize = 2;
/// The size of `struct sockaddr_un`.
const SIZE: usize = 110;

/// An address as a program gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given<'a> {
    /// Only the family: the kernel is to choose one.
    Any,
    /// A path, without the zero byte that may follow.
    Path(&'a [u8]),
    /// An abstract name, its leading zero byte included.
    Abstract(&'a [u8]),
}

impl<'a> Given<'a> {
    /// Decodes a `struct sockaddr_un`.
    ///
    /// # Errors
    /// `EINVAL` for another family, or a length that cannot be.
    pub(super) fn parse(addr: &'a [u8]) -> Result<Given<'a>> {
        let [a, b, name @ ..] = addr else {
            return Err(Errno::EINVAL);
        };
        if u16::from_ne_bytes([*a, *b]) != AF_UNIX || addr.len() > SIZE {
            return Err(Errno::EINVAL);
        }
        Ok(match name {
            [] => Given::Any,
            [0, ..] => Given::Abstract(name),
            _ => {
                let end = name.iter().position(|&b| b == 0);
                Given::Path(&name[..end.unwrap_or(name.len())])
            }
        })
    }
}

/// The address that a socket is bound to.
#[derive(Debug)]
pub(super) struct UnixAddr {
    addr: SocketAddr,
    kind: SocketType,
}

impl UnixAddr {
    fn new(kind: SocketType, name: &[u8], terminated: bool) -> UnixAddr {
        let mut bytes = [0; SIZE + 1];
        let end = PATH_AT + name.len();
        bytes[..PATH_AT].copy_from_slice(&AF_UNIX.to_ne_bytes());
        bytes[PATH_AT..end].copy_from_slice(name);
        UnixAddr {
            addr: SocketAddr::new(&bytes[..end + usize::from(terminated)]),
            kind,
        }
    }

    /// The address of a socket that is not bound.
    pub(super) fn unnamed() -> SocketAddr {
        SocketAddr::new(&AF_UNIX.to_ne_bytes())
    }

    pub(super) fn to_socket_addr(&self) -> SocketAddr {
        self.addr
    }

    fn name(&self) -> &[u8] {
        &self.addr.as_bytes()[PATH_AT..]
    }
}

/// A socket as it hangs on the inode it is bound to.
struct Bound(Weak<UnixSocket>);

type Names = BTreeMap<(SocketType, Arc<[u8]>), Weak<UnixSocket>>;

/// The abstract names in use.
static NAMES: SpinLock<Names> = SpinLock::new(BTreeMap::new());

/// Takes the abstract `name` for `socket`.
fn claim(socket: &Arc<UnixSocket>, name: &[u8]) -> Result<UnixAddr> {
    let key = (socket.kind, Arc::from(name));
    let mut names = NAMES.lock();
    if names.contains_key(&key) {
        return Err(Errno::EADDRINUSE);
    }
    names.insert(key, Arc::downgrade(socket));
    Ok(UnixAddr::new(socket.kind, name, false))
}

/// Takes an abstract name of the kernel's choice: five hexadecimal digits.
///
/// # Errors
/// `ENOSPC` if all are in use.
pub(super) fn autobind(socket: &Arc<UnixSocket>) -> Result<UnixAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const ALL: u32 = 1 << 20;
    for _ in 0..ALL {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % ALL;
        let name = alloc::format!("\0{number:05x}");
        match claim(socket, name.as_bytes()) {
            Err(Errno::EADDRINUSE) => {}
            result => return result,
        }
    }
    Err(Errno::ENOSPC)
}

/// Binds `socket` to a name.
///
/// # Errors
/// `EADDRINUSE`, and what creating the path gives.
pub(super) fn bind(
    socket: &Arc<UnixSocket>,
    who: Caller<'_>,
    given: Given<'_>,
) -> Result<UnixAddr> {
    match given {
        Given::Any => autobind(socket),
        Given::Abstract(name) => claim(socket, name),
        Given::Path(path) => {
            let fs = who.fs.ok_or(Errno::ENOENT)?;
            let made = dirops::mknod(&walk(who, fs), path, S_IFSOCK | 0o777, 0, fs.umask);
            let made = made.map_err(|error| match error {
                Errno::EEXIST => Errno::EADDRINUSE,
                error => error,
            })?;
            let inode = made.dentry.existing()?;
            inode.attach(Some(Arc::new(Bound(Arc::downgrade(socket)))));
            Ok(UnixAddr::new(socket.kind, path, true))
        }
    }
}

/// Gives up a name that is in [`NAMES`]; a path stays, and leads nowhere.
pub(super) fn unbind(addr: &UnixAddr) {
    if addr.name().first() == Some(&0) {
        let key = (addr.kind, Arc::from(addr.name()));
        let gone = NAMES.lock().remove(&key);
        drop(gone);
    }
}

/// Tells whether `addr` is in [`NAMES`] for `socket`.
pub(super) fn owns(addr: &UnixAddr, socket: &UnixSocket) -> bool {
    let key = (addr.kind, Arc::from(addr.name()));
    let names = NAMES.lock();
    let owner = names.get(&key);
    owner.is_some_and(|owner| core::ptr::eq(owner.as_ptr(), socket))
}

/// Finds the socket that is bound to an address.
///
/// # Errors
/// `ECONNREFUSED` if there is none; `EPROTOTYPE` if it is of another type than `kind`; those of the walk to a path; `EACCES` for
/// one that `who` must not write to.
pub(super) fn find(who: Caller<'_>, given: Given<'_>, kind: SocketType) -> Result<Arc<UnixSocket>> {
    match given {
        Given::Any => Err(Errno::ECONNREFUSED),
        Given::Abstract(name) => {
            let key = (kind, Arc::from(name));
            let found = NAMES.lock().get(&key).and_then(Weak::upgrade);
            found.ok_or(Errno::ECONNREFUSED)
        }
        Given::Path(path) => {
            let inode = find_node(who, path)?;
            let bound = inode
                .attachment()
                .and_then(|attached| attached.downcast::<Bound>().ok());
            let socket = bound.and_then(|bound| bound.0.upgrade());
            let socket = socket.ok_or(Errno::ECONNREFUSED)?;
            if socket.kind != kind {
                return Err(Errno::EPROTOTYPE);
            }
            Ok(socket)
        }
    }
}

fn walk<'a>(who: Caller<'a>, fs: &'a FsContext) -> Walk<'a> {
    Walk {
        root: &fs.root,
        start: &fs.cwd,
        cred: who.cred,
    }
}

fn find_node(who: Caller<'_>, path: &[u8]) -> Result<Arc<Inode>> {
    let fs = who.fs.ok_or(Errno::ENOENT)?;
    let found = walk(who, fs).lookup(path, LookupFlags::FOLLOW)?;
    let inode = found.dentry.existing()?;
    who.cred.permission(inode, MAY_WRITE)?;
    if inode.kind() != S_IFSOCK {
        return Err(Errno::ECONNREFUSED);
    }
    Ok(inode.clone())
}
