//! In which order the chip is told and the actions asked, by the kind of line.

use executor::sync::SpinLockIrqGuard;

use super::descriptor::{Descriptor, State};

/// The kinds of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Nobody's: only acknowledged.
    Bad,
    /// Acknowledged first, so that an edge that comes while the actions run is seen, and they run again.
    Edge,
    /// Held off while the actions run.
    Level,
    /// The chip lets nothing more through until it is told that this one is over.
    FastEoi,
    /// The chip need not be told anything.
    Simple,
    /// Each CPU's own: never held off, and not counted against other CPUs.
    PerCpu,
}

impl Flow {
    /// What `/proc/interrupts` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bad => "",
            Self::Edge => "edge",
            Self::Level => "level",
            Self::FastEoi => "fasteoi",
            Self::Simple => "simple",
            Self::PerCpu => "percpu",
        }
    }
}

type Locked<'a> = SpinLockIrqGuard<'a, State>;

/// Deals with an interrupt of `line`.
pub(super) fn handle(line: &Descriptor, state: Locked<'_>) {
    match state.flow {
        Flow::Bad => bad(&state),
        Flow::Edge => edge(line, state),
        Flow::Level => level(line, state),
        Flow::FastEoi => fasteoi(line, state),
        Flow::Simple => simple(line, state),
        Flow::PerCpu => percpu(line, state),
    }
}

fn bad(state: &State) {
    state.tell(|chip, hw| {
        chip.ack(hw);
        chip.eoi(hw);
    });
}

fn edge<'a>(line: &'a Descriptor, mut state: Locked<'a>) {
    if !state.may_run() {
        state.pending = true;
        state.masked = true;
        state.tell(|chip, hw| chip.mask_ack(hw));
        return;
    }
    state.tell(|chip, hw| chip.ack(hw));
    loop {
        line.count();
        // An edge that came while another CPU's run was under way has masked the line: that run lets it through again.
        state.unmask_if(|state| state.pending);
        state = line.run_actions(state);
        if !(state.pending && state.enabled()) {
            return;
        }
    }
}

fn level<'a>(line: &'a Descriptor, mut state: Locked<'a>) {
    state.masked = true;
    state.tell(|chip, hw| chip.mask_ack(hw));
    if state.in_progress {
        return;
    }
    if !state.enabled() {
        state.pending = true;
        return;
    }
    line.count();
    let mut state = line.run_actions(state);
    state.unmask_if(|state| state.oneshot == 0);
}

fn fasteoi<'a>(line: &'a Descriptor, mut state: Locked<'a>) {
    if state.in_progress {
        // The other CPU's run asks the device after this; a level is still there when it does.
        state.pending = true;
        state.tell(|chip, hw| chip.eoi(hw));
        return;
    }
    if !state.enabled() {
        state.pending = true;
        state.mask();
        state.tell(|chip, hw| chip.eoi(hw));
        return;
    }
    line.count();
    if state.holds_until_answered() {
        state.mask();
    }
    let mut state = line.run_actions(state);
    state.tell(|chip, hw| chip.eoi(hw));
    state.unmask_if(|state| state.oneshot == 0);
}

fn simple<'a>(line: &'a Descriptor, mut state: Locked<'a>) {
    if !state.may_run() {
        state.pending = true;
        return;
    }
    line.count();
    drop(line.run_actions(state));
}

fn percpu<'a>(line: &'a Descriptor, state: Locked<'a>) {
    line.count();
    state.tell(|chip, hw| chip.ack(hw));
    let (chip, hw) = (state.chip.clone(), state.hw);
    line.run_percpu(state);
    if let Some(chip) = chip {
        chip.eoi(hw);
    }
}
