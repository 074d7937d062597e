//! Locks that spin, and what needs none.

use std::sync::Arc;

use executor::sync::{AtomicBits, LockRef, RwSpinLock, SeqCell, SeqLock, SpinLock};
use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::machine::model;

#[test]
fn spin_lock_excludes() {
    model(|| {
        let lock = Arc::new(SpinLock::new(0));
        let other = lock.clone();
        let t = thread::spawn(move || *other.lock() += 1);
        *lock.lock() += 1;
        t.join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn seq_cell_is_read_whole() {
    model(|| {
        let cell = Arc::new(SeqCell::<2>::new());
        let other = cell.clone();
        let writer = thread::spawn(move || other.update(|w| *w = [1, 1]));
        let [a, b] = cell.read();
        assert_eq!(a, b);
        writer.join().unwrap();
    });
}

#[test]
fn reader_writer_spin_lock_shares_or_excludes() {
    model(|| {
        let lock = Arc::new(RwSpinLock::new(0));
        let writer = lock.clone();
        let w = thread::spawn(move || *writer.write() += 1);
        assert!(*lock.read() <= 1);
        w.join().unwrap();
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn a_seqlock_reader_sees_no_half_written_pair() {
    model(|| {
        let shared = Arc::new((SeqLock::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
        let other = shared.clone();
        let writer = thread::spawn(move || {
            let _write = other.0.write();
            other.1.store(1, Ordering::Relaxed);
            other.2.store(1, Ordering::Relaxed);
        });
        let (a, b) = shared.0.read(|| {
            (
                shared.1.load(Ordering::Relaxed),
                shared.2.load(Ordering::Relaxed),
            )
        });
        assert_eq!(a, b);
        writer.join().unwrap();
    });
}

#[test]
fn a_lock_of_one_bit_excludes() {
    model(|| {
        let shared = Arc::new((loom_word(), loom::cell::UnsafeCell::new(0)));
        let other = shared.clone();
        #[allow(unsafe_code, reason = "loom checks what the lock guards")]
        let add = |shared: &(_, loom::cell::UnsafeCell<i32>)| {
            let _held = AtomicBits::lock_bit(&shared.0, 3);
            // SAFETY: the bit is held.
            shared.1.with_mut(|n| unsafe { *n += 1 });
        };
        struct Shared<T>(T);
        // SAFETY: what is not `Sync` in it is used under the bit only.
        #[allow(unsafe_code, reason = "loom checks what the lock guards")]
        unsafe impl<T> Send for Shared<T> {}
        let other = Shared(other);
        let t = thread::spawn(move || {
            let other = other;
            add(&other.0);
        });
        add(&shared);
        t.join().unwrap();
        assert!(!shared.0.test_bit(3));
    });
}

fn loom_word() -> executor::model::AtomicU64 {
    executor::model::AtomicU64::new(0)
}

#[test]
fn the_last_reference_of_a_lockref_is_found_once() {
    model(|| {
        let thing = Arc::new(LockRef::new((), 2));
        let other = thing.clone();
        let put = |thing: &LockRef<()>| match thing.put_or_lock() {
            Some(mut last) => {
                assert_eq!(last.put(), 0);
                last.mark_dead();
                1
            }
            None => 0,
        };
        let t = thread::spawn(move || put(&other));
        let here = put(&thing);
        assert_eq!(here + t.join().unwrap(), 1);
        assert!(!thing.get());
    });
}
