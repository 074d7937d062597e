//! An interrupt line of a simulated device, with faults.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use executor::irq::IrqEvent;

use crate::interrupt::{Interrupt, Line};

/// What goes wrong with the interrupts of a line from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineFaults {
    /// So many are lost.
    pub lose: usize,
    /// Each comes so many times more.
    pub duplicate: usize,
    /// They are held back until [`SimulatedLine::deliver`].
    pub hold: bool,
}

/// A line, held by the model and, as an [`Interrupt`], by the driver.
#[derive(Clone, Debug)]
pub struct SimulatedLine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: IrqEvent,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: LineFaults,
    held: VecDeque<()>,
    raised: usize,
    answered: usize,
}

impl Default for SimulatedLine {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedLine {
    /// A line that works.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            event: IrqEvent::new(),
            state: Mutex::default(),
        }))
    }

    /// The driver's end.
    pub fn interrupt(&self) -> Interrupt {
        Interrupt::new(self.clone())
    }

    /// Sets what goes wrong.
    pub fn set_faults(&self, faults: LineFaults) {
        self.0.state.lock().unwrap().faults = faults;
    }

    /// The device interrupts, as far as the faults let it.
    pub fn raise(&self) {
        let times = {
            let mut state = self.0.state.lock().unwrap();
            state.raised += 1;
            if state.faults.lose > 0 {
                state.faults.lose -= 1;
                return;
            }
            if state.faults.hold {
                state.held.push_back(());
                return;
            }
            1 + state.faults.duplicate
        };
        (0..times).for_each(|_| self.0.event.raise());
    }

    /// An interrupt that the device did not mean.
    pub fn spurious(&self) {
        self.0.event.raise();
    }

    /// Delivers what was held back, late.
    pub fn deliver(&self) {
        let held = {
            let mut state = self.0.state.lock().unwrap();
            state.faults.hold = false;
            core::mem::take(&mut state.held)
        };
        held.iter().for_each(|()| self.0.event.raise());
    }

    /// How often the device wanted to interrupt.
    pub fn raised(&self) -> usize {
        self.0.state.lock().unwrap().raised
    }

    /// How often the driver let the line through again.
    pub fn answered(&self) -> usize {
        self.0.state.lock().unwrap().answered
    }
}

impl Line for SimulatedLine {
    fn event(&self) -> &IrqEvent {
        &self.0.event
    }

    fn answered(&self) {
        self.0.state.lock().unwrap().answered += 1;
    }
}
