//! Waiting for several files: `poll(2)`, `select(2)` and their relatives with signal masks.
//!
//! The plain part looks once, and that is all where something is ready or the time is zero. The waiting part registers with each file
//! once and looks again after every wake-up.

use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use executor::time::{Instant, sleep_until};
use fs::poll::{PollFd, PollTable, SelectSets, Waiters, poll_fds, select_fds};
use fs::{Errno, PollEvents, Result};

use super::signal::{restore_mask, set_mask_for_wait};
use super::time::{read_timespec, write_timespec};
use super::{Call, Plain, Stop, SysResult};
use crate::process::Thread;
use crate::process::rlimit::Resource;
use crate::process::thread::Restart;
use crate::signal::SigSet;
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(7, poll), (23, select), (270, pselect6), (271, ppoll)];

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_US: u64 = 1000;
const NS_PER_S: u64 = 1_000_000_000;

/// Looks by `scan` until it finds something, the time is up, or a signal comes.
///
/// `scan` is given a table the first time, to register with.
///
/// # Errors
/// `ERESTARTSYS` for a signal, and those of `scan`.
pub async fn until_ready(
    thread: &Thread,
    deadline: Option<Instant>,
    mut scan: impl FnMut(Option<&mut PollTable<'_>>) -> Result<usize>,
) -> Result<usize> {
    let mut waiters = pin!(Waiters::new());
    let mut sleep = pin!(sleep_until(deadline.unwrap_or(Instant::MAX)));
    let mut registered = false;
    let look = poll_fn(|cx| {
        let found = if registered {
            scan(None)
        } else {
            registered = true;
            scan(Some(&mut PollTable::new(
                waiters.as_mut(),
                cx.waker(),
                PollEvents::ALWAYS,
            )))
        };
        match found {
            Ok(0) if deadline.is_none() || sleep.as_mut().poll(cx).is_pending() => Poll::Pending,
            found => Poll::Ready(found),
        }
    });
    thread.interruptible(look).await?
}

/// When a wait of `ns` that starts now ends.
fn after(ns: u64) -> Instant {
    Instant::now().add_ns(ns)
}

/// Whether the time of the call, if it has one, is up.
fn expired(call: &Call<'_>) -> bool {
    call.deadline.is_some_and(|end| end <= Instant::now())
}

/// Reads the array of a poll.
fn read_fds(call: &Call<'_>, addr: u64, len: u64) -> Result<Vec<PollFd>> {
    let len = len as u32 as usize;
    if len as u64 > call.thread.process().limit(Resource::Files) {
        return Err(Errno::EINVAL);
    }
    usermem::read_vec(addr, len)
}

fn write_fds(addr: u64, fds: &[PollFd]) -> Result<()> {
    usermem::write_slice(addr, fds)
}

/// Looks once at the array of a poll; `Stop::Wait` if nothing is ready and there is time.
fn look_once(call: &mut Call<'_>) -> SysResult {
    let addr = call.arg(0);
    let mut fds = read_fds(call, addr, call.arg(1))?;
    let ready = poll_fds(&call.thread.files(), &mut fds, None)?;
    if ready == 0 && (!expired(call) || call.thread.signal_pending()) {
        return Err(Stop::Wait);
    }
    write_fds(addr, &fds)?;
    Ok(ready as u64)
}

async fn poll_until(
    call: &Call<'_>,
    addr: u64,
    len: u64,
    deadline: Option<Instant>,
) -> Result<u64> {
    let mut fds = read_fds(call, addr, len)?;
    let files = call.thread.files();
    let ready = until_ready(call.thread, deadline, |table| {
        poll_fds(&files, &mut fds, table)
    })
    .await?;
    write_fds(addr, &fds)?;
    Ok(ready as u64)
}

fn poll(call: &mut Call<'_>) -> SysResult {
    let ms = call.int(2);
    call.deadline = (ms >= 0).then(|| after(ms as u64 * NS_PER_MS));
    look_once(call)
}

/// The waiting part of poll.
pub async fn poll_wait(call: &mut Call<'_>) -> Result<u64> {
    let (fds, len) = (call.arg(0), call.arg(1));
    restartable(call, fds, len, call.deadline).await
}

/// Goes on with a poll that a signal without a handler interrupted, or starts one.
pub async fn restartable(
    call: &mut Call<'_>,
    fds: u64,
    len: u64,
    deadline: Option<Instant>,
) -> Result<u64> {
    let result = poll_until(call, fds, len, deadline).await;
    if result == Err(Errno::ERESTARTSYS) {
        let until = deadline.map(Instant::as_ns);
        *call.thread.restart.lock() = Some(Restart::Poll { fds, len, until });
        return Err(Errno::ERESTART_RESTARTBLOCK);
    }
    result
}

/// Takes the signal mask at `mask`, if there is one, for the time of the call.
fn take_mask(call: &Call<'_>, mask: u64, size: u64) -> Result<()> {
    if mask == 0 {
        return Ok(());
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = usermem::read::<SigSet>(mask)?;
    set_mask_for_wait(call.thread, mask);
    Ok(())
}

/// How a call tells the time that is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimeLeft {
    Timeval,
    Timespec,
}

/// Ends a call that has a time and perhaps a mask: writes the time that is left to `at`, and puts the mask back unless a signal
/// is to be handled first.
fn end(call: &Call<'_>, result: Result<u64>, at: u64, kind: TimeLeft, masked: bool) -> Result<u64> {
    let result = match result {
        Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOHAND),
        other => other,
    };
    if masked && result != Err(Errno::ERESTARTNOHAND) {
        restore_mask(call.thread);
    }
    let Some(deadline) = call.deadline.filter(|_| at != 0) else {
        return result;
    };
    let left = deadline.ns_since(Instant::now());
    let written = match kind {
        TimeLeft::Timespec => write_timespec(at, left),
        TimeLeft::Timeval => usermem::write(at, &[left / NS_PER_S, left % NS_PER_S / NS_PER_US]),
    };
    match (written, result) {
        // Repeated, it would start with the whole time again.
        (Err(_), Err(Errno::ERESTARTNOHAND)) => Err(Errno::EINTR),
        (_, result) => result,
    }
}

/// Ends the plain part of such a call.
fn end_plain(
    call: &Call<'_>,
    result: SysResult,
    at: u64,
    kind: TimeLeft,
    masked: bool,
) -> SysResult {
    match result {
        Err(Stop::Wait) => Err(Stop::Wait),
        Err(Stop::Error(e)) => Ok(end(call, Err(e), at, kind, masked)?),
        Ok(value) => Ok(end(call, Ok(value), at, kind, masked)?),
        other => other,
    }
}

fn ppoll(call: &mut Call<'_>) -> SysResult {
    if call.arg(2) != 0 {
        call.deadline = Some(after(read_timespec(call.arg(2))?));
    }
    take_mask(call, call.arg(3), call.arg(4))?;
    let result = look_once(call);
    end_plain(
        call,
        result,
        call.arg(2),
        TimeLeft::Timespec,
        call.arg(3) != 0,
    )
}

/// The waiting part of ppoll.
pub async fn ppoll_wait(call: &mut Call<'_>) -> Result<u64> {
    let result = poll_until(call, call.arg(0), call.arg(1), call.deadline).await;
    end(
        call,
        result,
        call.arg(2),
        TimeLeft::Timespec,
        call.arg(3) != 0,
    )
}

/// The sets of a select: those asked about, and those that are ready.
struct Sets {
    words: usize,
    /// Six sets one after the other.
    bits: Vec<u64>,
}

impl Sets {
    fn read(call: &Call<'_>) -> Result<Sets> {
        let count = usize::try_from(call.int(0)).map_err(|_| Errno::EINVAL)?;
        let words = count.min(call.thread.files().capacity()).div_ceil(64);
        let mut bits = Vec::new();
        bits.try_reserve_exact(words * 6)
            .map_err(|_| Errno::ENOMEM)?;
        bits.resize(words * 6, 0);
        for set in 0..3 {
            let addr = call.arg(1 + set);
            if addr != 0 {
                let to = &mut bits[set * words..(set + 1) * words];
                usermem::read_slice(addr, to)?;
                // Bits past the count are nobody's.
                if let (Some(last), left @ 1..) = (to.last_mut(), count % 64)
                    && words == count.div_ceil(64)
                {
                    *last &= (1 << left) - 1;
                }
            }
        }
        Ok(Sets { words, bits })
    }

    fn scan(
        &mut self,
        thread: &Thread,
        strict: bool,
        table: Option<&mut PollTable<'_>>,
    ) -> Result<usize> {
        let words = self.words;
        if words == 0 {
            return Ok(0);
        }
        let (wanted, ready) = self.bits.split_at_mut(words * 3);
        let mut wanted = wanted.chunks(words);
        let mut ready = ready.chunks_mut(words);
        let mut sets = SelectSets {
            wanted: [(); 3].map(|()| wanted.next().unwrap_or(&[])),
            ready: [(); 3].map(|()| ready.next().unwrap_or(&mut [])),
        };
        select_fds(&thread.files(), &mut sets, strict, table)
    }

    fn write(&self, call: &Call<'_>) -> Result<()> {
        for set in 0..3 {
            let addr = call.arg(1 + set);
            if addr != 0 {
                let from = (3 + set) * self.words;
                usermem::write_slice(addr, &self.bits[from..from + self.words])?;
            }
        }
        Ok(())
    }
}

fn select_once(call: &mut Call<'_>) -> SysResult {
    let mut sets = Sets::read(call)?;
    let ready = sets.scan(call.thread, true, None)?;
    if ready == 0 && (!expired(call) || call.thread.signal_pending()) {
        return Err(Stop::Wait);
    }
    sets.write(call)?;
    Ok(ready as u64)
}

async fn select_until(call: &Call<'_>) -> Result<u64> {
    let mut sets = Sets::read(call)?;
    let ready = until_ready(call.thread, call.deadline, |table| {
        sets.scan(call.thread, false, table)
    })
    .await?;
    sets.write(call)?;
    Ok(ready as u64)
}

fn select(call: &mut Call<'_>) -> SysResult {
    if call.arg(4) != 0 {
        let [sec, usec] = usermem::read::<[i64; 2]>(call.arg(4))?;
        let million = 1_000_000;
        let (sec, usec) = (sec.saturating_add(usec / million), usec % million);
        if sec < 0 || usec < 0 {
            return Err(Errno::EINVAL.into());
        }
        let ns = (sec as u64).saturating_mul(NS_PER_S);
        call.deadline = Some(after(ns.saturating_add(usec as u64 * NS_PER_US)));
    }
    let result = select_once(call);
    end_plain(call, result, call.arg(4), TimeLeft::Timeval, false)
}

/// The waiting part of select.
pub async fn select_wait(call: &mut Call<'_>) -> Result<u64> {
    let result = select_until(call).await;
    end(call, result, call.arg(4), TimeLeft::Timeval, false)
}

/// The address and size of pselect6's mask, which come through memory.
fn pselect_mask(call: &Call<'_>) -> Result<[u64; 2]> {
    match call.arg(5) {
        0 => Ok([0, 0]),
        at => usermem::read(at),
    }
}

fn pselect6(call: &mut Call<'_>) -> SysResult {
    let [mask, size] = pselect_mask(call)?;
    if call.arg(4) != 0 {
        call.deadline = Some(after(read_timespec(call.arg(4))?));
    }
    take_mask(call, mask, size)?;
    let result = select_once(call);
    end_plain(call, result, call.arg(4), TimeLeft::Timespec, mask != 0)
}

/// The waiting part of pselect6.
pub async fn pselect_wait(call: &mut Call<'_>) -> Result<u64> {
    let result = select_until(call).await;
    let masked = pselect_mask(call).is_ok_and(|[mask, _]| mask != 0);
    end(call, result, call.arg(4), TimeLeft::Timespec, masked)
}
