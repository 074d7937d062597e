//! Interrupts that a task sees to: Linux's `request_threaded_irq`.
//!
//! The task is real-time (FIFO 50), so that a device is not kept waiting by what programs compute, and is all that runs for an
//! interrupt besides a top half that need not be there. It may wait. A line asked for with [`Flags::ONESHOT`](super::Flags)
//! is let through again when it is through.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::future::Future;

use executor::irq::IrqEvent;
use executor::kthread::{self, KernelThread};
use executor::sync::SpinLock;
use executor::{Spawner, Urgency};

use super::descriptor::Descriptor;
use super::request::{Irq, IrqError, Request};

/// A line that a task answers. Dropping it gives the line back, and lets the task end when it is through.
#[derive(Debug)]
#[must_use = "a line that is dropped is given back"]
pub struct ThreadedIrq {
    irq: Irq,
    thread: KernelThread<()>,
}

impl Request {
    /// Makes the request of `line`, with a task that awaits what `thread` gives each time that the handler answers
    /// [`Answer::WAKE_THREAD`](super::Answer), or for every interrupt if there is no handler. Interrupts that come while it runs
    /// are one more time.
    ///
    /// # Context
    /// Task; the thread runs on its CPU.
    /// # Errors
    /// As [`Request::submit`].
    pub fn submit_threaded<M, F>(
        self,
        line: &'static Descriptor,
        mut thread: M,
    ) -> Result<ThreadedIrq, IrqError>
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let event = Arc::new(IrqEvent::new());
        let name = name(line.number(), self.name());
        let irq = self.shared_event(Arc::clone(&event)).submit(line)?;
        let answer = irq.answer();
        let spawner = Spawner::new(name).urgency(Urgency::Interrupt);
        let thread = kthread::try_run(spawner, |me| async move {
            while me.unless_asked(event.wait()).await.is_some() {
                thread().await;
                answer.done();
            }
        });
        // Where there is no task, the line goes back with `irq`.
        let thread = thread.map_err(|_| IrqError::NoMemory)?;
        Ok(ThreadedIrq { irq, thread })
    }
}

impl ThreadedIrq {
    /// The line.
    pub fn irq(&self) -> &Irq {
        &self.irq
    }

    /// The task.
    pub fn thread(&self) -> &KernelThread<()> {
        &self.thread
    }

    /// Gives the line back, and returns when neither handler nor task runs any more.
    ///
    /// # Context
    /// Task: not the thread itself, which would wait for its own end.
    pub async fn free(self) {
        self.irq.free();
        self.thread.stop().await;
    }
}

/// A task's name. Names are for ever, and few: who asks again gets the same one.
struct Name {
    text: String,
    next: Option<&'static Name>,
}

/// The name of the task that answers line `number` for `device`, as Linux has it.
fn name(number: u32, device: &str) -> &'static str {
    static NAMES: SpinLock<Option<&'static Name>> = SpinLock::new(None);
    let text = format!("irq/{number}-{device}");
    let mut known = core::iter::successors(NAMES.with(|first| *first), |name| name.next);
    if let Some(name) = known.find(|name| name.text == text) {
        return &name.text;
    }
    let name = Box::leak(Box::new(Name { text, next: None }));
    NAMES.with(|first| {
        name.next = *first;
        let name: &'static Name = name;
        *first = Some(name);
        &name.text
    })
}
