//! Restartable sequences.

use super::cases;
use crate::sys::*;
use std::arch::asm;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

cases![
    an_area_knows_its_cpu,
    registration_is_checked,
    a_signal_ends_a_section,
    preemption_ends_a_section,
    moving_ends_a_section,
    counters_of_each_cpu_lose_nothing,
    a_section_left_behind_is_forgotten,
    bad_sections_kill,
    children_keep_the_area_and_threads_do_not,
];

/// What stands before an abort handler here, other than in glibc.
const SIGNATURE: u32 = 0x5305_3053;
const SYS_RSEQ: i64 = 334;
const UNREGISTER: usize = 1;

/// `struct rseq`. The kernel writes to it whenever the thread is not in its user code.
#[repr(C, align(32))]
struct Area {
    cpu_start: UnsafeCell<u32>,
    cpu: UnsafeCell<u32>,
    section: UnsafeCell<u64>,
    flags: UnsafeCell<u32>,
    pad: [u32; 3],
}

impl Area {
    const SIZE: usize = 32;

    fn new() -> Box<Area> {
        Box::new(Area {
            cpu_start: UnsafeCell::new(0),
            cpu: UnsafeCell::new(u32::MAX),
            section: UnsafeCell::new(0),
            flags: UnsafeCell::new(0),
            pad: [0; 3],
        })
    }

    /// A registered one, for the calling thread to its end.
    fn registered() -> &'static Area {
        let area: &'static Area = Box::leak(Area::new());
        assert_eq!(area.register(), Ok(0));
        area
    }

    fn ask(&self, at: usize, len: usize, flags: usize, signature: u32) -> Result<usize, i32> {
        let at = std::ptr::from_ref(self) as usize + at;
        call(SYS_RSEQ, &[at, len, flags, signature as usize])
    }

    fn register(&self) -> Result<usize, i32> {
        self.ask(0, Area::SIZE, 0, SIGNATURE)
    }

    fn cpu(&self) -> u32 {
        // SAFETY: the area is there as long as `self`, and read in one access.
        unsafe { self.cpu.get().read_volatile() }
    }

    fn section(&self) -> u64 {
        // SAFETY: as in `cpu`.
        unsafe { self.section.get().read_volatile() }
    }

    fn set_section(&self, at: u64) {
        // SAFETY: as in `cpu`; the kernel reads it between two instructions of this thread only.
        unsafe { self.section.get().write_volatile(at) }
    }

    fn set_flags(&self, flags: u32) {
        // SAFETY: as in `set_section`.
        unsafe { self.flags.get().write_volatile(flags) }
    }
}

/// Spins in a section, from which only its abort handler leads out. `begun` is set within.
fn spin(area: &Area, begun: &AtomicBool) {
    // SAFETY: the section writes nothing but `begun` and the area's word, and the abort handler goes on behind it.
    unsafe {
        asm!(
            ".pushsection .data.rel.ro.rseq, \"aw\"",
            ".balign 32",
            "22: .long 0, 0",
            ".quad 33f, 44f - 33f, 55f",
            ".popsection",
            "lea {tmp}, [rip + 22b]",
            "mov [{area} + 8], {tmp}",
            "33:",
            "mov byte ptr [{begun}], 1",
            "pause",
            "jmp 33b",
            "44:",
            "ud2",
            ".long 0x53053053",
            "55:",
            area = in(reg) std::ptr::from_ref(area),
            begun = in(reg) begun.as_ptr(),
            tmp = out(reg) _,
        );
    }
}

/// Adds one to the counter of the CPU that this runs on, without atomics; false if it has to be tried again.
fn count(area: &Area, counters: &[AtomicU64]) -> bool {
    let mut done: u64 = 0;
    // SAFETY: `counters` has a word for each CPU there may be; the section ends with its one write.
    unsafe {
        asm!(
            ".pushsection .data.rel.ro.rseq, \"aw\"",
            ".balign 32",
            "22: .long 0, 0",
            ".quad 33f, 44f - 33f, 55f",
            ".popsection",
            "lea {tmp}, [rip + 22b]",
            "mov [{area} + 8], {tmp}",
            "33:",
            "mov {cpu:e}, [{area} + 4]",
            "mov {tmp}, [{counters} + {cpu} * 8]",
            "add {tmp}, 1",
            "pause",
            "mov [{counters} + {cpu} * 8], {tmp}",
            "44:",
            "mov {done}, 1",
            "jmp 66f",
            ".long 0x53053053",
            "55:",
            "66:",
            area = in(reg) std::ptr::from_ref(area),
            counters = in(reg) counters.as_ptr(),
            cpu = out(reg) _,
            tmp = out(reg) _,
            done = inout(reg) done,
        );
    }
    done == 1
}

fn an_area_knows_its_cpu() {
    let area = Area::new();
    assert_eq!(area.register(), Ok(0));
    for cpu in sched_getaffinity(0).expect("a mask") {
        ok(sched_setaffinity(0, &[cpu]));
        assert_eq!(area.cpu() as usize, cpu);
        assert_eq!(current_cpu(), cpu);
    }
    assert_eq!(area.ask(0, Area::SIZE, UNREGISTER, SIGNATURE), Ok(0));
    assert_eq!(area.cpu(), u32::MAX);
    sleep_ms(1);
    assert_eq!(area.cpu(), u32::MAX);
    assert_eq!(area.register(), Ok(0));
    assert_eq!(area.cpu() as usize, current_cpu());
    assert_eq!(area.ask(0, Area::SIZE, UNREGISTER, SIGNATURE), Ok(0));
}

fn registration_is_checked() {
    let areas = [Area::new(), Area::new()];
    let [area, other] = [&areas[0], &areas[1]];
    assert_eq!(
        area.ask(0, Area::SIZE, UNREGISTER, SIGNATURE),
        Err(libc::EINVAL)
    );
    assert_eq!(area.ask(4, Area::SIZE, 0, SIGNATURE), Err(libc::EINVAL));
    assert_eq!(area.ask(0, 16, 0, SIGNATURE), Err(libc::EINVAL));
    assert_eq!(area.ask(0, Area::SIZE, 2, SIGNATURE), Err(libc::EINVAL));
    let kernel = [1 << 63, Area::SIZE, 0, SIGNATURE as usize];
    assert_eq!(call(SYS_RSEQ, &kernel), Err(libc::EFAULT));

    assert_eq!(area.register(), Ok(0));
    assert_eq!(area.register(), Err(libc::EBUSY));
    assert_eq!(area.ask(0, Area::SIZE, 0, 1), Err(libc::EPERM));
    assert_eq!(other.register(), Err(libc::EINVAL));
    assert_eq!(
        other.ask(0, Area::SIZE, UNREGISTER, SIGNATURE),
        Err(libc::EINVAL)
    );
    assert_eq!(area.ask(0, 16, UNREGISTER, SIGNATURE), Err(libc::EINVAL));
    assert_eq!(
        area.ask(0, Area::SIZE, UNREGISTER | 2, SIGNATURE),
        Err(libc::EINVAL)
    );
    assert_eq!(area.ask(0, Area::SIZE, UNREGISTER, 1), Err(libc::EPERM));
    assert_eq!(area.ask(0, Area::SIZE, UNREGISTER, SIGNATURE), Ok(0));
    assert_eq!(
        area.ask(0, Area::SIZE, UNREGISTER, SIGNATURE),
        Err(libc::EINVAL)
    );
}

fn a_signal_ends_a_section() {
    catch_signal(libc::SIGUSR1);
    let area = Area::registered();
    let begun = Arc::new(AtomicBool::new(false));
    let (seen, me) = (begun.clone(), gettid());
    let sender = std::thread::spawn(move || {
        while !seen.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let args = [
            std::process::id() as usize,
            me as usize,
            libc::SIGUSR1 as usize,
        ];
        call(libc::SYS_tgkill, &args)
    });
    spin(area, &begun);
    assert_eq!(area.section(), 0);
    assert_eq!(sender.join().expect("it does not panic"), Ok(0));
}

fn preemption_ends_a_section() {
    let cpu = current_cpu();
    ok(sched_setaffinity(0, &[cpu]));
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = stop.clone();
    let spinner = std::thread::spawn(move || {
        while !theirs.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    });
    let area = Area::registered();
    for _ in 0..5 {
        spin(area, &AtomicBool::new(false));
        assert_eq!(area.section(), 0);
        assert_eq!(area.cpu() as usize, cpu);
    }
    stop.store(true, Ordering::SeqCst);
    spinner.join().expect("it does not panic");
}

fn moving_ends_a_section() {
    let cpus = sched_getaffinity(0).expect("a mask");
    let &[here, there, ..] = &cpus[..] else {
        return;
    };
    ok(sched_setaffinity(0, &[here]));
    let begun = Arc::new(AtomicBool::new(false));
    let (seen, me) = (begun.clone(), gettid());
    let mover = std::thread::spawn(move || {
        ok(sched_setaffinity(0, &[there]));
        while !seen.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        sched_setaffinity(me, &[there])
    });
    let area = Area::registered();
    // Whatever else runs on the first CPU may end a section as well.
    while area.cpu() as usize == here {
        spin(area, &begun);
    }
    assert_eq!(area.cpu() as usize, there);
    ok(mover.join().expect("it does not panic"));
}

fn counters_of_each_cpu_lose_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let counters: Arc<Vec<AtomicU64>> = Arc::new((0..1024).map(|_| AtomicU64::new(0)).collect());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let counters = counters.clone();
            std::thread::spawn(move || {
                let area = Area::registered();
                for turn in 0..EACH {
                    while !count(area, &counters) {}
                    if turn % 500 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    let sum: u64 = counters.iter().map(|n| n.load(Ordering::SeqCst)).sum();
    assert_eq!(sum, THREADS * EACH);
}

/// A section that the thread is not in: start, length and abort handler as given, behind a signature.
#[repr(C, align(32))]
struct Section {
    version: u32,
    flags: u32,
    start: u64,
    len: u64,
    abort: u64,
}

static SIGNED: [u32; 2] = [SIGNATURE, 0];

fn elsewhere() -> Section {
    Section {
        version: 0,
        flags: 0,
        start: 0x10_0000,
        len: 0x10,
        abort: &raw const SIGNED[1] as u64,
    }
}

fn a_section_left_behind_is_forgotten() {
    let area = Area::registered();
    let section = elsewhere();
    area.set_section(&raw const section as u64);
    catch_signal(libc::SIGUSR1);
    raise(libc::SIGUSR1);
    assert_eq!(area.section(), 0);
}

fn bad_sections_kill() {
    let good = elsewhere();
    let bad = [
        Section {
            version: 1,
            ..elsewhere()
        },
        Section {
            abort: good.abort - 1,
            ..elsewhere()
        },
        Section {
            start: good.abort - 8,
            len: 16,
            ..elsewhere()
        },
        Section {
            start: 1 << 62,
            ..elsewhere()
        },
        Section {
            abort: 1 << 63,
            ..elsewhere()
        },
        Section {
            len: u64::MAX,
            ..elsewhere()
        },
    ];
    let dies = |what: usize, at: u64| {
        let end = end_of(|| {
            let area = Area::registered();
            catch_signal(libc::SIGUSR1);
            area.set_section(at);
            raise(libc::SIGUSR1);
        });
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "section {what}");
    };
    for (what, section) in bad.iter().enumerate() {
        dies(what, std::ptr::from_ref(section) as u64);
    }
    dies(bad.len(), 8);
    dies(bad.len() + 1, 1 << 63);
    // Flags that once said that a section is not to be ended say nothing any more.
    let end = end_of(|| {
        let area = Area::registered();
        area.set_flags(1);
        let begun = Arc::new(AtomicBool::new(false));
        ok(setitimer(libc::ITIMER_REAL, &itimerval(1_000, 1_000), None));
        catch_signal(libc::SIGALRM);
        spin(area, &begun);
    });
    assert_eq!(end, Ended::Signal(libc::SIGSEGV));
}

fn children_keep_the_area_and_threads_do_not() {
    let area = Area::registered();
    in_child(|| {
        assert_eq!(area.register(), Err(libc::EBUSY));
        for cpu in sched_getaffinity(0).expect("a mask") {
            ok(sched_setaffinity(0, &[cpu]));
            assert_eq!(area.cpu() as usize, cpu);
        }
    });
    let end = Arc::new(AtomicI32::new(-1));
    let theirs = end.clone();
    let thread = std::thread::spawn(move || {
        let own = Area::new();
        let registered = own.register().is_ok();
        let taken_back = own.ask(0, Area::SIZE, UNREGISTER, SIGNATURE).is_ok();
        theirs.store(i32::from(registered && taken_back), Ordering::SeqCst);
    });
    thread.join().expect("it does not panic");
    assert_eq!(end.load(Ordering::SeqCst), 1);
    assert_eq!(area.register(), Err(libc::EBUSY));
}
