//! Interrupt lines of devices, as their drivers hold them.

use alloc::sync::Arc;

use drivers::interrupt::{Interrupt, Line};
use executor::irq::IrqEvent;

use crate::arch::line;
use crate::irq::{Answer, Flags, Irq, Request};
use crate::irq_route::Wire;

/// Asks for the line of `wire` under the name `name`. A level line may be shared, and is held off from when it fires until
/// the driver has answered.
pub(super) fn request(wire: Wire, name: &'static str) -> Option<Interrupt> {
    let event = Arc::new(IrqEvent::new());
    let request = Request::new(name).shared_event(event.clone());
    let request = match wire.level {
        true => request.flags(Flags::SHARED | Flags::ONESHOT),
        // An edge is over when it has been noted.
        false => request.handler(|_| Answer::HANDLED | Answer::WAKE_THREAD),
    };
    match line::request(wire, request) {
        Ok(line) => Some(Interrupt::new(Held {
            event,
            line,
            level: wire.level,
        })),
        Err(error) => {
            log::warn!("{name}: no line at input {}: {error:?}", wire.gsi);
            None
        }
    }
}

/// A line.
struct Held {
    event: Arc<IrqEvent>,
    line: Irq,
    level: bool,
}

impl Line for Held {
    fn event(&self) -> &IrqEvent {
        &self.event
    }

    fn answered(&self) {
        if self.level {
            self.line.done();
        }
    }
}
