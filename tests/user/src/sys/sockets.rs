//! Sockets.

use super::{Plain, Result, calls};

calls! {
    /// Makes a socket.
    socket(family: i32, kind: i32, protocol: i32) -> i32 = SYS_socket;
    /// Makes two that are connected.
    socketpair(family: i32, kind: i32, protocol: i32, ends: &mut [i32; 2]) = SYS_socketpair;
    /// Lets others connect.
    listen(fd: i32, backlog: i32) = SYS_listen;
    /// Ends one direction or both.
    shutdown(fd: i32, how: i32) = SYS_shutdown;
    /// Sends a message of pieces.
    sendmsg(fd: i32, message: &libc::msghdr, flags: i32) -> usize = SYS_sendmsg;
    /// Receives a message into pieces.
    recvmsg(fd: i32, message: &mut libc::msghdr, flags: i32) -> usize = SYS_recvmsg;
    /// Sends several messages.
    sendmmsg(fd: i32, messages: &mut [libc::mmsghdr], flags: i32) -> usize = SYS_sendmmsg;
}

mod raw {
    use super::{Plain, calls};

    calls! {
        /// Takes a connection.
        accept4(fd: i32, address: usize, len: usize, flags: i32) -> i32 = SYS_accept4;
        /// Gives a name.
        bind(fd: i32, address: &libc::sockaddr_un, len: u32) = SYS_bind;
        /// Connects.
        connect(fd: i32, address: &libc::sockaddr_un, len: u32) = SYS_connect;
        /// Sends.
        sendto(fd: i32, from: &[u8], flags: i32) -> usize = SYS_sendto;
        /// Receives.
        recvfrom(fd: i32, to: &mut [u8], flags: i32) -> usize = SYS_recvfrom;
                /// Receives several messages.
        recvmmsg(
            fd: i32, messages: &mut [libc::mmsghdr], flags: i32, timeout: Option<&mut libc::timespec>,
        ) -> usize = SYS_recvmmsg;
        /// Who is at the other end.
        getpeername(fd: i32, address: &mut libc::sockaddr_un, len: &mut u32) = SYS_getpeername;
    }

    /// Reads an option.
    pub fn getsockopt<T: Plain>(
        fd: i32,
        level: i32,
        name: i32,
        to: &mut T,
        len: &mut u32,
    ) -> super::Result {
        let (to, len) = (
            std::ptr::from_mut(to) as usize,
            std::ptr::from_mut(len) as usize,
        );
        let args = [fd as usize, level as usize, name as usize, to, len];
        super::super::call(libc::SYS_getsockopt, &args).map(|_| ())
    }
}

/// Receives several messages.
pub fn recvmmsg(fd: i32, messages: &mut [libc::mmsghdr], flags: i32) -> Result<usize> {
    raw::recvmmsg(fd, messages, flags, None)
}

/// Takes a connection, with flags for it.
pub fn accept4(fd: i32, flags: i32) -> Result<i32> {
    raw::accept4(fd, 0, 0, flags)
}

/// Takes a connection.
pub fn accept(fd: i32) -> Result<i32> {
    accept4(fd, 0)
}

/// Gives a socket its name, of which `len` bytes count.
pub fn bind(fd: i32, address: &libc::sockaddr_un, len: u32) -> Result {
    raw::bind(fd, address, len)
}

/// Connects to a name, of which `len` bytes count.
pub fn connect(fd: i32, address: &libc::sockaddr_un, len: u32) -> Result {
    raw::connect(fd, address, len)
}

/// Sends to the other end.
pub fn send(fd: i32, from: &[u8], flags: i32) -> Result<usize> {
    raw::sendto(fd, from, flags)
}

/// Receives from the other end.
pub fn recv(fd: i32, to: &mut [u8], flags: i32) -> Result<usize> {
    raw::recvfrom(fd, to, flags)
}

/// Who is at the other end, and how many bytes of it count.
pub fn getpeername(fd: i32) -> Result<(libc::sockaddr_un, u32)> {
    let mut len = size_of::<libc::sockaddr_un>() as u32;
    let address = super::filled(|address| raw::getpeername(fd, address, &mut len))?;
    Ok((address, len))
}

/// An option of a socket, which has to fill the type.
pub fn getsockopt<T: Plain>(fd: i32, level: i32, name: i32) -> Result<T> {
    let mut len = size_of::<T>() as u32;
    let value = super::filled(|value| raw::getsockopt(fd, level, name, value, &mut len))?;
    assert_eq!(len as usize, size_of::<T>());
    Ok(value)
}

/// Sets an option of a socket.
pub fn setsockopt<T: Plain>(fd: i32, level: i32, name: i32, value: &T) -> Result {
    let value_at = std::ptr::from_ref(value) as usize;
    let args = [
        fd as usize,
        level as usize,
        name as usize,
        value_at,
        size_of::<T>(),
    ];
    super::call(libc::SYS_setsockopt, &args).map(|_| ())
}

/// Two sockets of the machine itself that are connected.
#[track_caller]
pub fn pair(kind: i32) -> (i32, i32) {
    let mut ends = [0; 2];
    super::ok(socketpair(libc::AF_UNIX, kind, 0, &mut ends));
    (ends[0], ends[1])
}

/// A control message of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What it is, as `SCM_RIGHTS`.
    pub kind: i32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The length of a control message's head, and where the length, level and kind stand in it.
const HEAD: usize = 16;

impl Control {
    /// As words, whose alignment is a control message's.
    fn words(&self) -> Vec<u64> {
        let mut bytes = (HEAD + self.data.len()).to_ne_bytes().to_vec();
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let word = |chunk: &[u8]| u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
        bytes.chunks(8).map(word).collect()
    }

    /// Read from words.
    fn of(words: &[u64]) -> Control {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!((words[1] & 0xffff_ffff) as i32, libc::SOL_SOCKET);
        Control {
            kind: (words[1] >> 32) as i32,
            data: bytes[HEAD..words[0] as usize].to_vec(),
        }
    }
}

/// A message of one piece, with room for control messages.
fn message(piece: &mut libc::iovec, control: &mut [u64]) -> libc::msghdr {
    let mut message: libc::msghdr = super::zeroed();
    message.msg_iov = piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control) as _;
    message
}

/// Sends a byte along with a control message.
pub fn send_control(fd: i32, control: &Control) -> Result<usize> {
    let mut words = control.words();
    let mut piece = super::piece_of(b"x");
    let mut message = message(&mut piece, &mut words);
    message.msg_controllen = (HEAD + control.data.len()).next_multiple_of(8) as _;
    sendmsg(fd, &message, libc::MSG_NOSIGNAL)
}

/// Receives a byte, and the control message that came with it.
pub fn recv_control(fd: i32, flags: i32) -> Result<Option<Control>> {
    let (mut words, mut byte) = ([0_u64; 64], [0]);
    let mut piece = super::piece_into(&mut byte);
    let mut message = message(&mut piece, &mut words);
    recvmsg(fd, &mut message, flags)?;
    Ok((message.msg_controllen > 0).then(|| Control::of(&words)))
}
