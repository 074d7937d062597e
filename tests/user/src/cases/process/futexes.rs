//! Futexes.

use crate::cases::cases;
use crate::sys::*;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

cases![futex_errors, futex_wakes_so_many, futex_requeue,];

fn futex(
    word: &AtomicU32,
    op: i32,
    value: u32,
    timeout: Option<&libc::timespec>,
) -> Result<usize, i32> {
    call(
        libc::SYS_futex,
        &[
            word.as_ptr() as usize,
            op as usize,
            value as usize,
            timeout.map_or(0, |time| std::ptr::from_ref(time) as usize),
        ],
    )
}

fn futex_errors() {
    let word = AtomicU32::new(1);
    let short = libc::timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    assert_eq!(futex(&word, libc::FUTEX_WAIT, 2, None), Err(libc::EAGAIN));
    assert_eq!(
        futex(&word, libc::FUTEX_WAIT, 1, Some(&short)),
        Err(libc::ETIMEDOUT)
    );
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000_000,
    };
    assert_eq!(
        futex(&word, libc::FUTEX_WAIT, 1, Some(&bad)),
        Err(libc::EINVAL)
    );
    assert_eq!(futex(&word, libc::FUTEX_WAKE, 1, None), Ok(0));
    assert_eq!(futex(&word, 99, 1, None), Err(libc::ENOSYS));
    let at = word.as_ptr() as usize + 1;
    assert_eq!(
        call(libc::SYS_futex, &[at, libc::FUTEX_WAKE as usize, 1]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_futex, &[0, libc::FUTEX_WAIT as usize, 1, 0]),
        Err(libc::EFAULT)
    );
}

fn futex_wakes_so_many() {
    let word = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let word = Arc::clone(&word);
            std::thread::spawn(move || {
                futex(&word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, None)
            })
        })
        .collect();
    let mut woken = 0;
    while woken < 2 {
        woken += futex(&word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1, None)
            .expect("waking works");
    }
    loop {
        woken += futex(
            &word,
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            i32::MAX as u32,
            None,
        )
        .expect("waking works");
        if woken >= 3 {
            break;
        }
    }
    assert_eq!(woken, 3);
    for thread in threads {
        assert_eq!(thread.join().expect("it does not panic"), Ok(0));
    }
}

fn futex_requeue() {
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let word = Arc::clone(&first);
    let thread = std::thread::spawn(move || futex(&word, libc::FUTEX_WAIT, 0, None));
    loop {
        let args = [
            first.as_ptr() as usize,
            libc::FUTEX_CMP_REQUEUE as usize,
            0,
            1,
            second.as_ptr() as usize,
            0,
        ];
        if call(libc::SYS_futex, &args).expect("requeueing works") == 1 {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(futex(&first, libc::FUTEX_WAKE, 1, None), Ok(0));
    assert_eq!(futex(&second, libc::FUTEX_WAKE, 1, None), Ok(1));
    assert_eq!(thread.join().expect("it does not panic"), Ok(0));
    let args = [
        first.as_ptr() as usize,
        libc::FUTEX_CMP_REQUEUE as usize,
        0,
        1,
        second.as_ptr() as usize,
        7,
    ];
    assert_eq!(call(libc::SYS_futex, &args), Err(libc::EAGAIN));
}
