//! What waits: order, cancellation, hand-over.
#![cfg(not(loom))]

use std::{
    future::Future,
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use executor::{
    Executor, Fifo, JoinHandle, NoHooks, Scope,
    irq::IrqEvent,
    platform::host::{Machine, block_on},
    spawn,
    sync::{
        Completion, Either, Mutex, Notify, RecvError, RwLock, Semaphore, SendError, SeqCell,
        WaitQueue, Waiter, channel, oneshot, select,
    },
    yield_now,
};

fn executor() -> Executor<Fifo> {
    Executor::new(Fifo::new())
}

fn run(ex: &Executor<Fifo>) {
    while ex.run_once(&NoHooks) {}
}

/// Polls a future once with a waker that counts.
struct Probe<F> {
    future: std::pin::Pin<Box<F>>,
    wakes: Arc<Counter>,
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl std::task::Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: Future> Probe<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            wakes: Arc::default(),
        }
    }

    fn poll(&mut self) -> Option<F::Output> {
        let waker = self.wakes.clone().into();
        match self
            .future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
        {
            std::task::Poll::Ready(out) => Some(out),
            std::task::Poll::Pending => None,
        }
    }

    fn woken(&self) -> usize {
        self.wakes.0.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn wake_reaches_all_shared_and_n_exclusive_waiters() {
    let queue = Arc::new(WaitQueue::new());
    let counters: Vec<Arc<Counter>> = (0..5).map(|_| Arc::default()).collect();
    let mut waiters: Vec<_> = (0..5).map(|_| Box::pin(Waiter::new())).collect();
    for (i, (w, c)) in waiters.iter_mut().zip(&counters).enumerate() {
        w.as_mut().enqueue(&queue, &c.clone().into(), i >= 2);
    }
    assert_eq!(queue.wake(2), 4);
    let seen = |c: &Arc<Counter>| c.0.swap(0, Ordering::Relaxed);
    assert_eq!(
        counters.iter().map(seen).collect::<Vec<_>>(),
        [1, 1, 1, 1, 0]
    );
    // They stay, and the exclusive ones take turns.
    assert_eq!(queue.wake_all(), 5);
    assert_eq!(counters.iter().map(seen).collect::<Vec<_>>(), [1; 5]);
    waiters[0].as_mut().dequeue();
    waiters.truncate(3);
    assert_eq!(queue.wake_all(), 2);
    drop(waiters);
    assert!(queue.is_empty());
}

#[test]
fn wake_all_wakes_more_than_a_batch_once_each() {
    let queue = WaitQueue::new();
    let mut probes: Vec<_> = (0..50).map(|_| Probe::new(queue.wait())).collect();
    assert!(probes.iter_mut().all(|p| p.poll().is_none()));
    assert_eq!(queue.wake_all(), 50);
    assert!(
        probes
            .iter_mut()
            .all(|p| p.woken() == 1 && p.poll().is_some())
    );
}

#[test]
fn dropped_waiter_hands_its_wakeup_on() {
    let queue = WaitQueue::new();
    let (mut a, mut b) = (Probe::new(queue.wait()), Probe::new(queue.wait()));
    assert!(a.poll().is_none() && b.poll().is_none());
    assert!(queue.wake_one());
    assert_eq!((a.woken(), b.woken()), (1, 0));
    drop(a);
    assert_eq!(b.woken(), 1);
    assert!(b.poll().is_some());
}

#[test]
fn wait_until_does_not_keep_a_wakeup_that_it_used() {
    let queue = WaitQueue::new();
    let items = AtomicUsize::new(0);
    let take = || {
        items
            .try_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1))
            .ok()
    };
    let (mut a, mut b) = (
        Probe::new(queue.wait_until(take)),
        Probe::new(queue.wait_until(take)),
    );
    assert!(a.poll().is_none() && b.poll().is_none());
    items.store(1, Ordering::Release);
    queue.wake_one();
    assert!(a.poll().is_some());
    drop(a);
    assert_eq!(b.woken(), 0, "there is nothing for it");
}

#[test]
fn irq_events_are_counted_and_not_lost() {
    let event = IrqEvent::new();
    event.raise();
    event.raise();
    let mut wait = Probe::new(event.wait());
    assert_eq!(wait.poll(), Some(2));
    let mut wait = Probe::new(event.wait());
    assert_eq!(wait.poll(), None);
    event.raise();
    assert_eq!(wait.woken(), 1);
    drop(wait);
    assert_eq!(event.take(), 1, "a dropped wait takes nothing");
}

#[test]
fn mutex_goes_to_waiters_in_order_and_past_a_dropped_one() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock().unwrap();
    let mut waiters: Vec<_> = (0..3).map(|_| Probe::new(mutex.lock())).collect();
    for w in &mut waiters {
        assert!(w.poll().is_none());
    }
    drop(guard);
    assert_eq!(
        waiters.iter().map(Probe::woken).collect::<Vec<_>>(),
        [1, 0, 0]
    );
    assert!(mutex.try_lock().is_none(), "it is the first waiter's");
    drop(waiters.remove(0));
    assert_eq!(waiters.iter().map(Probe::woken).collect::<Vec<_>>(), [1, 0]);
    let guard = waiters[0].poll().unwrap();
    drop(guard);
    let _guard = waiters[1].poll().unwrap();
    assert!(mutex.is_locked());
}

#[test]
fn semaphore_serves_a_large_request_before_later_small_ones() {
    let semaphore = Semaphore::new(2);
    let one = semaphore.try_acquire(1).unwrap();
    let mut large = Probe::new(semaphore.acquire(3));
    assert!(large.poll().is_none());
    assert!(
        semaphore.try_acquire(1).is_none(),
        "the free one is set aside"
    );
    let mut small = Probe::new(semaphore.acquire(1));
    assert!(small.poll().is_none());
    semaphore.release(1);
    assert_eq!((large.woken(), small.woken()), (0, 0));
    drop(one);
    assert_eq!((large.woken(), small.woken()), (1, 0));
    drop(large);
    assert_eq!(small.woken(), 1);
    drop(small.poll().unwrap());
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn a_dropped_large_request_gives_back_what_it_was_given() {
    let semaphore = Semaphore::new(2);
    let mut large = Probe::new(semaphore.acquire(5));
    assert!(large.poll().is_none());
    let mut small = Probe::new(semaphore.acquire(2));
    assert!(small.poll().is_none());
    drop(large);
    assert_eq!(small.woken(), 1);
    drop(small.poll().unwrap());
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn rwlock_shares_among_readers_and_downgrades() {
    let lock = RwLock::new(1);
    let (a, b) = (lock.try_read().unwrap(), lock.try_read().unwrap());
    let mut writer = Probe::new(lock.write());
    assert!(writer.poll().is_none());
    assert!(lock.try_read().is_none(), "a writer waits");
    drop((a, b));
    let mut guard = writer.poll().unwrap();
    *guard = 2;
    let mut reader = Probe::new(lock.read());
    assert!(reader.poll().is_none());
    let downgraded = guard.downgrade();
    assert_eq!(*reader.poll().unwrap(), 2);
    assert!(lock.try_write().is_none());
    drop(downgraded);
    assert!(lock.try_write().is_some());
}

#[test]
fn completion_before_the_wait_passes_and_all_stays() {
    let done = Completion::new();
    done.complete();
    assert!(Probe::new(done.wait()).poll().is_some());
    let (mut a, mut b) = (Probe::new(done.wait()), Probe::new(done.wait()));
    assert!(a.poll().is_none() && b.poll().is_none());
    done.complete();
    assert!(a.poll().is_some() && b.poll().is_none());
    done.complete_all();
    assert!(b.poll().is_some() && Probe::new(done.wait()).poll().is_some());
    done.reset();
    assert!(Probe::new(done.wait()).poll().is_none());
}

#[test]
fn notify_keeps_one_note_and_reaches_all_who_wait() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    assert!(Probe::new(notify.notified()).poll().is_some());
    let (mut a, mut b) = (Probe::new(notify.notified()), Probe::new(notify.notified()));
    assert!(a.poll().is_none() && b.poll().is_none());
    notify.notify_all();
    assert!(a.poll().is_some() && b.poll().is_some());
    assert!(Probe::new(notify.notified()).poll().is_none());
}

#[test]
fn channel_is_bounded_ordered_and_closes() {
    let (send, receive) = channel(2);
    assert_eq!((send.try_send(1), send.try_send(2)), (Ok(()), Ok(())));
    assert_eq!(send.try_send(3), Err(SendError::Full(3)));
    let mut third = Probe::new(send.send(3));
    assert!(third.poll().is_none());
    assert_eq!(receive.try_recv(), Ok(1));
    assert_eq!(third.woken(), 1);
    assert_eq!(third.poll(), Some(Ok(())));
    drop(third);
    drop(send);
    assert_eq!((receive.try_recv(), receive.try_recv()), (Ok(2), Ok(3)));
    assert_eq!(receive.try_recv(), Err(RecvError::Closed));
    let (send, receive) = channel(1);
    drop(receive);
    assert_eq!(send.try_send(7), Err(SendError::Closed(7)));
}

#[test]
fn oneshot_carries_a_value_or_the_end() {
    let (send, receive) = oneshot();
    let mut receive = Probe::new(receive);
    assert!(receive.poll().is_none());
    send.send(5).unwrap();
    assert_eq!((receive.woken(), receive.poll()), (1, Some(Some(5))));
    let (send, receive) = oneshot::<u8>();
    drop(send);
    assert_eq!(Probe::new(receive).poll(), Some(None));
    let (send, receive) = oneshot();
    drop(receive);
    assert_eq!(send.send(5), Err(5));
}

#[test]
fn select_drops_the_loser() {
    let queue = WaitQueue::new();
    let mut both = Probe::new(select(queue.wait(), std::future::ready(1)));
    assert_eq!(both.poll(), Some(Either::Second(1)));
    drop(both);
    assert!(queue.is_empty());
}

#[test]
fn seq_cell_is_read_whole() {
    static CELL: SeqCell<3> = SeqCell::new();
    let rounds = if cfg!(miri) { 50 } else { 50_000 };
    let writer = std::thread::spawn(move || {
        for i in 0..rounds {
            CELL.update(|w| *w = [i, i, i]);
        }
    });
    for _ in 0..rounds {
        let [a, b, c] = CELL.read();
        assert!(a == b && b == c);
    }
    writer.join().unwrap();
}

#[test]
fn ending_a_scope_waits_until_its_futures_are_gone() {
    let ex = executor();
    let gone = Arc::new(AtomicUsize::new(0));
    struct Tell(Arc<AtomicUsize>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let scope = Scope::new();
    let inner = scope.child();
    for s in [&scope, &inner, &inner] {
        let tell = Tell(gone.clone());
        s.spawn("waits", async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        })
        .detach();
    }
    let answer = scope.spawn("ends", async { 42 });
    run(&ex);
    assert!(answer.is_finished());
    assert_eq!(
        (scope.live(), inner.live()),
        (2, 2),
        "a child, the inner scope; its children"
    );
    drop(inner);
    run(&ex);
    assert_eq!((gone.load(Ordering::Relaxed), scope.live()), (2, 1));
    let seen = gone.clone();
    let end = spawn("end", async move {
        scope.end().await;
        seen.load(Ordering::Relaxed)
    });
    run(&ex);
    assert!(end.is_finished());
    spawn("check", async move { assert_eq!(end.await, Ok(3)) }).detach();
    run(&ex);
}

#[test]
fn a_cancelled_scope_stops_new_children_at_once() {
    let ex = executor();
    let scope = Scope::new();
    scope.cancel();
    let ran = Arc::new(AtomicUsize::new(0));
    let mark = ran.clone();
    let child = scope.spawn("late", async move { mark.fetch_add(1, Ordering::Relaxed) });
    run(&ex);
    assert!(child.is_finished());
    assert_eq!((ran.load(Ordering::Relaxed), scope.live()), (0, 0));
}

#[test]
fn self_waking_task_starves_nobody() {
    let ex = executor();
    let trace = Arc::new(StdMutex::new(Vec::new()));
    let busy = |name: &'static str| -> JoinHandle<()> {
        let trace = trace.clone();
        spawn(name, async move {
            for _ in 0..3 {
                trace.lock().unwrap().push(name);
                yield_now().await;
            }
        })
    };
    let _handles = (busy("a"), busy("b"));
    run(&ex);
    assert_eq!(*trace.lock().unwrap(), ["a", "b", "a", "b", "a", "b"]);
}

#[test]
fn block_on_runs_tasks_and_timers() {
    let out = block_on(async {
        let task = spawn("adds", async {
            executor::time::sleep(std::time::Duration::from_millis(1)).await;
            20
        });
        task.await.unwrap() + 22
    });
    assert_eq!(out, 42);
}

#[test]
fn tasks_on_several_cpus_hand_a_mutex_round() {
    let machine = Machine::start(2);
    let rounds = if cfg!(miri) { 20 } else { 2_000 };
    let total = Arc::new(Mutex::new(0));
    let cpus = machine.cpus().to_vec();
    let sum = total.clone();
    machine.block_on(async move {
        let scope = Scope::new();
        for i in 0..4 {
            let total = sum.clone();
            let spawner = executor::Spawner::new("adder").cpu(cpus[i % 2]);
            scope
                .try_spawn(spawner, async move {
                    for _ in 0..rounds {
                        let mut guard = total.lock().await;
                        let was = *guard;
                        yield_now().await;
                        *guard = was + 1;
                    }
                })
                .unwrap()
                .detach();
        }
        scope.join().await;
    });
    assert_eq!(total.try_lock().map(|t| *t), Some(4 * rounds));
}

#[test]
fn tasks_move_between_cpus_when_asked() {
    let machine = Machine::start(2);
    let (a, b) = (machine.cpus()[0], machine.cpus()[1]);
    machine.block_on(async move {
        let me = executor::current().unwrap();
        assert_eq!((executor::cpu::id(), me.cpu()), (a, a));
        for to in [b, a, b] {
            me.migrate(to);
            yield_now().await;
            assert_eq!((executor::cpu::id(), me.cpu()), (to, to));
        }
    });
}
