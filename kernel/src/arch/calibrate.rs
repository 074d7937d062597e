//! Measuring the rates of the time-stamp counter and of the local APIC's timer.
//!
//! Both are counted over a few milliseconds of a reference whose rate is known: HPET, ACPI's timer, or the 8254.

use super::hpet::Hpet;
use super::source::Source;
use super::{apic, clock, pit, tsc};
use crate::boot::acpi;
use crate::counter;

/// How long to measure. Five milliseconds and a read that takes a microsecond make an error of 200 ppm at most, next to
/// none under `-icount`.
const WINDOW_NS: u64 = 5_000_000;
/// Readings of which the quickest is taken.
const SAMPLES: usize = 5;
/// A reference that does not advance must not hang the boot.
const MAX_POLLS: u32 = 10_000_000;

/// What to measure against.
#[derive(Clone, Copy)]
enum Reference {
    Counter(Source),
    Pit,
}

impl Reference {
    fn hz(self) -> u64 {
        match self {
            Self::Counter(source) => source.hz(),
            Self::Pit => pit::HZ,
        }
    }

    fn mask(self) -> u64 {
        match self {
            Self::Counter(source) => source.mask(),
            Self::Pit => u64::from(u16::MAX),
        }
    }

    fn read(self) -> u64 {
        match self {
            Self::Counter(source) => source.read(),
            Self::Pit => pit::elapsed(),
        }
    }
}

/// One moment on all three counters.
#[derive(Clone, Copy)]
struct Moment {
    reference: u64,
    tsc: u64,
    timer: u32,
}

/// Reads all counters, several times, and returns the reading that took least.
fn moment(reference: Reference) -> Moment {
    let mut best: Option<(u64, Moment)> = None;
    for _ in 0..SAMPLES {
        let before = tsc::read();
        let value = reference.read();
        let tsc = tsc::read();
        let timer = apic::counted();
        let after = tsc::read();
        let took = after.wrapping_sub(before);
        if best.is_none_or(|(least, _)| took < least) {
            best = Some((
                took,
                Moment {
                    reference: value,
                    tsc,
                    timer,
                },
            ));
        }
    }
    best.map(|(_, moment)| moment)
        .expect("there is more than one sample")
}

/// Measures both rates and chooses what stands in for the time-stamp counter.
///
/// # Context
/// Boot, on the boot CPU, after [`apic::init`]. Spins: 5 ms.
pub fn run() {
    let hpet = Hpet::start().map(Source::Hpet);
    let pm_timer = acpi::tables().pm_timer.map(Source::PmTimer);
    let source = hpet.or(pm_timer);
    let reference = source.map_or(Reference::Pit, Reference::Counter);
    if let Reference::Pit = reference {
        pit::start();
    }
    apic::start_counting();
    let start = moment(reference);
    let window = WINDOW_NS * reference.hz() / 1_000_000_000;
    let elapsed = |now: u64| {
        counter::extend(start.reference, now, reference.mask()).wrapping_sub(start.reference)
    };
    let moved = (0..MAX_POLLS).any(|_| elapsed(reference.read()) >= window);
    let end = moment(reference);
    pit::silence();

    let ns =
        (u128::from(elapsed(end.reference)) * 1_000_000_000 / u128::from(reference.hz())) as u64;
    let ticks = end.tsc.wrapping_sub(start.tsc);
    if !moved || ns == 0 {
        panic!("the reference clock stands still");
    }
    tsc::calibrated(ticks, ns);
    clock::calibrated([hpet, pm_timer].into_iter().flatten());
    apic::calibrated(end.timer.wrapping_sub(start.timer), ns);
}
