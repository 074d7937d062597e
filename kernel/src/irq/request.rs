//! Asking for a line, and what one gets.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;

use executor::irq::IrqEvent;
use fs::Errno;

use super::action::{Action, Answer, Event, Flags, Handler};
use super::chip::CpuSet;
use super::descriptor::Descriptor;

/// Why a line was not to be had, or not to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqError {
    /// No controller has such a line, or no number is left.
    NoIrq,
    /// All vectors are in use.
    NoVector,
    /// Somebody else has it, and does not share.
    Busy,
    /// What was asked for makes no sense.
    Invalid,
    /// The line cannot do that.
    NotSupported,
    /// No memory.
    NoMemory,
}

impl IrqError {
    /// What a program is told.
    pub const fn errno(self) -> Errno {
        match self {
            Self::NoIrq => Errno::ENXIO,
            Self::NoVector => Errno::ENOSPC,
            Self::Busy => Errno::EBUSY,
            Self::Invalid => Errno::EINVAL,
            Self::NotSupported => Errno::EIO,
            Self::NoMemory => Errno::ENOMEM,
        }
    }
}

/// What a driver asks of a line.
///
/// ```
/// # use kernel::irq::{Answer, Flags, Request};
/// # use executor::irq::IrqEvent;
/// static DONE: IrqEvent = IrqEvent::new();
/// // The top half looks whether the device wants anything, and leaves the rest to who awaits the event.
/// let request = Request::new("edu")
///     .flags(Flags::SHARED)
///     .handler(|_| Answer::WAKE_THREAD)
///     .event(&DONE);
/// # drop(request);
/// ```
#[must_use = "a request does nothing until it is made"]
pub struct Request(Action);

impl Request {
    /// A request under `name`, the device's.
    pub fn new(name: impl ToString) -> Self {
        Self(Action {
            name: name.to_string(),
            flags: Flags::empty(),
            handler: None,
            event: None,
            oneshot_bit: 0,
            gone: AtomicBool::new(false),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.0.name()
    }

    /// How the line is wanted.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.0.flags |= flags;
        self
    }

    /// Has `handler` called, in hard interrupts, with the line's number.
    pub fn handler(mut self, handler: impl Fn(u32) -> Answer + Send + Sync + 'static) -> Self {
        let handler: Handler = Box::new(handler);
        self.0.handler = Some(handler);
        self
    }

    /// Has `event` raised when the handler says so, or for every interrupt if there is none.
    pub fn event(mut self, event: &'static IrqEvent) -> Self {
        self.0.event = Some(Event::Static(event));
        self
    }

    /// As [`Request::event`], for an event that does not live for ever.
    pub fn shared_event(mut self, event: Arc<IrqEvent>) -> Self {
        self.0.event = Some(Event::Shared(event));
        self
    }

    /// Makes the request of `line`.
    ///
    /// # Context
    /// Task or boot.
    /// # Errors
    /// [`IrqError::Invalid`] for a request with neither handler nor event, or without [`Flags::ONESHOT`] where its task
    /// alone answers a line that would storm; [`IrqError::Busy`] if others have the line and do not share it so;
    /// [`IrqError::NoIrq`] if the line has no chip; [`IrqError::NoMemory`].
    pub fn submit(self, line: &'static Descriptor) -> Result<Irq, IrqError> {
        if self.0.handler.is_none() && self.0.event.is_none() {
            return Err(IrqError::Invalid);
        }
        let action = line.add(self.0)?;
        Ok(Irq { line, action })
    }
}

/// A line that one answers. Dropping it gives it back, when no handler runs any more.
#[derive(Debug)]
pub struct Irq {
    line: &'static Descriptor,
    action: Arc<Action>,
}

impl Irq {
    /// The line.
    pub fn line(&self) -> &'static Descriptor {
        self.line
    }

    /// The line's number.
    pub fn number(&self) -> u32 {
        self.line.number()
    }

    /// The task has dealt with what the device wanted: a line that was held off for it is let through again.
    ///
    /// # Context
    /// Any.
    pub fn done(&self) {
        self.line.answer(&self.action);
    }

    /// For a task that answers without owning the line.
    pub(super) fn answer(&self) -> Answerer {
        Answerer {
            line: self.line,
            action: Arc::clone(&self.action),
        }
    }

    /// Disables the line, once more if it is; returns when no handler of it runs any more.
    ///
    /// # Context
    /// Task, not holding what a handler waits for. Spins: for as long as the handlers take.
    pub fn disable(&self) {
        self.disable_nosync();
        self.line.synchronize();
    }

    /// As [`Irq::disable`], without waiting for handlers.
    ///
    /// # Context
    /// Any.
    pub fn disable_nosync(&self) {
        self.line.disable();
    }

    /// Takes one [`Irq::disable`] back. An edge that came meanwhile happens now.
    ///
    /// # Context
    /// Any.
    pub fn enable(&self) {
        if !self.line.enable() {
            log::warn!("irq {}: enabled more often than disabled", self.number());
        }
    }

    /// Sends the line to one of `cpus` from now on.
    ///
    /// # Errors
    /// As [`Descriptor::set_affinity`].
    pub fn set_affinity(&self, cpus: CpuSet) -> Result<(), IrqError> {
        self.line.set_affinity(cpus)
    }

    /// Gives the line back; when this returns no handler of this request runs any more.
    ///
    /// # Context
    /// Task. Spins: for as long as the handlers take.
    pub fn free(self) {
        drop(self);
    }
}

/// Answers for a line that somebody else gives back.
pub(super) struct Answerer {
    line: &'static Descriptor,
    action: Arc<Action>,
}

impl Answerer {
    /// As [`Irq::done`].
    pub(super) fn done(&self) {
        self.line.answer(&self.action);
    }
}

impl Drop for Irq {
    fn drop(&mut self) {
        self.line.remove(&self.action);
    }
}
