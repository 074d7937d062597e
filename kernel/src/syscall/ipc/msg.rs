//! Calls on message queues.

use alloc::sync::Arc;

use fs::{Errno, Result};

use super::id;
use crate::ipc::msg::{self, QUEUES, Queue, WORDS, Wanted};
use crate::ipc::{cmd, flag, perm};
use crate::syscall::{Call, Stop, SysResult};
use crate::usermem;

const STAT_AT: i32 = 11;
const INFO_USED: i32 = 12;
const STAT_ANY: i32 = 13;

/// Flags of msgrcv(2).
mod receive_flag {
    pub const NOERROR: u32 = 0o10000;
    pub const EXCEPT: u32 = 0o20000;
    pub const COPY: u32 = 0o40000;
}

pub fn msgget(call: &mut Call<'_>) -> SysResult {
    let id = msg::get(&call.thread.cred(), call.int(0), call.arg(1) as u32)?;
    Ok(id as u64)
}

/// What msgsnd(2) is to send, and where.
struct Sending {
    queue: Arc<Queue>,
    kind: i64,
    text: Arc<msg::Text>,
}

impl Sending {
    fn read(call: &Call<'_>) -> Result<Sending> {
        crate::mm::admit()?;
        let (id, at) = (id(call)?, call.arg(1));
        let kind = usermem::read::<i64>(at)?;
        let mut text = msg::text(call.thread, call.arg(2))?;
        if kind < 1 {
            return Err(Errno::EINVAL);
        }
        usermem::read_bytes(at.wrapping_add(8), &mut text.bytes)?;
        Ok(Sending {
            queue: QUEUES.get(id)?,
            kind,
            text: Arc::new(text),
        })
    }

    fn attempt(&self, call: &Call<'_>) -> Result<()> {
        let pid = call.thread.process().pid;
        self.queue
            .send(&call.thread.cred(), pid, self.kind, &self.text)
    }
}

fn waits(call: &Call<'_>, flags: usize) -> bool {
    call.arg(flags) as u32 & flag::NOWAIT == 0
}

pub fn msgsnd(call: &mut Call<'_>) -> SysResult {
    match Sending::read(call)?.attempt(call) {
        Err(Errno::EAGAIN) if waits(call, 3) => Err(Stop::Wait),
        result => Ok(result.map(|()| 0)?),
    }
}

/// The waiting part of msgsnd(2).
pub async fn send(call: &mut Call<'_>) -> Result<u64> {
    let sending = Sending::read(call)?;
    let room = sending
        .queue
        .senders
        .wait_until(|| match sending.attempt(call) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        });
    let sent = call.thread.interruptible(room).await;
    sent.map_err(|_| Errno::ERESTARTNOHAND)?.map(|()| 0)
}

/// What msgrcv(2) wants, and of which queue.
struct Receiving {
    queue: Arc<Queue>,
    wanted: Wanted,
    room: usize,
    cut: bool,
}

impl Receiving {
    fn new(call: &Call<'_>) -> Result<Receiving> {
        let (id, room, flags) = (id(call)?, call.arg(2), call.arg(4) as u32);
        if (room as i64) < 0 {
            return Err(Errno::EINVAL);
        }
        let except = flags & receive_flag::EXCEPT != 0;
        let copy = flags & receive_flag::COPY != 0;
        if copy && (except || waits(call, 4)) {
            return Err(Errno::EINVAL);
        }
        Ok(Receiving {
            queue: QUEUES.get(id)?,
            wanted: Wanted::new(call.arg(3) as i64, except, copy),
            room: room as usize,
            cut: flags & receive_flag::NOERROR != 0,
        })
    }

    fn attempt(&self, call: &Call<'_>) -> Result<msg::Message> {
        let (cred, pid) = (call.thread.cred(), call.thread.process().pid);
        self.queue
            .receive(&cred, pid, self.wanted, self.room, self.cut)
    }

    /// Gives the message to the caller. As on Linux it is lost where that fails.
    fn deliver(&self, call: &Call<'_>, message: &msg::Message) -> Result<u64> {
        let len = message.text.bytes.len().min(self.room);
        usermem::write(call.arg(1), &message.kind)?;
        usermem::write_bytes(call.arg(1).wrapping_add(8), &message.text.bytes[..len])?;
        Ok(len as u64)
    }
}

pub fn msgrcv(call: &mut Call<'_>) -> SysResult {
    let receiving = Receiving::new(call)?;
    match receiving.attempt(call) {
        Err(Errno::ENOMSG) if waits(call, 4) => Err(Stop::Wait),
        message => Ok(receiving.deliver(call, &message?)?),
    }
}

/// The waiting part of msgrcv(2).
pub async fn receive(call: &mut Call<'_>) -> Result<u64> {
    let receiving = Receiving::new(call)?;
    let come = receiving
        .queue
        .receivers
        .wait_until(|| match receiving.attempt(call) {
            Err(Errno::ENOMSG) => None,
            result => Some(result),
        });
    let come = call.thread.interruptible(come).await;
    let message = come.map_err(|_| Errno::ERESTARTNOHAND)??;
    receiving.deliver(call, &message)
}

pub fn msgctl(call: &mut Call<'_>) -> SysResult {
    let (command, arg) = (call.int(1), call.arg(2));
    let cred = call.thread.cred();
    let id = id(call)?;
    match command {
        cmd::INFO | INFO_USED => {
            usermem::write(arg, &msg::info(command == INFO_USED)?)?;
            return Ok(QUEUES.usage().1 as u64);
        }
        STAT_AT | STAT_ANY => {
            let queue = QUEUES.at(id)?;
            let perm = queue.perm_now();
            if command == STAT_AT {
                perm.check(&cred, perm::READ)?;
            }
            usermem::write(arg, &queue.words()?)?;
            return Ok(perm.id as u64);
        }
        _ => {}
    }
    let queue = QUEUES.get(id)?;
    match command {
        cmd::RMID => queue.remove(&cred)?,
        cmd::SET => queue.change(&cred, &usermem::read::<[u64; WORDS]>(arg)?)?,
        cmd::STAT => {
            queue.perm_now().check(&cred, perm::READ)?;
            usermem::write(arg, &queue.words()?)?;
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
