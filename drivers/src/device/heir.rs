//! Who is told when a task of a driver dies in the midst of a poll.
//!
//! A driver that panics while it holds no guard loses its task, not the machine (rule 23): its poll is never gone on with, and
//! its future never dropped, since nobody knows what state it is in. What others wait for then cannot come from dropping it.
//! So each task of a device has an [`Heir`], whom the panic handler finds by the task that runs, and who does what has
//! to be done.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;

use executor::TaskRef;
use executor::sync::SpinLock;

/// Sees to what a dead task leaves behind.
pub trait Heir: Send + Sync {
    /// The task will never run again.
    ///
    /// # Context
    /// That task's, which has no guard.
    fn died(&self);
}

/// The tasks that have an heir.
static TASKS: SpinLock<Vec<(TaskRef, Arc<dyn Heir>)>> = SpinLock::new(Vec::new());

/// The heir of the task that runs, which has none from then on: dying once is enough.
///
/// # Context
/// Task, without a guard.
pub fn take_heir() -> Option<Arc<dyn Heir>> {
    let task = executor::current()?;
    let mut tasks = TASKS.lock();
    let at = tasks.iter().position(|(own, _)| *own == task)?;
    let (_, heir) = tasks.swap_remove(at);
    Some(heir)
}

/// Does `future`, for as long as which the task has `heir`.
pub(super) async fn with_heir<F: Future>(heir: Arc<dyn Heir>, future: F) -> F::Output {
    let _registered = Registered::new(heir);
    future.await
}

struct Registered(Option<TaskRef>);

impl Registered {
    fn new(heir: Arc<dyn Heir>) -> Self {
        let task = executor::current();
        if let Some(task) = &task {
            TASKS.lock().push((task.clone(), heir));
        }
        Self(task)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(task) = &self.0 else {
            return;
        };
        let gone = {
            let mut tasks = TASKS.lock();
            let at = tasks.iter().position(|(own, _)| own == task);
            at.map(|at| tasks.swap_remove(at))
        };
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use executor::platform::host::block_on;
    use executor::yield_now;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Heir for Counter {
        fn died(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_has_the_heir_it_was_given_once_and_while_it_lives() {
        block_on(async {
            let counters = [(); 3].map(|()| Arc::new(Counter::default()));
            let tasks = counters.clone().map(|counter| {
                let dies = async {
                    yield_now().await;
                    if let Some(heir) = take_heir() {
                        heir.died();
                    }
                    assert!(take_heir().is_none(), "it dies once");
                };
                executor::spawn("mortal", with_heir(counter, dies))
            });
            for task in tasks {
                task.await.unwrap();
            }
            let deaths = counters.map(|counter| counter.0.load(Ordering::Relaxed));
            assert_eq!(deaths, [1; 3]);
            let none = executor::spawn("heirless", async { take_heir().is_none() });
            assert!(none.await.unwrap());
            let before = TASKS.lock().len();
            let alive = executor::spawn("alive", with_heir(Arc::new(Counter::default()), async {}));
            alive.await.unwrap();
            assert_eq!(TASKS.lock().len(), before, "who ended needs none");
        });
    }
}
