//! POSIX message queues.
//!
//! Source: mq_overview(7).

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::time::{Instant, timeout_at};
use fs::file::oflag;
use fs::{Errno, File, Result};

use super::{Call, Plain, Stop, SysResult, fd, time};
use crate::ipc::mqueue::queue::Notice;
use crate::ipc::mqueue::{Attr, OpenQueue, Queue, limits, node};
use crate::signal::Signal;
use crate::timekeeping;
use crate::usermem::{self, PATH_MAX};

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (240, mq_open),
    (241, mq_unlink),
    (242, mq_timedsend),
    (243, mq_timedreceive),
    (244, mq_notify),
    (245, mq_getsetattr),
];

/// `struct mq_attr`: flags, most messages, bytes of one, messages; and four words of nothing.
type Words = [i64; 8];

fn name(call: &Call<'_>) -> Result<Vec<u8>> {
    usermem::read_cstr(call.arg(0), PATH_MAX - 1)
}

fn mq_open(call: &mut Call<'_>) -> SysResult {
    call.admit_file()?;
    let name = name(call)?;
    let (flags, mode, at) = (call.arg(1) as u32, call.arg(2) as u32, call.arg(3));
    let words = match at {
        0 => None,
        at => Some(usermem::read::<Words>(at)?),
    };
    let attr = || match words {
        None => Ok(None),
        Some([_, max, size, ..]) => {
            Ok::<Option<Attr>, Errno>(Some(limits::check(call.thread, max, size)?))
        }
    };
    let file = node::open(call.thread, &name, flags, mode, attr)?;
    fd::install(call, file, true)
}

fn mq_unlink(call: &mut Call<'_>) -> SysResult {
    node::unlink(&call.thread.cred(), &name(call)?)?;
    Ok(0)
}

/// The open file of a queue.
fn file(call: &Call<'_>) -> Result<Arc<File>> {
    let file = call.thread.file(call.int(0))?;
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    queue(&file)?;
    Ok(file)
}

/// Its queue.
fn queue(file: &File) -> Result<Arc<Queue>> {
    let open = file.ops_as::<OpenQueue>().ok_or(Errno::EBADF)?;
    Ok(open.0.clone())
}

/// Notes when waiting is to end: the call has a wall time for that, or none.
fn set_deadline(call: &mut Call<'_>) -> Result<()> {
    if call.arg(4) != 0 {
        let end = time::read_timespec(call.arg(4))?;
        call.deadline = Some(Instant::from_ns(timekeeping::from_realtime(end)));
    }
    Ok(())
}

/// A call that finds the queue full or empty waits, unless its file says otherwise.
fn or_wait<T>(file: &File, result: Result<T>) -> core::result::Result<T, Stop> {
    match result {
        Err(Errno::EAGAIN) if !file.nonblocking() => Err(Stop::Wait),
        result => Ok(result?),
    }
}

/// What mq_timedsend(2) is to send.
fn text(call: &Call<'_>, queue: &Queue) -> Result<Vec<u8>> {
    let len = call.arg(2);
    if len > queue.attr.size as u64 {
        return Err(Errno::EMSGSIZE);
    }
    crate::mm::admit()?;
    usermem::read_vec::<u8>(call.arg(1), len as usize)
}

fn mq_timedsend(call: &mut Call<'_>) -> SysResult {
    let priority = call.arg(3) as u32;
    if priority >= limits::PRIORITIES {
        return Err(Errno::EINVAL.into());
    }
    set_deadline(call)?;
    let file = file(call)?;
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    let queue = queue(&file)?;
    let mut text = text(call, &queue)?;
    or_wait(&file, queue.put(call.thread, priority, &mut text))?;
    Ok(0)
}

/// The waiting part of mq_timedsend(2).
pub async fn send_wait(call: &mut Call<'_>) -> Result<u64> {
    let queue = queue(&*file(call)?)?;
    let (mut text, priority) = (text(call, &queue)?, call.arg(3) as u32);
    let room = queue
        .writers
        .wait_until(|| match queue.put(call.thread, priority, &mut text) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        });
    let until = call.deadline.unwrap_or(Instant::MAX);
    let sent = call.thread.interruptible(timeout_at(until, room)).await?;
    sent.map_err(|_| Errno::ETIMEDOUT)?.map(|()| 0)
}

fn mq_timedreceive(call: &mut Call<'_>) -> SysResult {
    set_deadline(call)?;
    let file = file(call)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    let queue = queue(&file)?;
    if call.arg(2) < queue.attr.size as u64 {
        return Err(Errno::EMSGSIZE.into());
    }
    let message = or_wait(&file, queue.take())?;
    Ok(deliver(call, &message)?)
}

/// The waiting part of mq_timedreceive(2).
pub async fn receive_wait(call: &mut Call<'_>) -> Result<u64> {
    let queue = queue(&*file(call)?)?;
    let receiver = queue.wait();
    let come = queue.readers.wait_until(|| queue.take().ok());
    let until = call.deadline.unwrap_or(Instant::MAX);
    let come = call.thread.interruptible(timeout_at(until, come)).await?;
    drop(receiver);
    let message = come.map_err(|_| Errno::ETIMEDOUT)?;
    deliver(call, &message)
}

/// Gives a message to the caller. As on Linux it is lost where that fails.
fn deliver(call: &Call<'_>, (priority, text): &(u32, Vec<u8>)) -> Result<u64> {
    if call.arg(3) != 0 {
        usermem::write(call.arg(3), priority)?;
    }
    usermem::write_bytes(call.arg(1), text)?;
    Ok(text.len() as u64)
}

fn mq_notify(call: &mut Call<'_>) -> SysResult {
    const SIGEV_SIGNAL: i32 = 0;
    const SIGEV_NONE: i32 = 1;
    let notice = match call.arg(1) {
        0 => None,
        at => {
            let [value, kinds] = usermem::read::<[u64; 2]>(at)?;
            let (signal, kind) = (kinds as i32, (kinds >> 32) as i32);
            Some(match kind {
                SIGEV_NONE => Notice::Nothing,
                SIGEV_SIGNAL => {
                    let signal = Signal::new(signal).ok_or(Errno::EINVAL)?;
                    Notice::Signal(signal, value)
                }
                // By a message to a socket of a kind that there is none of.
                _ => return Err(Errno::EINVAL.into()),
            })
        }
    };
    let queue = queue(&*file(call)?)?;
    node::notify(call.thread, &queue, notice)?;
    Ok(0)
}

fn mq_getsetattr(call: &mut Call<'_>) -> SysResult {
    let new = match call.arg(1) {
        0 => None,
        at => Some(usermem::read::<Words>(at)?[0]),
    };
    if new.is_some_and(|flags| flags & !i64::from(oflag::O_NONBLOCK) != 0) {
        return Err(Errno::EINVAL.into());
    }
    let file = file(call)?;
    let queue = queue(&file)?;
    let old = file.flags();
    if let Some(new) = new {
        file.set_flags(old & !oflag::O_NONBLOCK | new as u32)?;
    }
    if call.arg(2) != 0 {
        let mut words: Words = [0; 8];
        words[0] = i64::from(old & oflag::O_NONBLOCK);
        words[1] = queue.attr.max as i64;
        words[2] = queue.attr.size as i64;
        words[3] = queue.figures().messages as i64;
        usermem::write(call.arg(2), &words)?;
    }
    Ok(0)
}
