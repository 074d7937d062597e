//! Waiting for several futexes at once.

use super::cases;
use crate::sys::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

cases![
    whichever_is_woken_first_is_told,
    errors_of_waiting_for_several,
    several_waits_end_in_time,
    waits_for_several_are_shared,
    a_signal_ends_a_wait_for_several,
];

const WAITV: i64 = 449;
const SIZE_32: u32 = 2;
const PRIVATE: u32 = 128;

/// `struct futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

fn waiter(word: &AtomicU32, value: u64) -> Waiter {
    Waiter {
        value,
        addr: word.as_ptr() as u64,
        flags: SIZE_32 | PRIVATE,
        reserved: 0,
    }
}

fn waitv(list: &[Waiter], end: Option<([i64; 2], i32)>) -> Result<usize, i32> {
    let (end, clock) = match &end {
        None => (0, 0),
        Some((end, clock)) => (end.as_ptr() as usize, *clock as usize),
    };
    let args = [list.as_ptr() as usize, list.len(), 0, end, clock];
    call(WAITV, &args)
}

fn wake(word: &AtomicU32, private: u32) -> usize {
    let op = 1 | private as usize;
    let args = [word.as_ptr() as usize, op, 1];
    call(libc::SYS_futex, &args).expect("waking works")
}

/// So many milliseconds from now.
fn in_ms(clock: i32, ms: u64) -> [i64; 2] {
    let end = now(clock) + Duration::from_millis(ms);
    [end.as_secs() as i64, i64::from(end.subsec_nanos())]
}

fn whichever_is_woken_first_is_told() {
    let words: Arc<Vec<AtomicU32>> = Arc::new((0..128).map(AtomicU32::new).collect());
    for wanted in [0, 5, 127] {
        let theirs = words.clone();
        let thread = std::thread::spawn(move || {
            let list: Vec<_> = theirs
                .iter()
                .map(|word| waiter(word, u64::from(word.load(Ordering::SeqCst))))
                .collect();
            waitv(&list, None)
        });
        while wake(&words[wanted], PRIVATE) == 0 {
            sleep_ms(1);
        }
        assert_eq!(thread.join().expect("it does not panic"), Ok(wanted));
        // It has left the other queues.
        for word in words.iter() {
            assert_eq!(wake(word, PRIVATE), 0);
        }
    }
}

fn errors_of_waiting_for_several() {
    let word = AtomicU32::new(3);
    let good = waiter(&word, 3);
    let list = [good; 129];
    assert_eq!(waitv(&list, None), Err(libc::EINVAL));
    assert_eq!(waitv(&[], None), Err(libc::EINVAL));
    let at = list.as_ptr() as usize;
    assert_eq!(call(WAITV, &[at, 1, 1, 0, 0]), Err(libc::EINVAL));
    assert_eq!(call(WAITV, &[0, 1, 0, 0, 0]), Err(libc::EINVAL));
    assert_eq!(call(WAITV, &[8, 1, 0, 0, 0]), Err(libc::EFAULT));
    assert_eq!(call(WAITV, &[at, 1, 0, 8, 1]), Err(libc::EFAULT));
    for clock in [2, 4, 7, -1] {
        let end = Some(([0, 0], clock));
        assert_eq!(waitv(&[good], end), Err(libc::EINVAL));
    }
    for end in [[0, 1_000_000_000], [-1, 0], [0, -1]] {
        assert_eq!(waitv(&[good], Some((end, 1))), Err(libc::EINVAL));
    }
    for flags in [0, 1, PRIVATE, SIZE_32 | 1, SIZE_32 | 4, SIZE_32 | 256] {
        assert_eq!(
            waitv(&[good, Waiter { flags, ..good }], None),
            Err(libc::EINVAL)
        );
    }
    let reserved = Waiter {
        reserved: 1,
        ..good
    };
    assert_eq!(waitv(&[good, reserved], None), Err(libc::EINVAL));
    let odd = Waiter {
        addr: good.addr + 1,
        ..good
    };
    let nowhere = Waiter { addr: 8, ..good };
    let other = waiter(&word, 4);
    // A bad address is found before the words are compared, and one that is not there where it is compared.
    assert_eq!(waitv(&[other, odd], None), Err(libc::EINVAL));
    assert_eq!(waitv(&[good, nowhere], None), Err(libc::EFAULT));
    assert_eq!(waitv(&[good, other], None), Err(libc::EAGAIN));
    // Only 32 bits of the value count.
    let end = Some(([1, 0], 1));
    assert_eq!(
        waitv(&[waiter(&word, 1 << 32 | 3)], end),
        Err(libc::ETIMEDOUT)
    );
    // Nobody waits any more.
    assert_eq!(wake(&word, PRIVATE), 0);
}

fn several_waits_end_in_time() {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let list = [waiter(&words[0], 0), waiter(&words[1], 0)];
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
        let began = std::time::Instant::now();
        let end = Some((in_ms(clock, 30), clock));
        assert_eq!(waitv(&list, end), Err(libc::ETIMEDOUT));
        assert!(began.elapsed().as_millis() >= 29);
    }
}

fn waits_for_several_are_shared() {
    let page = map_with(
        4096,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: the mapping is larger than the word and stays.
    let word: &AtomicU32 = unsafe { AtomicU32::from_ptr(page.cast()) };
    let own = AtomicU32::new(0);
    let waits = child(|| {
        let shared = Waiter {
            flags: SIZE_32,
            ..waiter(word, 0)
        };
        waitv(&[waiter(&own, 0), shared], None).map_or(99, |n| n as i32)
    });
    while wake(word, 0) == 0 {
        sleep_ms(1);
    }
    assert_eq!(wait(waits), Ended::Exit(1));
}

fn a_signal_ends_a_wait_for_several() {
    catch_signal(libc::SIGALRM);
    // Again and again, since the first may come before the wait has begun.
    let soon = itimerval(30_000, 30_000);
    let args = [libc::ITIMER_REAL as usize, &raw const soon as usize, 0];
    assert_eq!(call(libc::SYS_setitimer, &args), Ok(0));
    let word = AtomicU32::new(0);
    assert_eq!(waitv(&[waiter(&word, 0)], None), Err(libc::EINTR));
}
