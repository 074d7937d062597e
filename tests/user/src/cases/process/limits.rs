//! Limits of processor time and memory; setrlimit(2).

use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};

cases![processor_time_limit, data_limit, resident_limit_is_kept];

fn processor_time_limit() {
    static WARNED: AtomicU32 = AtomicU32::new(0);
    fn warn(_: i32, _: &libc::siginfo_t, _: &mut libc::ucontext_t) {
        WARNED.fetch_add(1, Ordering::Relaxed);
    }
    let told = shared::<AtomicU32>();
    let end = end_of(|| {
        handle_with(libc::SIGXCPU, warn, 0, &[]);
        ok(setrlimit(libc::RLIMIT_CPU, 1, 2));
        loop {
            told.store(WARNED.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    });
    assert_eq!(end, Ended::Signal(libc::SIGKILL));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    let end = end_of(|| {
        limit(libc::RLIMIT_CORE, 0);
        limit(libc::RLIMIT_CPU, 1);
        loop {
            std::hint::spin_loop();
        }
    });
    // Soft and hard limit are one: the hard one counts.
    assert_eq!(end, Ended::Signal(libc::SIGKILL));
}

fn data_limit() {
    const MIB: usize = 1 << 20;
    in_child(|| {
        limit(libc::RLIMIT_DATA, 64 * MIB as u64);
        let map = |prot, flags| mmap(0, 128 * MIB, prot, flags | libc::MAP_ANONYMOUS, -1, 0);
        let write = libc::PROT_READ | libc::PROT_WRITE;
        fails(map(write, libc::MAP_PRIVATE), libc::ENOMEM);
        // Only what is private and can be written is data.
        ok(map(write, libc::MAP_SHARED));
        let readable = ok(map(libc::PROT_READ, libc::MAP_PRIVATE));
        fails(mprotect(readable, 128 * MIB, write), libc::ENOMEM);
        ok(mprotect(readable, MIB, write));
        let end = ok(call(libc::SYS_brk, &[0]));
        assert_eq!(call(libc::SYS_brk, &[end + 128 * MIB]), Ok(end));
        assert_eq!(call(libc::SYS_brk, &[end + MIB]), Ok(end + MIB));
    });
}

fn resident_limit_is_kept() {
    limit(libc::RLIMIT_RSS, 4096);
    assert_eq!(getrlimit(libc::RLIMIT_RSS), Ok((4096, 4096)));
    let at = map(1 << 20) as usize;
    (0..256).for_each(|page| poke(at + page * 4096, 1));
}
