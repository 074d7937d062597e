//! Pipes and FIFOs.
//!
//! A [`Pipe`] is a ring of pages between writers and readers. A write of up to [`PIPE_BUF`] bytes goes in whole or not at
//! all; small writes share a page; in packet mode (`O_DIRECT`) each write stays a piece of its own. Waiters are woken only when
//! something changed for them: readers when an empty pipe gets data, writers when a full one gets room.

mod ring;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;

use crate::anon::{self, AnonKind};
use crate::file::{File, FileOps, Positioning, oflag};
use crate::inode::Inode;
use crate::iobuf::{Sink, Source, UserMemory};
use crate::page::{PAGE_SIZE, Page};
use crate::poll::{PollEvents, PollTable};
use crate::sync::{SpinLock, WaitQueue};
use crate::{Errno, Result, Tunable};

pub(crate) use ring::{Ring, Slot as RingSlot};

/// Writes of up to so many bytes are atomic.
pub const PIPE_BUF: usize = 4096;
/// Pages of a new pipe.
pub const DEFAULT_PAGES: usize = 16;
/// How large an unprivileged user may make a pipe (`/proc/sys/fs/pipe-max-size`).
pub static MAX_SIZE: Tunable = Tunable::new(1 << 20, PAGE_SIZE as i64, 1 << 31);

struct State {
    ring: Ring,
    readers: u32,
    writers: u32,
    /// Opens so far, which tell a FIFO's opener that its peer came, even if it went again.
    reader_opens: u32,
    writer_opens: u32,
    /// Somebody polls, perhaps for edges: every change wakes.
    polled: bool,
    /// An emptied page, kept for the next write.
    spare: Option<Page>,
}

/// A pipe.
pub struct Pipe {
    state: SpinLock<State>,
    read_wait: Arc<WaitQueue>,
    write_wait: Arc<WaitQueue>,
}

impl Pipe {
    /// Makes a pipe with no ends.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Pipe>> {
        Ok(Arc::new(Pipe {
            state: SpinLock::new(State {
                ring: Ring::new(DEFAULT_PAGES)?,
                readers: 0,
                writers: 0,
                reader_opens: 0,
                writer_opens: 0,
                polled: false,
                spare: None,
            }),
            read_wait: Arc::new(WaitQueue::new()),
            write_wait: Arc::new(WaitQueue::new()),
        }))
    }

    /// Returns how many bytes are in it (`FIONREAD`).
    pub fn available(&self) -> usize {
        self.state.lock().ring.bytes()
    }

    /// Returns its capacity in bytes (`F_GETPIPE_SZ`).
    pub fn size(&self) -> usize {
        self.state.lock().ring.slots() * PAGE_SIZE
    }

    /// Sets its capacity (`F_SETPIPE_SZ`) and returns what it became: a power of two of pages.
    ///
    /// # Errors
    /// `EINVAL` for zero or more than 2 GiB, `EPERM` past [`static@MAX_SIZE`] unless `privileged`, `EBUSY` if it holds more, `ENOMEM`.
    pub fn set_size(&self, bytes: usize, privileged: bool) -> Result<usize> {
        if bytes == 0 || bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let pages = bytes.div_ceil(PAGE_SIZE).next_power_of_two();
        let mut state = self.state.lock();
        if pages > state.ring.slots() && pages * PAGE_SIZE > MAX_SIZE.count() && !privileged {
            return Err(Errno::EPERM);
        }
        if pages < state.ring.used() {
            return Err(Errno::EBUSY);
        }
        let grew = pages > state.ring.slots();
        state.ring.resize(pages)?;
        drop(state);
        if grew {
            self.write_wait.wake_all();
        }
        Ok(pages * PAGE_SIZE)
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// `EAGAIN` while it is empty and somebody may write; `EFAULT`.
    pub fn read(&self, buf: &mut dyn Sink) -> Result<usize> {
        if buf.remaining() == 0 {
            return Ok(0);
        }
        let mut emptied = [const { None }; 4];
        let mut drops = 0;
        let mut state = self.state.lock();
        let was_full = state.ring.is_full();
        let mut done = 0;
        let mut freed = false;
        while let Some(front) = state.ring.front_mut() {
            let len = front.len().min(buf.remaining());
            let moved = front.put_to(len, buf);
            done += moved;
            let packet = front.is_packet();
            if front.is_empty() || packet && moved == len {
                // What a reader of a packet left of it is gone.
                freed = true;
                let page = state.ring.pop_front();
                if state.spare.is_none() {
                    state.spare = page;
                } else if drops < emptied.len() {
                    emptied[drops] = page;
                    drops += 1;
                }
            }
            if moved < len || packet || buf.remaining() == 0 {
                break;
            }
        }
        let result = match done {
            0 if buf.faulted() => Err(Errno::EFAULT),
            0 if freed || state.writers == 0 => Ok(0),
            0 => Err(Errno::EAGAIN),
            _ => Ok(done),
        };
        let wake = freed && (was_full || state.polled);
        drop(state);
        if wake {
            self.write_wait.wake_all();
        }
        result
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// `EPIPE` without readers (the caller sends `SIGPIPE`), `EAGAIN` without room, `EFAULT`, `ENOMEM`.
    pub fn write(&self, buf: &mut dyn Source, packet: bool) -> Result<usize> {
        let mut wake = false;
        let mut done = 0;
        let result = loop {
            // A page is made ready outside the lock where the pipe has none to spare.
            let need = {
                let mut state = self.state.lock();
                let was_empty = state.ring.is_empty();
                let step = state.fill(buf, packet, &mut done);
                wake |= done > 0 && (was_empty || state.polled);
                step
            };
            match need {
                Ok(true) => match Page::alloc() {
                    Some(page) => self.state.lock().spare = Some(page),
                    None => break Err(Errno::ENOMEM),
                },
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if wake {
            self.read_wait.wake_all();
        }
        match result {
            Err(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }

    /// Returns the events that hold for an end.
    fn events(&self, reads: bool, writes: bool) -> PollEvents {
        let mut state = self.state.lock();
        state.polled = true;
        let mut events = PollEvents::empty();
        if reads {
            if !state.ring.is_empty() {
                events |= PollEvents::READ;
            }
            // A FIFO that no writer has opened yet is not hung up.
            if state.writers == 0 && state.writer_opens > 0 {
                events |= PollEvents::HUP;
            }
        }
        if writes {
            if !state.ring.is_full() {
                events |= PollEvents::WRITE;
            }
            if state.readers == 0 {
                events |= PollEvents::ERR;
            }
        }
        events
    }

    fn open_end(&self, reads: bool, writes: bool) {
        let mut state = self.state.lock();
        if reads {
            state.readers += 1;
            state.reader_opens = state.reader_opens.wrapping_add(1);
        }
        if writes {
            state.writers += 1;
            state.writer_opens = state.writer_opens.wrapping_add(1).max(1);
        }
        drop(state);
        if reads {
            self.write_wait.wake_all();
        }
        if writes {
            self.read_wait.wake_all();
        }
    }

    fn close_end(&self, reads: bool, writes: bool) {
        let mut state = self.state.lock();
        state.readers -= u32::from(reads);
        state.writers -= u32::from(writes);
        let alone = state.readers == 0 || state.writers == 0;
        let gone = if state.readers == 0 && state.writers == 0 {
            // Nobody sees what is left; a FIFO starts anew.
            state.spare = None;
            state.polled = false;
            state.ring.take_all()
        } else {
            None
        };
        drop(state);
        drop(gone);
        if alone {
            self.read_wait.wake_all();
            self.write_wait.wake_all();
        }
    }

    /// Runs `f` on the ring, for splices; wakes whom it concerns.
    pub(crate) fn with_ring<R>(&self, f: impl FnOnce(&mut Ring) -> R) -> R {
        let mut state = self.state.lock();
        let before = state.ring.used();
        let result = f(&mut state.ring);
        let after = state.ring.used();
        drop(state);
        if after > before {
            self.read_wait.wake_all();
        }
        if after < before {
            self.write_wait.wake_all();
        }
        result
    }

    /// Runs `f` on the rings of two pipes, locked in the order of their addresses; wakes whom it concerns.
    pub(crate) fn with_rings<R>(
        a: &Arc<Pipe>,
        b: &Arc<Pipe>,
        f: impl FnOnce(&mut Ring, &mut Ring) -> R,
    ) -> R {
        if Arc::as_ptr(a) < Arc::as_ptr(b) {
            a.with_ring(|ring_a| b.with_ring(|ring_b| f(ring_a, ring_b)))
        } else {
            b.with_ring(|ring_b| a.with_ring(|ring_a| f(ring_a, ring_b)))
        }
    }

    /// Tells whether somebody could still read, and write.
    pub(crate) fn ends(&self) -> (bool, bool) {
        let state = self.state.lock();
        (state.readers > 0, state.writers > 0)
    }
}

impl State {
    /// Moves bytes from `buf` to the ring; `true` asks for a spare page.
    fn fill(&mut self, buf: &mut dyn Source, packet: bool, done: &mut usize) -> Result<bool> {
        let first = *done == 0;
        if self.readers == 0 {
            return Err(Errno::EPIPE);
        }
        // The odd bytes of a write go behind those of the last one if they all fit there.
        let odd = buf.remaining() % PAGE_SIZE;
        if first
            && odd > 0
            && !packet
            && let Some(back) = self.ring.back_mut()
            && back.room() >= odd
        {
            let moved = back.take_from(odd, buf);
            *done += moved;
            if moved < odd {
                return fault_or(buf, false);
            }
        }
        while buf.remaining() > 0 {
            if self.ring.is_full() {
                return Err(Errno::EAGAIN);
            }
            let Some(page) = self.spare.take() else {
                return Ok(true);
            };
            let len = buf.remaining().min(PAGE_SIZE);
            let moved = page.take_from(0..len, buf);
            if moved == 0 {
                self.spare = Some(page);
                return fault_or(buf, false);
            }
            self.ring.push_back(ring::Slot::new(page, moved, packet));
            *done += moved;
            if moved < len {
                return fault_or(buf, false);
            }
        }
        Ok(false)
    }
}

fn fault_or(buf: &dyn Source, ok: bool) -> Result<bool> {
    if buf.faulted() {
        Err(Errno::EFAULT)
    } else {
        Ok(ok)
    }
}

/// The operations of an open end of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// The counts of opens when a FIFO's end was opened that has to wait for its other end.
    seen: Option<(u32, u32)>,
}

impl PipeEnd {
    /// Returns the pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    fn new(pipe: &Arc<Pipe>, flags: u32, wait_for_peer: bool) -> PipeEnd {
        let access = flags & oflag::O_ACCMODE;
        let (reads, writes) = (access != oflag::O_WRONLY, access != oflag::O_RDONLY);
        let seen = wait_for_peer
            .then(|| {
                let state = pipe.state.lock();
                // One that is there now may be gone before anybody looks again: it waits for this very opening.
                let alone = !(reads && state.writers > 0 || writes && state.readers > 0);
                alone.then_some((state.reader_opens, state.writer_opens))
            })
            .flatten();
        pipe.open_end(reads, writes);
        PipeEnd {
            pipe: pipe.clone(),
            reads,
            writes,
            seen,
        }
    }
}

impl FileOps for PipeEnd {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        self.pipe.read(buf)
    }

    fn write(&self, file: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        if buf.remaining() == 0 {
            return Ok(0);
        }
        self.pipe.write(buf, file.flags() & oflag::O_DIRECT != 0)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            match (self.reads, self.writes) {
                (true, true) => table.register_rw(&self.pipe.read_wait, &self.pipe.write_wait),
                (true, false) => table.register(&self.pipe.read_wait),
                _ => table.register(&self.pipe.write_wait),
            }
        }
        self.pipe.events(self.reads, self.writes)
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        const FIONREAD: u32 = 0x541b;
        match cmd {
            FIONREAD => {
                let bytes = self.pipe.available().min(i32::MAX as usize) as u32;
                mem.write(arg, &bytes.to_ne_bytes())?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn open_complete(&self, _: &File, table: Option<&mut PollTable<'_>>) -> bool {
        let Some((readers, writers)) = self.seen else {
            return true;
        };
        if let Some(table) = table {
            let queue = if self.reads {
                &self.pipe.read_wait
            } else {
                &self.pipe.write_wait
            };
            table.register(queue);
        }
        let state = self.pipe.state.lock();
        if self.reads {
            state.writers > 0 || state.writer_opens != writers
        } else {
            state.readers > 0 || state.reader_opens != readers
        }
    }

    fn release(&self, _: &File) {
        self.pipe.close_end(self.reads, self.writes);
    }
}

/// Makes a pipe and returns its reading and its writing end; `flags` are those of `pipe2`.
///
/// # Errors
/// `EINVAL` for other flags than `O_NONBLOCK`, `O_CLOEXEC`, `O_DIRECT`; `ENOMEM`.
pub fn pipe(flags: u32, uid: u32, gid: u32) -> Result<(Arc<File>, Arc<File>)> {
    use oflag::*;
    if flags & !(O_NONBLOCK | O_CLOEXEC | O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let pipe = Pipe::new()?;
    let path = anon::unique(AnonKind::Pipe, uid, gid)?;
    let flags = flags & (O_NONBLOCK | O_DIRECT);
    let open = |access| {
        let ops = Arc::new(PipeEnd::new(&pipe, access, false));
        File::new(ops, path.clone(), flags | access, Positioning::Stream)
    };
    Ok((open(O_RDONLY)?, open(O_WRONLY)?))
}

/// Opens an end of the FIFO `inode`.
///
/// # Errors
/// `ENXIO` for writing without waiting while nobody reads; `EINVAL`, `ENOMEM`.
pub(crate) fn open_fifo(inode: &Arc<Inode>, flags: u32) -> Result<Arc<dyn FileOps>> {
    use oflag::*;
    let new = Pipe::new()?;
    let attached = inode.attachment_or(|| new as Arc<dyn Any + Send + Sync>);
    let pipe: Arc<Pipe> = attached.downcast().map_err(|_| Errno::ENXIO)?;
    let nonblocking = flags & O_NONBLOCK != 0;
    let access = flags & O_ACCMODE;
    if access == O_WRONLY && nonblocking && !pipe.ends().0 {
        return Err(Errno::ENXIO);
    }
    // Opened for both, it is its own peer.
    let waits = !nonblocking && access != O_RDWR;
    Ok(Arc::new(PipeEnd::new(&pipe, access, waits)))
}

/// Returns the pipe behind an open file, if it is one.
pub fn pipe_of(file: &File) -> Option<&Arc<Pipe>> {
    file.ops_as::<PipeEnd>().map(PipeEnd::pipe)
}

/// The slots of a ring.
pub(crate) type Slots = Box<[Option<ring::Slot>]>;

#[cfg(test)]
mod tests;
