//! Message queues.
//!
//! Source: msgop(2), msgctl(2).

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::{SpinLock, WaitQueue};
use fs::{Cap, Credentials, Errno, Result};

pub use super::choice::Wanted;
use super::perm::{self, Perm, with_perm};
use super::table::{Object, Table};
use super::{charge, limits, now};
use crate::process::Thread;
use crate::process::user::Charge;

/// All queues.
pub static QUEUES: Table<Queue> = Table::new();

/// A queue.
pub struct Queue {
    perm: SpinLock<Perm>,
    state: SpinLock<State>,
    /// Woken when a message comes, and when the queue goes.
    pub receivers: WaitQueue,
    /// Woken when there is room, and when the queue goes.
    pub senders: WaitQueue,
}

impl Object for Queue {
    fn perm(&self) -> &SpinLock<Perm> {
        &self.perm
    }
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// Its text.
    pub text: Arc<Text>,
}

/// The text of a message, which its sender pays for.
#[derive(Debug)]
pub struct Text {
    /// Its bytes.
    pub bytes: Vec<u8>,
    _charge: Charge,
}

/// Bytes that a message costs besides its text.
const COST: usize = 64;

/// What `struct msqid64_ds` tells, besides permissions.
#[derive(Clone, Copy, Default, Debug)]
#[expect(missing_docs, reason = "the names are those of struct msqid_ds")]
pub struct Figures {
    pub stime: i64,
    pub rtime: i64,
    pub ctime: i64,
    pub cbytes: u64,
    pub qbytes: u64,
    pub lspid: i32,
    pub lrpid: i32,
}

struct State {
    messages: VecDeque<Message>,
    figures: Figures,
    removed: bool,
}

/// Words of `struct msqid64_ds`.
pub const WORDS: usize = 15;

/// msgget(2).
///
/// # Errors
/// Those of the man page.
pub fn get(cred: &Credentials, key: i32, flags: u32) -> Result<i32> {
    QUEUES.find_or_make(
        key,
        flags,
        limits::MSGMNI.count(),
        cred,
        |_| Ok(()),
        |perm| {
            let figures = Figures {
                ctime: now(),
                qbytes: limits::MSGMNB.count() as u64,
                ..Figures::default()
            };
            Ok(Queue {
                perm: SpinLock::new(perm),
                state: SpinLock::new(State {
                    messages: VecDeque::new(),
                    figures,
                    removed: false,
                }),
                receivers: WaitQueue::new(),
                senders: WaitQueue::new(),
            })
        },
    )
}

/// `struct msginfo`, as limits, or as what there is.
///
/// # Errors
/// None.
pub fn info(used: bool) -> Result<[i32; 8]> {
    let limit = |tunable: &fs::Tunable| tunable.get() as i32;
    let (most, of_queue, queues) = (
        limit(&limits::MSGMAX),
        limit(&limits::MSGMNB),
        limit(&limits::MSGMNI),
    );
    let (mut pool, mut map, mut headers) = (512_000, 16384, 16384);
    if used {
        (pool, map, headers) = (0, 0, 0);
        QUEUES.each(|queue| {
            let state = queue.state.lock();
            pool += 1;
            map += state.messages.len() as i32;
            headers += state.figures.cbytes as i32;
            Ok(())
        })?;
    }
    /// Bytes of a segment, and how many there are, which no kernel counts any more.
    const SEGMENT: (i32, i32) = (16, 0xffff);
    Ok([
        pool, map, most, of_queue, queues, SEGMENT.0, headers, SEGMENT.1,
    ])
}

impl Queue {
    /// Owner and rights.
    pub fn perm_now(&self) -> Perm {
        *self.perm.lock()
    }

    /// Puts a message into the queue, for process `pid`.
    ///
    /// # Errors
    /// `EAGAIN` where it does not fit now; `EACCES`, `EIDRM`, `ENOMEM`.
    pub fn send(&self, cred: &Credentials, pid: i32, kind: i64, text: &Arc<Text>) -> Result<()> {
        self.perm_now().check(cred, perm::WRITE)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        let (figures, len) = (&mut state.figures, text.bytes.len() as u64);
        let count = state.messages.len() as u64;
        if figures.cbytes + len > figures.qbytes || count + 1 > figures.qbytes {
            return Err(Errno::EAGAIN);
        }
        state.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        state.messages.push_back(Message {
            kind,
            text: text.clone(),
        });
        figures.cbytes += len;
        figures.lspid = pid;
        figures.stime = now();
        drop(guard);
        self.receivers.wake_all();
        Ok(())
    }

    /// Takes a message, for process `pid`. One that is longer than `room` is cut with `cut`. With [`Wanted::At`] it stays
    /// there.
    ///
    /// # Errors
    /// `ENOMSG` where there is none; `E2BIG` where it is too long, and stays; `EACCES`, `EIDRM`.
    pub fn receive(
        &self,
        cred: &Credentials,
        pid: i32,
        wanted: Wanted,
        room: usize,
        cut: bool,
    ) -> Result<Message> {
        self.perm_now().check(cred, perm::READ)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        let kinds = state.messages.iter().map(|message| message.kind);
        let at = wanted.find(kinds).ok_or(Errno::ENOMSG)?;
        if state.messages[at].text.bytes.len() > room && !cut {
            return Err(Errno::E2BIG);
        }
        if let Wanted::At(_) = wanted {
            let Message { kind, text } = &state.messages[at];
            let (kind, text) = (*kind, text.clone());
            return Ok(Message { kind, text });
        }
        let message = state.messages.remove(at).ok_or(Errno::ENOMSG)?;
        state.figures.cbytes -= message.text.bytes.len() as u64;
        state.figures.lrpid = pid;
        state.figures.rtime = now();
        drop(guard);
        self.senders.wake_all();
        Ok(message)
    }

    /// Its figures, and the number of its messages.
    ///
    /// # Errors
    /// `EIDRM`.
    pub fn figures(&self) -> Result<(Figures, usize)> {
        let state = self.state.lock();
        if state.removed {
            return Err(Errno::EIDRM);
        }
        Ok((state.figures, state.messages.len()))
    }

    /// As `struct msqid64_ds`.
    ///
    /// # Errors
    /// `EIDRM`.
    pub fn words(&self) -> Result<[u64; WORDS]> {
        let (figures, count) = self.figures()?;
        let pids = u64::from(figures.lspid as u32) | u64::from(figures.lrpid as u32) << 32;
        let rest = [
            figures.stime as u64,
            figures.rtime as u64,
            figures.ctime as u64,
            figures.cbytes,
            count as u64,
            figures.qbytes,
            pids,
        ];
        Ok(with_perm(&self.perm_now(), &rest))
    }

    /// Takes over owner, rights and size (`IPC_SET`).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`, `EIDRM`.
    pub fn change(&self, cred: &Credentials, words: &[u64; WORDS]) -> Result<()> {
        const QBYTES: usize = perm::WORDS + 5;
        {
            let mut state = self.state.lock();
            if state.removed {
                return Err(Errno::EIDRM);
            }
            let mut perm = self.perm.lock();
            perm.check_owner(cred)?;
            let usual = limits::MSGMNB.count() as u64;
            if words[QBYTES] > usual && !cred.capable(Cap::SysResource) {
                return Err(Errno::EPERM);
            }
            perm.set(words)?;
            state.figures.qbytes = words[QBYTES];
            state.figures.ctime = now();
        }
        // Rights and room may be other ones for those that wait.
        self.wake();
        Ok(())
    }

    /// Removes it with its messages. Who waits is told.
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`.
    pub fn remove(self: &Arc<Queue>, cred: &Credentials) -> Result<()> {
        self.perm_now().check_owner(cred)?;
        if !QUEUES.remove(self) {
            return Err(Errno::EIDRM);
        }
        let messages = {
            let mut state = self.state.lock();
            state.removed = true;
            core::mem::take(&mut state.messages)
        };
        drop(messages);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        self.receivers.wake_all();
        self.senders.wake_all();
    }
}

/// Room for a text of `len` bytes, which `thread` is going to send.
///
/// # Errors
/// `EINVAL` where it is longer than messages may be; `ENOMEM`.
pub fn text(thread: &Thread, len: u64) -> Result<Text> {
    if len > limits::MSGMAX.count() as u64 {
        return Err(Errno::EINVAL);
    }
    let len = len as usize;
    let _charge = charge(thread, len + COST)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(Text { bytes, _charge })
}
