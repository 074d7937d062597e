//! `epoll(7)`.

use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use executor::sync::Waiter;
use executor::time::{Instant, sleep_until};
use fs::epoll::{EVENT_SIZE, Epoll, EpollEvent};
use fs::file::{Positioning, oflag};
use fs::{Errno, File, Result, anon};

use super::signal::{restore_mask, set_mask_for_wait};
use super::time::read_timespec;
use super::{Call, Plain, Stop, SysResult, fd};
use crate::signal::SigSet;
use crate::usermem::{self, IoVec, UserRange, UserSink};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (213, epoll_create),
    (232, epoll_wait),
    (233, epoll_ctl),
    (281, epoll_pwait),
    (291, epoll_create1),
    (441, epoll_pwait2),
];

fn create(call: &Call<'_>, cloexec: bool) -> SysResult {
    call.admit_file()?;
    let epoll = Arc::new(Epoll::new(call.thread.cred().uid));
    let file = anon::file("[eventpoll]", epoll, oflag::O_RDWR, Positioning::Stream)?;
    fd::install(call, file, cloexec)
}

fn epoll_create(call: &mut Call<'_>) -> SysResult {
    if call.int(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    create(call, false)
}

fn epoll_create1(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(0) as u32;
    if flags & !oflag::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    create(call, flags != 0)
}

fn epoll_ctl(call: &mut Call<'_>) -> SysResult {
    const ADD: i32 = 1;
    const DEL: i32 = 2;
    const MOD: i32 = 3;
    let (op, fd) = (call.int(1), call.int(2));
    let event = if op == DEL {
        EpollEvent::default()
    } else {
        EpollEvent::from_bytes(usermem::read(call.arg(3))?)
    };
    let own = call.thread.file(call.int(0))?;
    let target = call.thread.file(fd)?;
    if own.is_path() || target.is_path() {
        return Err(Errno::EBADF.into());
    }
    if !target.ops().pollable(&target) {
        return Err(Errno::EPERM.into());
    }
    let epoll = of(&own)?;
    match op {
        ADD => {
            crate::mm::admit()?;
            epoll.add(&own, &target, fd, event)?;
        }
        DEL => epoll.delete(&own, &target, fd)?,
        MOD => epoll.modify(&own, &target, fd, event)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn of(file: &File) -> Result<&Epoll> {
    file.ops_as::<Epoll>().ok_or(Errno::EINVAL)
}

/// Collects what is ready into the caller's array.
fn collect(call: &Call<'_>, epoll: &Epoll) -> Result<usize> {
    let max = call.int(2) as usize;
    let parts = [IoVec {
        base: call.arg(1),
        len: (max * EVENT_SIZE) as u64,
    }];
    loop {
        let mut range = UserRange::new(&parts)?;
        match epoll.collect(max, &mut UserSink(&mut range)) {
            // Not even one: its page is faulted in, and it is still there.
            Err(Errno::EFAULT) if range.faulted() => range.resolve(true)?,
            other => return other,
        }
    }
}

/// Looks once; `Stop::Wait` if there is nothing yet, and time.
fn look_once(call: &mut Call<'_>) -> SysResult {
    const MAX_EVENTS: i32 = i32::MAX / EVENT_SIZE as i32;
    if !(1..=MAX_EVENTS).contains(&call.int(2)) {
        return Err(Errno::EINVAL.into());
    }
    let file = call.thread.file(call.int(0))?;
    let epoll = of(&file)?;
    if epoll.maybe_ready() {
        let count = collect(call, epoll)?;
        if count > 0 {
            return Ok(count as u64);
        }
    }
    if call.deadline.is_some_and(|end| end <= Instant::now()) {
        return Ok(0);
    }
    Err(Stop::Wait)
}

fn set_timeout(call: &mut Call<'_>) {
    let ms = call.int(3);
    call.deadline = match ms {
        0 => Some(Instant::ZERO),
        1.. => Some(Instant::now().add_ns(ms as u64 * 1_000_000)),
        _ => None,
    };
}

fn epoll_wait(call: &mut Call<'_>) -> SysResult {
    set_timeout(call);
    look_once(call)
}

fn masked(call: &mut Call<'_>) -> SysResult {
    let mask = call.arg(4);
    if mask != 0 {
        if call.arg(5) != 8 {
            return Err(Errno::EINVAL.into());
        }
        let mask = usermem::read::<SigSet>(mask)?;
        set_mask_for_wait(call.thread, mask);
    }
    let result = look_once(call);
    if mask != 0 && !matches!(result, Err(Stop::Wait)) {
        restore_mask(call.thread);
    }
    result
}

fn epoll_pwait(call: &mut Call<'_>) -> SysResult {
    set_timeout(call);
    masked(call)
}

fn epoll_pwait2(call: &mut Call<'_>) -> SysResult {
    if call.arg(3) != 0 {
        let ns = read_timespec(call.arg(3))?;
        call.deadline = Some(Instant::now().add_ns(ns));
    }
    masked(call)
}

/// The waiting part of epoll_wait.
pub async fn wait(call: &mut Call<'_>) -> Result<u64> {
    let file = call.thread.file(call.int(0))?;
    let epoll = of(&file)?;
    let deadline = call.deadline;
    let mut waiter = pin!(Waiter::new());
    let mut sleep = pin!(sleep_until(deadline.unwrap_or(Instant::MAX)));
    let look = poll_fn(|cx| {
        if !waiter.is_enqueued() {
            waiter.as_mut().enqueue(epoll.waiters(), cx.waker(), true);
        }
        let found = if epoll.maybe_ready() {
            collect(call, epoll)
        } else {
            Ok(0)
        };
        match found {
            Ok(0) if deadline.is_none() || sleep.as_mut().poll(cx).is_pending() => Poll::Pending,
            found => Poll::Ready(found),
        }
    });
    match call.thread.interruptible(look).await {
        Ok(found) => Ok(found? as u64),
        Err(_) => {
            // A wake-up that this thread was chosen for is another's.
            waiter.as_mut().dequeue();
            epoll.pass_on();
            Err(Errno::EINTR)
        }
    }
}

/// The waiting part of epoll_pwait and epoll_pwait2.
pub async fn pwait(call: &mut Call<'_>) -> Result<u64> {
    let result = wait(call).await;
    if call.arg(4) != 0 && result != Err(Errno::EINTR) {
        restore_mask(call.thread);
    }
    result
}
