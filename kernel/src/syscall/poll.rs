//! Waiting for several files: `poll(2)` and `select(2)`.
//!
//! The plain part looks once. Only where nothing is ready, and the caller is willing to wait, [`wait`] registers with
//! every file and looks again at each wake-up.

use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use executor::time::{Instant, sleep_until};
use fs::poll::{PollFd, PollTable, SelectSets, Waiters, poll_fds, select_fds};
use fs::{Errno, PollEvents, Result};

use super::signal::set_mask_for_wait;
use super::{Call, Plain, Stop, SysResult};
use crate::process::rlimit::Resource;
use crate::process::thread::WORK_RESTORE_MASK;
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(7, poll), (23, select), (270, pselect6), (271, ppoll)];

const NS_PER_SEC: i64 = 1_000_000_000;

/// A timeout of `sec` and `part` of `parts` seconds, from now on.
fn deadline(sec: i64, part: i64, parts: i64) -> Result<Instant> {
    if sec < 0 || !(0..parts).contains(&part) {
        return Err(Errno::EINVAL);
    }
    let ns = (sec as u64)
        .saturating_mul(NS_PER_SEC as u64)
        .saturating_add((part * (NS_PER_SEC / parts)) as u64);
    Ok(Instant::now().add_ns(ns))
}

/// Whether the caller's time is over already: then it does not wait at all.
fn is_over(call: &Call<'_>) -> bool {
    call.deadline.is_some_and(|end| end <= Instant::now())
}

/// The descriptors that `poll` is asked about.
fn read_fds(call: &Call<'_>) -> Result<Vec<PollFd>> {
    let count = call.arg(1) as u32;
    if u64::from(count) > call.thread.process().limit(Resource::Files) {
        return Err(Errno::EINVAL);
    }
    let raw = usermem::read_vec::<[u8; 8]>(call.arg(0), count as usize)?;
    let mut fds = Vec::new();
    fds.try_reserve_exact(raw.len())
        .map_err(|_| Errno::ENOMEM)?;
    fds.extend(raw.iter().map(|b| PollFd {
        fd: i32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        events: u16::from_le_bytes([b[4], b[5]]),
        revents: 0,
    }));
    Ok(fds)
}

/// Writes the events found back, and nothing else.
fn write_events(call: &Call<'_>, fds: &[PollFd]) -> Result<()> {
    for (i, fd) in fds.iter().enumerate() {
        usermem::write(call.arg(0) + i as u64 * 8 + 6, &fd.revents)?;
    }
    Ok(())
}

fn look(call: &mut Call<'_>) -> SysResult {
    let mut fds = read_fds(call)?;
    let ready = poll_fds(&call.thread.files(), &mut fds, None)?;
    if ready == 0 && !is_over(call) {
        return Err(Stop::Wait);
    }
    write_events(call, &fds)?;
    restore_mask(call);
    Ok(ready as u64)
}

fn poll(call: &mut Call<'_>) -> SysResult {
    if call.int(2) >= 0 {
        call.deadline = Some(Instant::now().add_ns(call.int(2) as u64 * 1_000_000));
    }
    look(call)
}

/// Sets the mask at `ptr` for the time of the call.
fn use_mask(call: &Call<'_>, ptr: u64, size: u64) -> Result<()> {
    if ptr != 0 {
        if size != 8 {
            return Err(Errno::EINVAL);
        }
        set_mask_for_wait(call.thread, usermem::read(ptr)?);
    }
    Ok(())
}

/// Puts the mask back that [`use_mask`] has replaced, where the call ends with a result: a signal that only the mask of
/// the call let through then stays pending.
fn restore_mask(call: &Call<'_>) {
    if call.thread.work() & WORK_RESTORE_MASK != 0 {
        super::signal::restore_mask(call.thread);
    }
}

fn ppoll(call: &mut Call<'_>) -> SysResult {
    if call.arg(2) != 0 {
        let [sec, nsec] = usermem::read::<[i64; 2]>(call.arg(2))?;
        call.deadline = Some(deadline(sec, nsec, NS_PER_SEC)?);
    }
    use_mask(call, call.arg(3), call.arg(4))?;
    look(call)
}

/// The waiting part of `poll` and `ppoll`.
pub async fn wait_poll(call: &mut Call<'_>) -> Result<u64> {
    let mut fds = read_fds(call)?;
    let files = call.thread.files();
    let ready = wait(call, |table| poll_fds(&files, &mut fds, table)).await?;
    write_events(call, &fds)?;
    restore_mask(call);
    write_left(call)?;
    Ok(ready as u64)
}

/// Looks by `scan` until it finds something, the call's deadline passes or a signal comes.
///
/// # Errors
/// Those of `scan`; `ERESTARTNOHAND` for a signal.
async fn wait(
    call: &Call<'_>,
    mut scan: impl FnMut(Option<&mut PollTable<'_>>) -> Result<usize>,
) -> Result<usize> {
    let mut waiters = pin!(Waiters::new());
    let mut sleep = pin!(call.deadline.map(sleep_until));
    let mut registered = false;
    poll_fn(|cx| {
        let found = if registered {
            scan(None)
        } else {
            registered = true;
            let mut table = PollTable::new(waiters.as_mut(), cx.waker(), PollEvents::ALWAYS);
            scan(Some(&mut table))
        };
        match found {
            Ok(0) => {}
            done => return Poll::Ready(done),
        }
        if let Some(sleep) = sleep.as_mut().as_pin_mut()
            && sleep.poll(cx).is_ready()
        {
            return Poll::Ready(Ok(0));
        }
        match call.thread.signal_pending() {
            true => Poll::Ready(Err(Errno::ERESTARTNOHAND)),
            false => Poll::Pending,
        }
    })
    .await
}

/// The sets of `select`, as words: those asked about, then those found.
struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    fn read(call: &Call<'_>) -> Result<Self> {
        let count = call.int(0);
        if count < 0 {
            return Err(Errno::EINVAL);
        }
        // Bits beyond the table cannot be open; Linux does not look at them either.
        let words = (count as usize)
            .min(call.thread.files().capacity())
            .div_ceil(64);
        let mut bits = Vec::new();
        bits.try_reserve_exact(words * 6)
            .map_err(|_| Errno::ENOMEM)?;
        bits.resize(words * 6, 0);
        for (set, ptr) in [call.arg(1), call.arg(2), call.arg(3)]
            .into_iter()
            .enumerate()
        {
            if ptr == 0 {
                continue;
            }
            let into = &mut bits[set * words..(set + 1) * words];
            for (i, word) in into.iter_mut().enumerate() {
                *word = usermem::read(ptr + i as u64 * 8)?;
            }
            let spare = words * 64 - (count as usize).min(words * 64);
            if let Some(last) = into.last_mut().filter(|_| spare > 0) {
                *last &= u64::MAX >> spare;
            }
        }
        Ok(Self { words, bits })
    }

    fn scan(
        &mut self,
        call: &Call<'_>,
        strict: bool,
        table: Option<&mut PollTable<'_>>,
    ) -> Result<usize> {
        let (wanted, ready) = self.bits.split_at_mut(self.words * 3);
        let (a, rest) = wanted.split_at(self.words);
        let (b, c) = rest.split_at(self.words);
        let (x, rest) = ready.split_at_mut(self.words);
        let (y, z) = rest.split_at_mut(self.words);
        let mut sets = SelectSets {
            wanted: [a, b, c],
            ready: [x, y, z],
        };
        select_fds(&call.thread.files(), &mut sets, strict, table)
    }

    fn write(&self, call: &Call<'_>) -> Result<()> {
        for (set, ptr) in [call.arg(1), call.arg(2), call.arg(3)]
            .into_iter()
            .enumerate()
        {
            if ptr != 0 {
                let found = &self.bits[(3 + set) * self.words..(4 + set) * self.words];
                for (i, word) in found.iter().enumerate() {
                    usermem::write(ptr + i as u64 * 8, word)?;
                }
            }
        }
        Ok(())
    }
}

fn look_at_sets(call: &mut Call<'_>) -> SysResult {
    let mut sets = Sets::read(call)?;
    let ready = sets.scan(call, true, None)?;
    if ready == 0 && !is_over(call) {
        return Err(Stop::Wait);
    }
    sets.write(call)?;
    restore_mask(call);
    write_left(call)?;
    Ok(ready as u64)
}

fn select(call: &mut Call<'_>) -> SysResult {
    if call.arg(4) != 0 {
        let [sec, usec] = usermem::read::<[i64; 2]>(call.arg(4))?;
        // Microseconds beyond a second are carried over, as Linux does.
        call.deadline = Some(deadline(
            sec.saturating_add(usec / 1_000_000),
            usec % 1_000_000,
            1_000_000,
        )?);
    }
    look_at_sets(call)
}

fn pselect6(call: &mut Call<'_>) -> SysResult {
    if call.arg(4) != 0 {
        let [sec, nsec] = usermem::read::<[i64; 2]>(call.arg(4))?;
        call.deadline = Some(deadline(sec, nsec, NS_PER_SEC)?);
    }
    if call.arg(5) != 0 {
        let [mask, size] = usermem::read::<[u64; 2]>(call.arg(5))?;
        use_mask(call, mask, size)?;
    }
    look_at_sets(call)
}

/// The waiting part of `select` and `pselect6`.
pub async fn wait_select(call: &mut Call<'_>) -> Result<u64> {
    let mut sets = Sets::read(call)?;
    // A file that is closed meanwhile by another thread ends the wait, as one that is ready.
    let ready = wait(call, |table| sets.scan(call, false, table)).await?;
    sets.write(call)?;
    restore_mask(call);
    write_left(call)?;
    Ok(ready as u64)
}

/// Tells the caller how much of its timeout was left, for the calls that do.
fn write_left(call: &Call<'_>) -> Result<()> {
    let (ptr, parts) = match call.number() {
        23 => (call.arg(4), 1_000_000),
        270 => (call.arg(4), NS_PER_SEC),
        271 => (call.arg(2), NS_PER_SEC),
        _ => return Ok(()),
    };
    if let Some(end) = call.deadline.filter(|_| ptr != 0) {
        let left = end.ns_since(Instant::now()) as i64;
        // A place that cannot be written is no error: the events are out already.
        let _ = usermem::write(
            ptr,
            &[left / NS_PER_SEC, left % NS_PER_SEC / (NS_PER_SEC / parts)],
        );
    }
    Ok(())
}
