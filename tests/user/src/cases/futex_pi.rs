//! Locks with priority inheritance.

use super::cases;
use crate::sys::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

cases![
    a_free_lock_is_taken_and_released,
    errors_of_locking,
    errors_of_releasing,
    errors_of_requeueing,
    a_lock_goes_to_the_most_urgent,
    waits_end_in_time_on_either_clock,
    signals_do_not_end_a_wait,
    circles_are_refused,
    an_inversion_resolves,
    inheritance_goes_along_a_chain,
    a_change_of_priority_goes_along,
    an_owner_that_ends_leaves_a_mark,
    an_owner_that_ends_without_a_list_does_too,
    robust_lists_mark_inheriting_locks,
    processes_share_a_lock,
    a_requeued_waiter_owns_the_lock,
    requeueing_moves_so_many,
    requeued_waits_end_in_time,
];

const WAIT: usize = 0;
const WAKE: usize = 1;
const REQUEUE: usize = 3;
const LOCK: usize = 6;
const UNLOCK: usize = 7;
const TRYLOCK: usize = 8;
const WAIT_REQUEUE: usize = 11;
const CMP_REQUEUE: usize = 12;
const LOCK2: usize = 13;
const REALTIME: usize = 256;

const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;

/// A lock that threads share.
type Word = Arc<AtomicU32>;

fn word(value: u32) -> Word {
    Arc::new(AtomicU32::new(value))
}

fn tid() -> u32 {
    call(libc::SYS_gettid, &[]).expect("it never fails") as u32
}

fn futex(word: &AtomicU32, rest: &[usize]) -> Result<usize, i32> {
    let mut args = vec![word.as_ptr() as usize];
    args.extend_from_slice(rest);
    call(libc::SYS_futex, &args)
}

fn lock(word: &AtomicU32) {
    assert_eq!(futex(word, &[LOCK, 0, 0]), Ok(0));
}

fn unlock(word: &AtomicU32) {
    assert_eq!(futex(word, &[UNLOCK]), Ok(0));
}

/// Waits until the word says that somebody waits.
fn until_contended(word: &AtomicU32) {
    while word.load(Ordering::SeqCst) & WAITERS == 0 {
        sleep_ms(1);
    }
}

/// The field of `/proc/self/task/TID/stat` with this number, as proc(5) counts.
fn stat_field(tid: u32, number: usize) -> String {
    stat_of(&format!("/proc/self/task/{tid}/stat"), number)
}

fn stat_of(path: &str, number: usize) -> String {
    let text = std::fs::read_to_string(path).expect("the thread is there");
    let rest = &text[text.rfind(')').expect("a name") + 2..];
    rest.split_whitespace()
        .nth(number - 3)
        .expect("so many fields")
        .to_string()
}

/// The priority that is in force: -1 - the real-time priority, or 20 and the nice level.
fn priority(tid: u32) -> i32 {
    stat_field(tid, 18).parse().expect("a number")
}

/// Waits until the thread sleeps.
fn until_asleep(tid: u32) {
    while stat_field(tid, 3) != "S" {
        sleep_ms(1);
    }
}

fn until(ready: impl Fn() -> bool) {
    for _ in 0..5000 {
        if ready() {
            return;
        }
        sleep_ms(1);
    }
    panic!("it does not come");
}

/// Makes the calling thread one of `SCHED_FIFO`, or of `SCHED_OTHER` for 0.
fn set_priority(thread: u32, priority: i32) {
    let policy = usize::from(priority != 0);
    let param = [priority];
    let args = [thread as usize, policy, param.as_ptr() as usize];
    assert_eq!(call(libc::SYS_sched_setscheduler, &args), Ok(0));
}

/// Keeps the calling thread on the first processor, which its children inherit.
fn stay_on_one() {
    let mask = [1_u64];
    let args = [0, 8, mask.as_ptr() as usize];
    assert!(call(libc::SYS_sched_setaffinity, &args).is_ok());
}

/// A thread of this priority that says its number, and runs `body`.
fn start(
    priority: i32,
    body: impl FnOnce() + Send + 'static,
) -> (u32, std::thread::JoinHandle<()>) {
    let (say, hear) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        set_priority(0, priority);
        say.send(tid()).expect("somebody listens");
        body();
    });
    (hear.recv().expect("it says so"), thread)
}

/// Starts a thread that takes the lock, and gives it back; it waits for it when this returns.
fn waiter(lock_word: &Word, at: i32) -> (u32, std::thread::JoinHandle<()>) {
    let theirs = lock_word.clone();
    let (number, thread) = start(at, move || {
        lock(&theirs);
        assert_eq!(theirs.load(Ordering::SeqCst) & !WAITERS, tid());
        unlock(&theirs);
    });
    until_contended(lock_word);
    until_asleep(number);
    (number, thread)
}

fn join(thread: std::thread::JoinHandle<()>) {
    thread.join().expect("it does not panic");
}

/// So many milliseconds from now, on this clock.
fn in_ms(clock: i32, ms: u64) -> [i64; 2] {
    let end = now(clock) + Duration::from_millis(ms);
    [end.as_secs() as i64, i64::from(end.subsec_nanos())]
}

fn a_free_lock_is_taken_and_released() {
    let word = word(0);
    lock(&word);
    assert_eq!(word.load(Ordering::SeqCst), tid());
    unlock(&word);
    assert_eq!(word.load(Ordering::SeqCst), 0);
    assert_eq!(futex(&word, &[TRYLOCK]), Ok(0));
    assert_eq!(word.load(Ordering::SeqCst), tid());
    unlock(&word);
    // What an owner that ended has left is taken over, mark and all.
    word.store(OWNER_DIED, Ordering::SeqCst);
    assert_eq!(futex(&word, &[LOCK2, 0, 0]), Ok(0));
    assert_eq!(word.load(Ordering::SeqCst), tid() | OWNER_DIED);
    unlock(&word);
    // A mark with nobody behind it goes.
    word.store(WAITERS, Ordering::SeqCst);
    lock(&word);
    assert_eq!(word.load(Ordering::SeqCst), tid());
    unlock(&word);
}

fn errors_of_locking() {
    let word = word(0);
    let nobody = 0x3fff_fff0;
    for op in [LOCK, LOCK2, TRYLOCK] {
        word.store(tid(), Ordering::SeqCst);
        assert_eq!(futex(&word, &[op, 0, 0]), Err(libc::EDEADLK));
        // The mark is left, as Linux does.
        word.store(nobody, Ordering::SeqCst);
        assert_eq!(futex(&word, &[op, 0, 0]), Err(libc::ESRCH));
        assert_eq!(word.load(Ordering::SeqCst), nobody | WAITERS);
        let odd = word.as_ptr() as usize + 1;
        let args = [odd, op, 0, 0];
        assert_eq!(call(libc::SYS_futex, &args), Err(libc::EINVAL));
        for nowhere in [8, !7_usize, 0xffff_8000_0000_0000] {
            let args = [nowhere & !3, op, 0, 0];
            assert_eq!(call(libc::SYS_futex, &args), Err(libc::EFAULT));
        }
        let page = map_with(
            4096,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let args = [page as usize, op, 0, 0];
        assert_eq!(call(libc::SYS_futex, &args), Err(libc::EFAULT));
    }
    let bad = [0_i64, 1_000_000_000];
    word.store(0, Ordering::SeqCst);
    for op in [LOCK, LOCK2] {
        let args = [op, 0, bad.as_ptr() as usize];
        assert_eq!(futex(&word, &args), Err(libc::EINVAL));
        assert_eq!(futex(&word, &[op, 0, 8]), Err(libc::EFAULT));
    }
    for op in [WAIT, WAKE, LOCK, UNLOCK, TRYLOCK, CMP_REQUEUE] {
        assert_eq!(futex(&word, &[op | REALTIME, 1, 0]), Err(libc::ENOSYS));
    }
    // Somebody waits there who does not know that it is a lock.
    let held = self::word(1);
    let theirs = held.clone();
    let (number, thread) = start(0, move || {
        assert_eq!(futex(&theirs, &[WAIT, 1, 0]), Ok(0));
    });
    until_asleep(number);
    assert_eq!(futex(&held, &[LOCK, 0, 0]), Err(libc::EINVAL));
    assert_eq!(futex(&held, &[WAKE, 1]), Ok(1));
    join(thread);
}

fn errors_of_releasing() {
    let free = word(0);
    assert_eq!(futex(&free, &[UNLOCK]), Err(libc::EPERM));
    free.store(1, Ordering::SeqCst);
    assert_eq!(futex(&free, &[UNLOCK]), Err(libc::EPERM));
    assert_eq!(call(libc::SYS_futex, &[8, UNLOCK]), Err(libc::EFAULT));
    // With waiters: neither is it woken as a plain futex is, nor released by another.
    lock(&free_again(&free));
    let (_, thread) = waiter(&free, 0);
    assert_eq!(futex(&free, &[WAKE, 1]), Err(libc::EINVAL));
    let elsewhere = word(0);
    let to = elsewhere.as_ptr() as usize;
    assert_eq!(futex(&free, &[REQUEUE, 0, 1, to]), Err(libc::EINVAL));
    let theirs = free.clone();
    join(std::thread::spawn(move || {
        assert_eq!(futex(&theirs, &[UNLOCK]), Err(libc::EPERM));
        assert_eq!(futex(&theirs, &[TRYLOCK]), Err(libc::EAGAIN));
        // Who writes his own number into it does not own it for that.
        let real = theirs.swap(tid(), Ordering::SeqCst);
        assert_eq!(futex(&theirs, &[UNLOCK]), Err(libc::EINVAL));
        theirs.store(real, Ordering::SeqCst);
    }));
    let real = free.swap(1 | WAITERS, Ordering::SeqCst);
    assert_eq!(futex(&free, &[LOCK, 0, 0]), Err(libc::EINVAL));
    assert_eq!(futex(&free, &[TRYLOCK]), Err(libc::EINVAL));
    free.store(real, Ordering::SeqCst);
    unlock(&free);
    join(thread);
    assert_eq!(free.load(Ordering::SeqCst), 0);
}

fn free_again(word: &Word) -> Word {
    word.store(0, Ordering::SeqCst);
    word.clone()
}

fn errors_of_requeueing() {
    let (from, to) = (word(0), word(0));
    let (a, b) = (from.as_ptr() as usize, to.as_ptr() as usize);
    let requeue = |wake: usize, moved: usize, to: usize, value: usize| {
        futex(&from, &[CMP_REQUEUE, wake, moved, to, value])
    };
    assert_eq!(requeue(1, 0, a, 0), Err(libc::EINVAL));
    assert_eq!(requeue(0, 1, b, 0), Err(libc::EINVAL));
    assert_eq!(requeue(2, 1, b, 0), Err(libc::EINVAL));
    assert_eq!(requeue(1, usize::MAX, b, 0), Err(libc::EINVAL));
    assert_eq!(requeue(1, 1, b, 7), Err(libc::EAGAIN));
    assert_eq!(requeue(1, 1, b + 1, 0), Err(libc::EINVAL));
    assert_eq!(requeue(1, 1, b, 0), Ok(0));
    let wait = |value: usize, to: usize| futex(&from, &[WAIT_REQUEUE, value, 0, to]);
    assert_eq!(wait(0, a), Err(libc::EINVAL));
    assert_eq!(wait(1, b), Err(libc::EAGAIN));
    assert_eq!(wait(0, b + 2), Err(libc::EINVAL));
    // A plain waiter is not moved to a lock, and one for a lock nowhere else, nor woken.
    let theirs = from.clone();
    let (number, thread) = start(0, move || {
        assert_eq!(futex(&theirs, &[WAIT, 0, 0]), Ok(0));
    });
    until_asleep(number);
    assert_eq!(requeue(1, 1, b, 0), Err(libc::EINVAL));
    assert_eq!(futex(&from, &[WAKE, 1]), Ok(1));
    join(thread);
    let (theirs, lock_word) = (from.clone(), to.clone());
    let (number, thread) = start(0, move || {
        let to = lock_word.as_ptr() as usize;
        assert_eq!(futex(&theirs, &[WAIT_REQUEUE, 0, 0, to]), Ok(0));
        unlock(&lock_word);
    });
    until_asleep(number);
    let other = word(0);
    let c = other.as_ptr() as usize;
    assert_eq!(requeue(1, 1, c, 0), Err(libc::EINVAL));
    assert_eq!(futex(&from, &[WAKE, 1]), Err(libc::EINVAL));
    assert_eq!(futex(&from, &[REQUEUE, 0, 1, b]), Err(libc::EINVAL));
    assert_eq!(requeue(1, 0, b, 0), Ok(1));
    join(thread);
}

fn a_lock_goes_to_the_most_urgent() {
    let held = word(0);
    lock(&held);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    for at in [0, 10, 30, 20, 0, 30] {
        let (theirs, order) = (held.clone(), order.clone());
        let number = threads.len();
        let (id, thread) = start(at, move || {
            lock(&theirs);
            order.lock().expect("nobody panics").push(number);
            unlock(&theirs);
        });
        until_asleep(id);
        threads.push(thread);
    }
    unlock(&held);
    threads.into_iter().for_each(join);
    let order = order.lock().expect("nobody panics");
    assert_eq!(*order, [2, 5, 3, 1, 0, 4]);
    assert_eq!(held.load(Ordering::SeqCst), 0);
}

fn waits_end_in_time_on_either_clock() {
    let held = word(0);
    lock(&held);
    let theirs = held.clone();
    join(std::thread::spawn(move || {
        let clocks = [
            (LOCK, libc::CLOCK_REALTIME),
            (LOCK2, libc::CLOCK_MONOTONIC),
            (LOCK2 | REALTIME, libc::CLOCK_REALTIME),
        ];
        for (op, clock) in clocks {
            let began = std::time::Instant::now();
            let end = in_ms(clock, 30);
            let args = [op, 0, end.as_ptr() as usize];
            assert_eq!(futex(&theirs, &args), Err(libc::ETIMEDOUT));
            assert!(began.elapsed().as_millis() >= 29, "{op}");
            // In the past it is over at once.
            let end = [1_i64, 0];
            let args = [op, 0, end.as_ptr() as usize];
            assert_eq!(futex(&theirs, &args), Err(libc::ETIMEDOUT));
        }
    }));
    // Nobody waits any more, whatever the mark says.
    assert_eq!(held.load(Ordering::SeqCst), tid() | WAITERS);
    unlock(&held);
    assert_eq!(held.load(Ordering::SeqCst), 0);
}

static SIGNALLED: AtomicU32 = AtomicU32::new(0);

/// The wait goes on after a handler, though that was installed without `SA_RESTART`.
fn signals_do_not_end_a_wait() {
    handle_with(
        libc::SIGUSR1,
        |_, _, _| ignore(SIGNALLED.fetch_add(1, Ordering::SeqCst)),
        0,
        &[],
    );
    let held = word(0);
    lock(&held);
    let (number, thread) = waiter(&held, 0);
    for n in 1..=3 {
        let args = [
            std::process::id() as usize,
            number as usize,
            libc::SIGUSR1 as usize,
        ];
        assert_eq!(call(libc::SYS_tgkill, &args), Ok(0));
        until(|| SIGNALLED.load(Ordering::SeqCst) == n);
        until_asleep(number);
    }
    unlock(&held);
    join(thread);
}

fn circles_are_refused() {
    let (one, two, three) = (word(0), word(0), word(0));
    lock(&one);
    let (a, b, c) = (one.clone(), two.clone(), three.clone());
    let (second, thread) = start(0, move || {
        lock(&b);
        lock(&a);
        unlock(&a);
        unlock(&b);
    });
    until_contended(&one);
    until_asleep(second);
    let b = two.clone();
    let (third, other) = start(0, move || {
        lock(&c);
        lock(&b);
        unlock(&b);
        unlock(&c);
    });
    until_contended(&two);
    until_asleep(third);
    assert_eq!(futex(&two, &[LOCK, 0, 0]), Err(libc::EDEADLK));
    assert_eq!(futex(&three, &[LOCK, 0, 0]), Err(libc::EDEADLK));
    unlock(&one);
    join(thread);
    join(other);
}

/// The classic: the lowest holds what the highest wants, and one in between has no end of work.
fn an_inversion_resolves() {
    stay_on_one();
    set_priority(0, 40);
    let held = word(0);
    let (ready, go) = (Arc::new(AtomicBool::new(false)), word(0));
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, said, start_word) = (held.clone(), ready.clone(), go.clone());
    let (low, lowest) = start(10, move || {
        lock(&theirs);
        said.store(true, Ordering::SeqCst);
        let _ = futex(&start_word, &[WAIT, 0, 0]);
        // Work, with the lock.
        for n in 0..200_000_u32 {
            std::hint::black_box(n);
        }
        unlock(&theirs);
    });
    until(|| ready.load(Ordering::SeqCst));
    let (theirs, finished) = (held.clone(), done.clone());
    let (high, highest) = start(30, move || {
        lock(&theirs);
        finished.store(true, Ordering::SeqCst);
        unlock(&theirs);
    });
    until_contended(&held);
    until_asleep(high);
    assert_eq!(priority(low), -31);
    let finished = done.clone();
    let began = std::time::Instant::now();
    let (_, middle) = start(20, move || {
        // It gives way to nobody below it: without inheritance, for ten seconds.
        while !finished.load(Ordering::SeqCst) && began.elapsed().as_secs() < 10 {
            std::hint::spin_loop();
        }
    });
    go.store(1, Ordering::SeqCst);
    assert_eq!(futex(&go, &[WAKE, 1]), Ok(1));
    join(highest);
    assert!(began.elapsed().as_secs() < 5, "the middle one went on");
    join(middle);
    join(lowest);
    set_priority(0, 0);
}

fn inheritance_goes_along_a_chain() {
    let locks: Vec<Word> = (0..3).map(|_| word(0)).collect();
    lock(&locks[0]);
    let me = tid();
    let mut threads = Vec::new();
    for n in 1..3 {
        let (mine, next) = (locks[n].clone(), locks[n - 1].clone());
        let (number, thread) = start(0, move || {
            lock(&mine);
            lock(&next);
            unlock(&next);
            unlock(&mine);
        });
        until_contended(&locks[n - 1]);
        until_asleep(number);
        threads.push((number, thread));
    }
    let (last, end) = waiter(&locks[2], 50);
    for boosted in [me, threads[0].0, threads[1].0] {
        until(|| priority(boosted) == -51);
        // What was set is as before.
        assert_eq!(stat_field(boosted, 40), "0");
        assert_eq!(stat_field(boosted, 41), "0");
    }
    assert_eq!(priority(last), -51);
    // A child does not inherit what its parent does.
    in_child(|| assert_eq!(priority_of_self(), 20));
    unlock(&locks[0]);
    assert_eq!(priority(me), 20);
    for (_, thread) in threads {
        join(thread);
    }
    join(end);
}

fn priority_of_self() -> i32 {
    priority(tid())
}

fn a_change_of_priority_goes_along() {
    let held = word(0);
    lock(&held);
    let me = tid();
    let (number, thread) = waiter(&held, 5);
    until(|| priority(me) == -6);
    set_priority(number, 60);
    until(|| priority(me) == -61);
    set_priority(number, 0);
    until(|| priority(me) == 20);
    // The owner's own counts where it is higher.
    set_priority(me, 8);
    set_priority(number, 7);
    until(|| priority(me) == -9);
    set_priority(number, 9);
    until(|| priority(me) == -10);
    set_priority(me, 0);
    until(|| priority(me) == -10);
    unlock(&held);
    until(|| priority(me) == 20);
    join(thread);
}

/// Starts a thread that takes the lock and ends with it once somebody waits.
fn ends_with(held: &Word) -> std::thread::JoinHandle<()> {
    let theirs = held.clone();
    let (_, thread) = start(0, move || {
        lock(&theirs);
        until_contended(&theirs);
        sleep_ms(20);
    });
    until(|| held.load(Ordering::SeqCst) != 0);
    thread
}

fn an_owner_that_ends_leaves_a_mark() {
    let held = word(0);
    let owner = ends_with(&held);
    lock(&held);
    // It waited, and the lock says why it has it.
    assert_eq!(
        held.load(Ordering::SeqCst),
        tid() | WAITERS | OWNER_DIED,
        "{:x}",
        held.load(Ordering::SeqCst)
    );
    unlock(&held);
    assert_eq!(held.load(Ordering::SeqCst), 0);
    join(owner);
}

fn an_owner_that_ends_without_a_list_does_too() {
    let held = word(0);
    let owner = ends_with(&held);
    let threads: Vec<_> = [0, 20]
        .map(|at| {
            let theirs = held.clone();
            let body = move || {
                lock(&theirs);
                let value = theirs.load(Ordering::SeqCst);
                assert_eq!(value & !OWNER_DIED, tid() | WAITERS);
                unlock(&theirs);
            };
            start(at, body).1
        })
        .into();
    threads.into_iter().for_each(join);
    join(owner);
    assert_eq!(held.load(Ordering::SeqCst), 0);
}

/// A thread's own list: its head, with the offset of the words and no entry under way, and one entry.
fn robust_lists_mark_inheriting_locks() {
    for inherits in [0, 1] {
        let held = word(0);
        let theirs = held.clone();
        join(std::thread::spawn(move || {
            let mut list = vec![0_usize; 4].leak().as_mut_ptr();
            let head = list as usize;
            // The entry is before its word, as far as the offset says.
            let entry = head + 24;
            let offset = theirs.as_ptr() as usize;
            for value in [entry | inherits, offset.wrapping_sub(entry), 0, head] {
                // SAFETY: the four words are this thread's.
                unsafe {
                    list.write(value);
                    list = list.add(1);
                }
            }
            assert_eq!(call(libc::SYS_set_robust_list, &[head, 24]), Ok(0));
            lock(&theirs);
        }));
        // The thread is gone for the C library before it is for the kernel.
        until(|| held.load(Ordering::SeqCst) == OWNER_DIED);
        lock(&held);
        assert_eq!(held.load(Ordering::SeqCst), tid() | OWNER_DIED);
    }
}

fn processes_share_a_lock() {
    let page = map_with(
        4096,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: the mapping is as large as the word and stays.
    let held: &AtomicU32 = unsafe { AtomicU32::from_ptr(page.cast()) };
    lock(held);
    let waits = child(|| {
        lock(held);
        assert_eq!(held.load(Ordering::SeqCst) & !WAITERS, tid());
        // It ends with the lock, once the parent waits for it.
        let parent = std::os::unix::process::parent_id();
        while stat_of(&format!("/proc/{parent}/stat"), 3) != "S" {
            sleep_ms(1);
        }
        0
    });
    until_contended(held);
    sleep_ms(20);
    unlock(held);
    lock(held);
    assert_eq!(held.load(Ordering::SeqCst) & OWNER_DIED, OWNER_DIED);
    unlock(held);
    assert_eq!(wait(waits), Ended::Exit(0));
}

/// Starts a thread that waits for `from`, to be moved to the lock `to`, which it gives back after it has noted its number.
fn waits_for_requeue(
    from: &Word,
    to: &Word,
    at: i32,
    number: u32,
    order: &Arc<std::sync::Mutex<Vec<u32>>>,
) -> std::thread::JoinHandle<()> {
    let (from, to, order) = (from.clone(), to.clone(), order.clone());
    let (id, thread) = start(at, move || {
        let args = [WAIT_REQUEUE, 0, 0, to.as_ptr() as usize];
        assert_eq!(futex(&from, &args), Ok(0));
        assert_eq!(to.load(Ordering::SeqCst) & !WAITERS, tid());
        order.lock().expect("nobody panics").push(number);
        unlock(&to);
    });
    until_asleep(id);
    thread
}

fn a_requeued_waiter_owns_the_lock() {
    let (from, to) = (word(0), word(0));
    let order = Arc::default();
    // The lock is free: it goes to the waiter at once.
    let thread = waits_for_requeue(&from, &to, 0, 1, &order);
    let args = [CMP_REQUEUE, 1, 100, to.as_ptr() as usize, 0];
    assert_eq!(futex(&from, &args), Ok(1));
    join(thread);
    // It is not: the waiter gets it later.
    lock(&to);
    let thread = waits_for_requeue(&from, &to, 25, 2, &order);
    assert_eq!(futex(&from, &args), Ok(1));
    assert_eq!(to.load(Ordering::SeqCst), tid() | WAITERS);
    until(|| priority(tid()) == -26);
    sleep_ms(5);
    assert_eq!(*order.lock().expect("nobody panics"), [1]);
    unlock(&to);
    join(thread);
    assert_eq!(*order.lock().expect("nobody panics"), [1, 2]);
}

fn requeueing_moves_so_many() {
    let (from, to) = (word(0), word(0));
    let order = Arc::default();
    lock(&to);
    let threads: Vec<_> = [(0, 4), (10, 3), (30, 1), (20, 2), (0, 5)]
        .map(|(at, number)| waits_for_requeue(&from, &to, at, number, &order))
        .into();
    let requeue = |moved: usize| {
        let args = [CMP_REQUEUE, 1, moved, to.as_ptr() as usize, 0];
        futex(&from, &args)
    };
    assert_eq!(requeue(2), Ok(3));
    assert_eq!(requeue(0), Ok(1));
    assert_eq!(requeue(7), Ok(1));
    assert_eq!(requeue(7), Ok(0));
    unlock(&to);
    threads.into_iter().for_each(join);
    assert_eq!(*order.lock().expect("nobody panics"), [1, 2, 3, 4, 5]);
}

fn requeued_waits_end_in_time() {
    let (from, to) = (word(0), word(0));
    lock(&to);
    for moved in [false, true] {
        let (mine, lock_word) = (from.clone(), to.clone());
        let (number, thread) = start(0, move || {
            let end = in_ms(libc::CLOCK_MONOTONIC, 60);
            let to = lock_word.as_ptr() as usize;
            let args = [WAIT_REQUEUE, 0, end.as_ptr() as usize, to];
            assert_eq!(futex(&mine, &args), Err(libc::ETIMEDOUT));
        });
        if moved {
            until_asleep(number);
            let args = [CMP_REQUEUE, 1, 0, to.as_ptr() as usize, 0];
            assert_eq!(futex(&from, &args), Ok(1));
        }
        join(thread);
    }
    unlock(&to);
    assert_eq!(to.load(Ordering::SeqCst), 0);
}
