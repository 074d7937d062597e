//! Growth and its limits: stacks, address spaces, all there is.

use super::{ANON, RW, dies};
use crate::cases::cases;
use crate::sys::*;
use libc::PROT_READ;

cases![
    stack_grows,
    stack_overflow_kills,
    stack_limit_counts,
    address_space_limit,
    exhaustion_leaves_the_system_well,
    mlock_limits,
    fork_of_much_memory,
];

fn depth(n: u32) -> u64 {
    let block = std::hint::black_box([u64::from(n); 128]);
    if n == 0 { 0 } else { depth(n - 1) + block[5] }
}

fn stack_grows() {
    // A little more than 2 MiB.
    assert_eq!(depth(2000), 2000 * 2001 / 2);
}

fn stack_overflow_kills() {
    assert!(dies(|| ignore(std::hint::black_box(depth(u32::MAX)))));
}

fn stack_limit_counts() {
    assert!(dies(|| {
        ok(setrlimit(
            libc::RLIMIT_STACK,
            512 * 1024,
            libc::RLIM_INFINITY,
        ));
        std::hint::black_box(depth(2000));
    }));
}

fn address_space_limit() {
    in_child(|| {
        limit(libc::RLIMIT_AS, 32 << 20);
        assert_eq!(mmap(0, 64 << 20, RW, ANON, -1, 0), Err(libc::ENOMEM));
        mmap(0, 1 << 20, RW, ANON, -1, 0).expect("a little is left");
        let mut count = 0;
        let error = loop {
            match mmap(0, 1 << 20, RW, ANON, -1, 0) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(count < 32 && error == libc::ENOMEM);
    });
    in_child(|| {
        limit(libc::RLIMIT_DATA, 1 << 20);
        assert_eq!(mmap(0, 16 << 20, RW, ANON, -1, 0), Err(libc::ENOMEM));
        mmap(0, 16 << 20, PROT_READ, ANON, -1, 0).expect("what cannot be written is no data");
    });
}

fn exhaustion_leaves_the_system_well() {
    // One process takes all the memory there is. It fails or is killed; everybody else goes on.
    let end = end_of(|| {
        std::fs::write("/proc/self/oom_score_adj", "1000").ok();
        loop {
            let Ok(at) = mmap(0, 4 << 20, RW, ANON, -1, 0) else {
                exit(12)
            };
            for page in (0..4 << 20).step_by(4096) {
                poke(at + page, 1);
            }
        }
    });
    let expected = [
        Ended::Signal(libc::SIGKILL),
        Ended::Signal(libc::SIGBUS),
        Ended::Exit(12),
    ];
    assert!(expected.contains(&end), "{end:?}");
    std::fs::write("f", vec![1; 1 << 20]).expect("there is memory again");
    in_child(|| ignore(map(1 << 20)));
}

fn mlock_limits() {
    let at = map(1 << 20) as usize;
    ok(mlock(at, 1 << 20));
    ok(munlock(at, 1 << 20));
    in_child(|| {
        limit(libc::RLIMIT_MEMLOCK, 65536);
        // Who has CAP_IPC_LOCK is not bound by it.
        ok(mlock(at, 1 << 20));
        ok(munlock(at, 1 << 20));
        become_user();
        ok(mlock(at, 4096));
        fails(mlock(at, 1 << 20), libc::ENOMEM);
    });
}

fn fork_of_much_memory() {
    let at = map(16 << 20) as usize;
    for page in 0..4096 {
        poke(at + page * 4096, page as u8);
    }
    for _ in 0..3 {
        in_child(|| {
            for page in 0..4096 {
                assert_eq!(peek(at + page * 4096), page as u8);
                poke(at + page * 4096, 0xee);
            }
        });
    }
    for page in 0..4096 {
        assert_eq!(peek(at + page * 4096), page as u8);
    }
}
