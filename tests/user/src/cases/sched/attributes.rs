//! Policies by `sched_setattr`, whose structure grows.

use super::{RESET_ON_FORK, policy, priority};
use crate::cases::cases;
use crate::sys::*;

cases![attributes_by_size, attributes_keep,];

/// `struct sched_attr` and something behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
    unknown: u64,
}

const SIZE_FIRST: u32 = 48;
const SIZE: u32 = 56;

fn set_attr(attr: &mut Attr) -> Result<usize> {
    call(
        libc::SYS_sched_setattr,
        &[0, std::ptr::from_mut(attr) as usize, 0],
    )
}

fn get_attr(size: u32) -> Attr {
    let mut attr = Attr::default();
    let at = &raw mut attr as usize;
    ok(call(libc::SYS_sched_getattr, &[0, at, size as usize, 0]));
    attr
}

fn attributes_by_size() {
    let other = Attr {
        size: SIZE_FIRST,
        nice: 3,
        ..Attr::default()
    };
    ok(set_attr(&mut other.clone()));
    assert_eq!(get_attr(SIZE_FIRST), other);
    assert_eq!(get_attr(SIZE_FIRST + 1).size, SIZE_FIRST + 1);
    assert_eq!(get_attr(4096).nice, 3);
    for (size, error) in [
        (1, libc::E2BIG),
        (SIZE_FIRST - 1, libc::E2BIG),
        (4097, libc::E2BIG),
        (u32::MAX, libc::E2BIG),
    ] {
        let mut attr = Attr { size, ..other };
        fails(set_attr(&mut attr), error);
        assert_eq!(attr.size, SIZE, "the size that is known");
    }
    let mut zero = Attr { size: 0, ..other };
    ok(set_attr(&mut zero));
    let mut longer = Attr { size: 64, ..other };
    ok(set_attr(&mut longer));
    longer.unknown = 1;
    fails(set_attr(&mut longer), libc::E2BIG);
    // More nice than there is, either way, is as much as there is.
    for (given, kept) in [(100, 19), (-100, -20)] {
        ok(set_attr(&mut Attr {
            nice: given,
            ..other
        }));
        assert_eq!(get_attr(SIZE_FIRST).nice, kept);
    }
    let at = &raw const other as usize;
    for args in [[0, 0, 0], [usize::MAX, at, 0], [0, at, 1]] {
        fails(call(libc::SYS_sched_setattr, &args), libc::EINVAL);
    }
    fails(call(libc::SYS_sched_setattr, &[0, 8, 0]), libc::EFAULT);
    fails(
        call(libc::SYS_sched_setattr, &[0x3fff_ffff, at, 0]),
        libc::ESRCH,
    );
    for args in [
        [0, 0, 48, 0],
        [usize::MAX, at, 48, 0],
        [0, at, 47, 0],
        [0, at, 4097, 0],
        [0, at, 48, 1],
    ] {
        fails(call(libc::SYS_sched_getattr, &args), libc::EINVAL);
    }
    fails(call(libc::SYS_sched_getattr, &[0, 8, 48, 0]), libc::EFAULT);
    for attr in [
        Attr {
            policy: u32::MAX,
            ..other
        },
        Attr { policy: 4, ..other },
        Attr { policy: 1, ..other },
        Attr {
            policy: 1,
            priority: 100,
            ..other
        },
        Attr {
            priority: 1,
            ..other
        },
        Attr {
            flags: 0x80,
            ..other
        },
        Attr {
            flags: 0x20,
            ..other
        },
    ] {
        fails(set_attr(&mut attr.clone()), libc::EINVAL);
    }
}

fn attributes_keep() {
    const KEEP_POLICY: u64 = 8;
    const KEEP_PARAMS: u64 = 16;
    let fifo = Attr {
        size: SIZE_FIRST,
        policy: 1,
        priority: 20,
        flags: 1,
        ..Attr::default()
    };
    ok(set_attr(&mut fifo.clone()));
    assert_eq!(get_attr(SIZE_FIRST), fifo);
    assert_eq!(policy(0), libc::SCHED_FIFO | RESET_ON_FORK);
    let higher = Attr {
        policy: 5,
        priority: 21,
        flags: KEEP_POLICY,
        ..fifo
    };
    ok(set_attr(&mut higher.clone()));
    assert_eq!(
        get_attr(SIZE_FIRST),
        Attr {
            priority: 21,
            ..fifo
        }
    );
    let robin = Attr {
        policy: 2,
        priority: 9,
        flags: KEEP_PARAMS,
        ..fifo
    };
    ok(set_attr(&mut robin.clone()));
    // As the policy is one of the parameters, only the flag of children changes.
    assert_eq!((policy(0), priority(0)), (libc::SCHED_FIFO, 21));
    fails(set_attr(&mut Attr { policy: 0, ..robin }), libc::EINVAL);
}
