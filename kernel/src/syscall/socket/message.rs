//! Sending and receiving messages: `sendto`, `recvfrom`, `sendmsg`, `recvmsg` and their forms for many at once.

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::time::Instant;
use fs::poll::PollTable;
use fs::socket::cmsg::{self, Control, ControlWriter, SOL_SOCKET};
use fs::socket::{RecvMsg, SendMsg, SocketAddr, SocketFile, SocketType, Ucred, msg};
use fs::{Cap, Errno, File, PollEvents, Result};

use super::{Who, address, socket_file};
use crate::syscall::rw::{broken_pipe, set_socket_deadline};
use crate::syscall::time::read_timespec;
use crate::syscall::{Call, Stop, SysResult};
use crate::usermem::{self, IOV_MAX, IoVec, UserRange, UserSink, UserSource};

/// The longest control buffer that a program may send (`net.core.optmem_max`).
const MAX_CONTROL: usize = 20480;
/// As much control buffer as can be filled: credentials and the most files there can be.
const FULL_CONTROL: usize = 2 * 16 + 16 + 4 * cmsg::SCM_MAX_FD + 16;
/// The size of `struct mmsghdr`.
const MMSGHDR: u64 = 64;
/// Where `msg_len` is in it.
const MSG_LEN: u64 = 56;

/// `struct msghdr`.
struct Header {
    /// Where it is.
    at: u64,
    name: u64,
    name_len: i32,
    parts: Vec<IoVec>,
    control: u64,
    control_len: u64,
}

impl Header {
    fn read(at: u64) -> Result<Header> {
        let [name, name_len, iov, iov_len, control, control_len, _] =
            usermem::read::<[u64; 7]>(at)?;
        if iov_len > IOV_MAX as u64 {
            return Err(Errno::EMSGSIZE);
        }
        let name_len = name_len as i32;
        if name_len < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Header {
            at,
            name,
            name_len: if name == 0 { 0 } else { name_len },
            parts: usermem::read_vec(iov, iov_len as usize)?,
            control,
            control_len,
        })
    }
}

/// What goes along with data, decoded and checked.
#[derive(Default)]
struct Extras {
    files: Vec<Arc<File>>,
    creds: Option<Ucred>,
}

impl Extras {
    fn read(call: &Call<'_>, who: &Who, header: &Header) -> Result<Extras> {
        if header.control == 0 || header.control_len == 0 {
            return Ok(Extras::default());
        }
        if header.control_len > MAX_CONTROL as u64 {
            return Err(Errno::ENOBUFS);
        }
        let bytes = usermem::read_vec::<u8>(header.control, header.control_len as usize)?;
        let control = Control::parse(&bytes)?;
        let mut files = Vec::new();
        files
            .try_reserve_exact(control.fds.len())
            .map_err(|_| Errno::ENOMEM)?;
        for fd in control.fds {
            files.push(call.thread.file(fd)?);
        }
        if let Some(creds) = control.creds {
            may_claim(who, creds)?;
        }
        Ok(Extras {
            files,
            creds: control.creds,
        })
    }
}

/// Checks that a program may say it is `claimed`.
///
/// # Errors
/// `EPERM`.
fn may_claim(who: &Who, claimed: Ucred) -> Result<()> {
    let cred = &who.cred;
    let pid = claimed.pid == who.pid || cred.capable(Cap::SysAdmin);
    let uid = [cred.uid, cred.euid, cred.suid].contains(&claimed.uid) || cred.capable(Cap::Setuid);
    let gid = [cred.gid, cred.egid, cred.sgid].contains(&claimed.gid) || cred.capable(Cap::Setgid);
    if pid && uid && gid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The flags of a call on `file`.
fn flags_of(file: &File, flags: u32) -> u32 {
    if file.nonblocking() {
        flags | msg::DONTWAIT
    } else {
        flags
    }
}

/// A message as a program describes it.
struct Outgoing<'a> {
    parts: &'a [IoVec],
    flags: u32,
    to: Option<SocketAddr>,
    extras: Extras,
}

/// One attempt of a send that goes on `done` bytes into the message; returns how many are sent in all.
///
/// Sends all there is, as far as the socket takes it; `Stop::Wait` if it is to wait for room.
fn send(
    call: &mut Call<'_>,
    file: &Arc<File>,
    mut out: Outgoing<'_>,
    done: usize,
    mut table: Option<&mut PollTable<'_>>,
) -> SysResult {
    let flags = flags_of(file, out.flags);
    let socket = SocketFile::of(file)?;
    let mut range = UserRange::new(out.parts)?;
    range.advance(done);
    // Whoever waits for a stream waits for its file, and hears of room however it comes about.
    if let Some(table) = table.as_deref_mut()
        && socket.kind() == SocketType::Stream
    {
        socket.poll(Some(table));
    }
    let who = if out.to.is_some() {
        Who::with_paths(call.thread)
    } else {
        Who::new(call.thread)
    };
    let mut files = core::mem::take(&mut out.extras.files);
    loop {
        let start = range.clone();
        let mut data = UserSource(&mut range);
        let mut message = SendMsg::new(&mut data, flags);
        message.to = out.to.as_ref().map(|a| (a.as_bytes(), who.caller()));
        message.from = Some(out.extras.creds.unwrap_or(who.caller().ucred()));
        message.explicit_creds = out.extras.creds.is_some();
        message.files = core::mem::take(&mut files);
        message.files_of = Some((who.cred.uid, who.nofile));
        let result = socket.send(&mut message, table.as_deref_mut());
        files = core::mem::take(&mut message.files);
        drop(message);
        let error = match result {
            Ok(_) if range.remaining() == 0 => return Ok(range.done() as u64),
            Ok(_) if socket.kind() != SocketType::Stream => return Ok(range.done() as u64),
            Ok(_) if range.faulted() => Errno::EFAULT,
            Ok(_) => continue,
            Err(error) => {
                range.rewind(start);
                error
            }
        };
        if range.faulted() {
            match range.resolve(false) {
                Ok(()) => continue,
                Err(_) if range.done() > 0 => return Ok(range.done() as u64),
                Err(error) => return Err(error.into()),
            }
        }
        if error == Errno::EAGAIN && flags & msg::DONTWAIT == 0 {
            call.done = range.done();
            set_socket_deadline(call, file, false);
            return Err(Stop::Wait);
        }
        if range.done() > 0 {
            return Ok(range.done() as u64);
        }
        if error == Errno::EPIPE && flags & msg::NOSIGNAL == 0 {
            broken_pipe(call, file);
        }
        return Err(error.into());
    }
}

/// One attempt of any of the sending calls.
pub fn try_send(call: &mut Call<'_>, table: Option<&mut PollTable<'_>>) -> SysResult {
    match call.number() {
        44 => try_sendto(call, table),
        46 => {
            let file = socket_file(call, call.int(0))?;
            let done = call.done;
            send_header(call, &file, call.arg(1), call.arg(2) as u32, done, table)
        }
        _ => try_sendmmsg(call, table),
    }
}

fn try_sendto(call: &mut Call<'_>, table: Option<&mut PollTable<'_>>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let to = match call.arg(4) {
        0 => None,
        at => Some(address::read(at, call.int(5))?),
    };
    let parts = [IoVec {
        base: call.arg(1),
        len: call.arg(2),
    }];
    let out = Outgoing {
        parts: &parts,
        flags: call.arg(3) as u32,
        to,
        extras: Extras::default(),
    };
    let done = call.done;
    send(call, &file, out, done, table)
}

fn send_header(
    call: &mut Call<'_>,
    file: &Arc<File>,
    at: u64,
    flags: u32,
    done: usize,
    table: Option<&mut PollTable<'_>>,
) -> SysResult {
    crate::mm::admit()?;
    let header = Header::read(at)?;
    let to = match header.name_len {
        0 => None,
        len => Some(address::read(header.name, len.min(128))?),
    };
    // What goes along went with the first byte.
    let extras = match done {
        0 => Extras::read(call, &Who::new(call.thread), &header)?,
        _ => Extras::default(),
    };
    let out = Outgoing {
        parts: &header.parts,
        flags,
        to,
        extras,
    };
    send(call, file, out, done, table)
}

/// Sends message after message; [`Call::done`] counts those that an earlier attempt has sent.
fn try_sendmmsg(call: &mut Call<'_>, mut table: Option<&mut PollTable<'_>>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let count = (call.arg(2) as u32 as usize).min(IOV_MAX);
    let flags = call.arg(3) as u32;
    let mut sent = call.done;
    while sent < count {
        let at = call.arg(1) + sent as u64 * MMSGHDR;
        let result = send_header(call, &file, at, flags, 0, table.as_deref_mut());
        // The bytes of a message that went out in part count for nothing here.
        call.done = sent;
        let len = match result {
            Ok(len) => len,
            Err(Stop::Error(_)) if sent > 0 => break,
            Err(stop) => return Err(stop),
        };
        usermem::write(at + MSG_LEN, &(len as u32))?;
        sent += 1;
    }
    Ok(sent as u64)
}

pub fn sendto(call: &mut Call<'_>) -> SysResult {
    try_send(call, None)
}

pub fn sendmsg(call: &mut Call<'_>) -> SysResult {
    try_send(call, None)
}

pub fn sendmmsg(call: &mut Call<'_>) -> SysResult {
    try_send(call, None)
}

/// What came with received data.
#[derive(Default)]
struct Received {
    from: Option<SocketAddr>,
    flags: u32,
    files: Vec<Arc<File>>,
    creds: Option<Ucred>,
}

/// One attempt of a receive that goes on `done` bytes into `parts`; returns the bytes received in all, or the size of a message
/// that was longer and whose size was asked for (`MSG_TRUNC`).
///
/// With `wait_all`, `Stop::NotReady` after a part.
fn receive(
    call: &mut Call<'_>,
    file: &Arc<File>,
    parts: &[IoVec],
    flags: u32,
    done: usize,
) -> core::result::Result<(u64, Received), Stop> {
    let flags = flags_of(file, flags);
    let socket = SocketFile::of(file)?;
    let mut range = UserRange::new(parts)?;
    range.advance(done);
    let mut received = Received::default();
    loop {
        let start = range.clone();
        let mut data = UserSink(&mut range);
        let mut message = RecvMsg::new(&mut data, flags);
        let result = socket.recv(&mut message);
        let complete = message.complete || flags & msg::WAITALL == 0;
        received.flags |= message.out_flags;
        received.from = received.from.or(message.from);
        received.creds = received.creds.or(message.creds);
        received.files.append(&mut message.files);
        drop(message);
        match result {
            Ok(len) if range.faulted() => {
                // A stream: what was copied is received, the rest waits for its page.
                if range.resolve(true).is_err() || complete && len > 0 {
                    return Ok((range.done() as u64, received));
                }
            }
            Ok(0) => return Ok((range.done() as u64, received)),
            Ok(len) if complete || range.remaining() == 0 => {
                return Ok(((range.done() as u64).max(len as u64), received));
            }
            Ok(_) => {}
            Err(error) => {
                range.rewind(start);
                if range.faulted() {
                    range.resolve(true)?;
                    continue;
                }
                let waits = error == Errno::EAGAIN && flags & msg::DONTWAIT == 0;
                if waits && received.creds.is_none() && received.files.is_empty() {
                    call.done = range.done();
                    set_socket_deadline(call, file, true);
                    return Err(Stop::NotReady(file.clone(), PollEvents::IN));
                }
                if range.done() > 0 {
                    return Ok((range.done() as u64, received));
                }
                return Err(error.into());
            }
        }
    }
}

pub fn recvfrom(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let parts = [IoVec {
        base: call.arg(1),
        len: call.arg(2),
    }];
    let done = call.done;
    let (len, received) = receive(call, &file, &parts, call.arg(3) as u32, done)?;
    if call.arg(4) != 0 {
        let nobody = SocketAddr::new(&[]);
        let from = received.from.unwrap_or(nobody);
        address::write(call.arg(4), call.arg(5), &from)?;
    }
    Ok(len)
}

pub fn recvmsg(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let done = call.done;
    receive_header(call, &file, call.arg(1), call.arg(2) as u32, done)
}

fn receive_header(
    call: &mut Call<'_>,
    file: &Arc<File>,
    at: u64,
    flags: u32,
    done: usize,
) -> SysResult {
    let header = Header::read(at)?;
    let (len, received) = receive(call, file, &header.parts, flags, done)?;
    deliver(call, &header, flags, received)?;
    Ok(len)
}

/// Tells a program what came with the data: who sent it, credentials, files, flags.
fn deliver(call: &Call<'_>, header: &Header, flags: u32, received: Received) -> Result<()> {
    const NAME_LEN: u64 = 8;
    const CONTROL_LEN: u64 = 40;
    const FLAGS: u64 = 48;
    let mut out_flags = received.flags | flags & msg::CMSG_CLOEXEC;
    if header.name != 0 {
        let nobody = SocketAddr::new(&[]);
        let from = received.from.unwrap_or(nobody);
        let room = from.as_bytes().len().min(header.name_len as usize);
        usermem::write_bytes(header.name, &from.as_bytes()[..room])?;
        usermem::write(header.at + NAME_LEN, &(from.as_bytes().len() as u32))?;
    }
    let mut buf = [0; FULL_CONTROL];
    let room = (header.control_len as usize).min(buf.len());
    let room = if header.control == 0 { 0 } else { room };
    let mut control = ControlWriter::new(&mut buf[..room]);
    if let Some(creds) = received.creds {
        control.put(SOL_SOCKET, cmsg::SCM_CREDENTIALS, &creds.to_bytes());
    }
    if !received.files.is_empty() {
        put_files(call, &mut control, received.files, flags);
    }
    if control.truncated {
        out_flags |= msg::CTRUNC;
    }
    let used = control.used();
    usermem::write_bytes(header.control, &buf[..used])?;
    usermem::write(header.at + CONTROL_LEN, &(used as u64))?;
    usermem::write(header.at + FLAGS, &out_flags)
}

/// Gives the files descriptors, as many as there is room for, and closes the others.
fn put_files(call: &Call<'_>, control: &mut ControlWriter<'_>, files: Vec<Arc<File>>, flags: u32) {
    let cloexec = flags & msg::CMSG_CLOEXEC != 0;
    let mut bytes = [0; 4 * cmsg::SCM_MAX_FD];
    let mut count = 0;
    control.truncated |= control.room_for_fds() < files.len();
    for file in files.into_iter().take(control.room_for_fds()) {
        match crate::syscall::fd::install(call, file, cloexec) {
            Ok(fd) => {
                bytes[count * 4..count * 4 + 4].copy_from_slice(&(fd as i32).to_ne_bytes());
                count += 1;
            }
            Err(_) => {
                control.truncated = true;
                break;
            }
        }
    }
    if count > 0 {
        control.put(SOL_SOCKET, cmsg::SCM_RIGHTS, &bytes[..count * 4]);
    }
}

/// Receives message after message; [`Call::done`] counts those that an earlier attempt has received.
pub fn recvmmsg(call: &mut Call<'_>) -> SysResult {
    let file = socket_file(call, call.int(0))?;
    let count = (call.arg(2) as u32 as usize).min(IOV_MAX);
    let mut flags = call.arg(3) as u32;
    if call.arg(4) != 0 && call.deadline.is_none() {
        let ns = read_timespec(call.arg(4))?;
        call.deadline = Some(Instant::now().add_ns(ns));
    }
    let mut got = call.done;
    while got < count {
        if got > 0 && flags & msg::WAITFORONE != 0 {
            flags |= msg::DONTWAIT;
        }
        if got > 0 && call.deadline.is_some_and(|end| end <= Instant::now()) {
            break;
        }
        let at = call.arg(1) + got as u64 * MMSGHDR;
        let result = receive_header(call, &file, at, flags & !msg::WAITFORONE, 0);
        call.done = got;
        let len = match result {
            Ok(len) => len,
            Err(Stop::Error(_)) if got > 0 => break,
            Err(stop) => return Err(stop),
        };
        usermem::write(at + MSG_LEN, &(len as u32))?;
        got += 1;
    }
    Ok(got as u64)
}
