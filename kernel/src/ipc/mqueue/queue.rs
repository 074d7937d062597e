//! A queue: messages by priority, those who wait for one or for room, and who is to be told.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::cmp::Reverse;

use executor::sync::{SpinLock, WaitQueue};
use fs::{Errno, Result};

use crate::process::user::Charge;
use crate::process::{Process, Thread};
use crate::signal::send::{self, Target};
use crate::signal::{SigInfo, Signal};

/// What a queue is made like.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    /// Messages that it holds.
    pub max: usize,
    /// Bytes of the longest.
    pub size: usize,
}

/// How a process is told that a message has come to the empty queue.
#[derive(Clone, Copy, Debug)]
pub enum Notice {
    /// Not at all: it only keeps others from it.
    Nothing,
    /// By a signal with a value.
    Signal(Signal, u64),
}

struct Watcher {
    process: Weak<Process>,
    pid: i32,
    notice: Notice,
}

#[derive(Default)]
struct State {
    /// Highest priority first, and first come first within one.
    messages: BTreeMap<(Reverse<u32>, u64), Vec<u8>>,
    arrivals: u64,
    bytes: usize,
    /// Threads that wait for a message: with one of them nobody is told.
    waiting: usize,
    watcher: Option<Watcher>,
}

/// A queue.
pub struct Queue {
    /// What it was made like.
    pub attr: Attr,
    state: SpinLock<State>,
    /// Woken when a message comes.
    pub readers: Arc<WaitQueue>,
    /// Woken when there is room.
    pub writers: Arc<WaitQueue>,
    _charge: Charge,
}

/// What the file of a queue shows.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Signal and process of who is to be told, or zeros.
    pub signal: i32,
    /// As `signal`.
    pub pid: i32,
}

impl Queue {
    /// An empty one.
    pub fn new(attr: Attr, charge: Charge) -> Queue {
        Queue {
            attr,
            state: SpinLock::new(State::default()),
            readers: Arc::new(WaitQueue::new()),
            writers: Arc::new(WaitQueue::new()),
            _charge: charge,
        }
    }

    /// Puts a message of `thread` into the queue. `text` is taken where that succeeds.
    ///
    /// # Errors
    /// `EAGAIN` where the queue is full.
    pub fn put(&self, thread: &Thread, priority: u32, text: &mut Vec<u8>) -> Result<()> {
        let told = {
            let mut state = self.state.lock();
            if state.messages.len() >= self.attr.max {
                return Err(Errno::EAGAIN);
            }
            let text = core::mem::take(text);
            state.bytes += text.len();
            let at = (Reverse(priority), state.arrivals);
            state.arrivals += 1;
            state.messages.insert(at, text);
            match state.messages.len() == 1 && state.waiting == 0 {
                true => state.watcher.take(),
                false => None,
            }
        };
        self.readers.wake_all();
        if let Some(watcher) = told {
            watcher.tell(thread);
        }
        Ok(())
    }

    /// Takes the message whose turn it is, with its priority.
    ///
    /// # Errors
    /// `EAGAIN` where there is none.
    pub fn take(&self) -> Result<(u32, Vec<u8>)> {
        let ((Reverse(priority), _), text) = {
            let mut state = self.state.lock();
            let first = state.messages.pop_first().ok_or(Errno::EAGAIN)?;
            state.bytes -= first.1.len();
            first
        };
        self.writers.wake_all();
        Ok((priority, text))
    }

    /// Counts a thread that waits for a message, until the result is dropped.
    pub fn wait(&self) -> Receiver<'_> {
        self.state.lock().waiting += 1;
        Receiver(self)
    }

    /// Has the process of `thread` told of the next message that comes to the empty queue, as the only one.
    ///
    /// # Errors
    /// `EBUSY` if another is to be told.
    pub fn watch(&self, thread: &Thread, notice: Notice) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(watcher) = &state.watcher
            && watcher.process.strong_count() > 0
        {
            return Err(Errno::EBUSY);
        }
        let process = thread.process();
        let old = state.watcher.replace(Watcher {
            process: Arc::downgrade(process),
            pid: process.pid,
            notice,
        });
        drop(state);
        drop(old);
        Ok(())
    }

    /// Has `process` told no more, if it was to be.
    pub fn unwatch(&self, process: &Arc<Process>) {
        let own = |watcher: &mut Watcher| core::ptr::eq(watcher.process.as_ptr(), &**process);
        let mut state = self.state.lock();
        let old = state.watcher.take_if(own);
        drop(state);
        drop(old);
    }

    /// What there is to show.
    pub fn figures(&self) -> Figures {
        let state = self.state.lock();
        let watcher = state.watcher.as_ref();
        let signal = watcher.map(|watcher| match watcher.notice {
            Notice::Nothing => 0,
            Notice::Signal(signal, _) => signal.number(),
        });
        Figures {
            messages: state.messages.len(),
            bytes: state.bytes,
            signal: signal.unwrap_or(0),
            pid: watcher.map_or(0, |watcher| watcher.pid),
        }
    }
}

impl Watcher {
    fn tell(&self, sender: &Thread) {
        let (Some(process), Notice::Signal(signal, value)) = (self.process.upgrade(), self.notice)
        else {
            return;
        };
        let uid = sender.with_shared(|shared| shared.cred.uid);
        let info = SigInfo::message(signal, sender.process().pid, uid, value);
        // A queue of signals that is full loses this one.
        let _ = send::send(Target::Process(&process), signal, &info);
    }
}

/// A thread that waits for a message.
pub struct Receiver<'a>(&'a Queue);

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}
