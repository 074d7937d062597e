//! What programs ask for, and what becomes of the rate.

use super::leap::DAY;
use super::*;
use proptest::prelude::*;

const ONE: u64 = 1 << 32;

fn asked(modes: u32) -> Timex {
    Timex {
        modes,
        ..Timex::default()
    }
}

/// How far the rate is from one, in parts per billion.
fn ppb(ntp: &Ntp) -> i64 {
    ((i128::from(ntp.rate()) - i128::from(ONE)) * 1_000_000_000 / i128::from(ONE)) as i64
}

#[test]
fn nobody_has_asked_for_anything() {
    let mut ntp = Ntp::default();
    let mut timex = asked(0);
    assert_eq!(ntp.adjust(&mut timex, 0), TIME_ERROR);
    assert_eq!(
        (timex.status, timex.tick, timex.tolerance),
        (sta::UNSYNC, 10_000, 32_768_000)
    );
    assert_eq!(
        (timex.maxerror, timex.freq, ntp.rate()),
        (16_000_000, 0, ONE)
    );
    assert!(!ntp.is_active());
}

#[test]
fn a_frequency_is_kept_and_bounded() {
    let mut ntp = Ntp::default();
    let mut timex = Timex {
        freq: 100 << 16,
        ..asked(adj::FREQUENCY)
    };
    ntp.adjust(&mut timex, 0);
    assert_eq!(timex.freq, 100 << 16);
    assert!((ppb(&ntp) - 100_000).abs() <= 1);
    let mut timex = Timex {
        freq: -(900 << 16),
        ..asked(adj::FREQUENCY)
    };
    ntp.adjust(&mut timex, 0);
    assert_eq!(timex.freq, -(500 << 16));
    assert!((ppb(&ntp) + 500_000).abs() <= 1);
}

#[test]
fn a_tick_changes_the_rate() {
    let mut ntp = Ntp::default();
    let mut timex = Timex {
        tick: 10_100,
        ..asked(adj::TICK)
    };
    assert_eq!(timex.check(true, 0), Ok(()));
    ntp.adjust(&mut timex, 0);
    assert!((ppb(&ntp) - 10_000_000).abs() <= 1);
    assert_eq!(
        Timex {
            tick: 8999,
            ..asked(adj::TICK)
        }
        .check(true, 0),
        Err(Refused::Invalid)
    );
}

#[test]
fn adjtime_slews_half_a_millisecond_a_second_and_tells_what_is_left() {
    let mut ntp = Ntp::default();
    let mut timex = Timex {
        offset: 1200,
        ..asked(adj::ADJTIME | adj::OFFSET)
    };
    ntp.adjust(&mut timex, 0);
    assert_eq!(timex.offset, 0);
    let mut gained = 0;
    for second in 1..=3 {
        ntp.second(second);
        gained += ppb(&ntp);
    }
    assert!((gained - 1_200_000).abs() <= 3, "{gained}");
    ntp.second(4);
    assert_eq!(ppb(&ntp), 0);
    let mut timex = asked(adj::ADJTIME | adj::OFFSET | adj::NANO);
    assert_eq!(timex.check(false, 0), Ok(()));
    ntp.adjust(&mut timex, 4);
    assert_eq!(timex.offset, 0);
}

#[test]
fn an_offset_is_worked_off_by_shares() {
    let mut ntp = Ntp::default();
    let modes = adj::STATUS | adj::OFFSET | adj::NANO | adj::TIMECONST;
    let mut timex = Timex {
        status: sta::PLL | sta::FREQHOLD,
        offset: 1_000_000,
        ..asked(modes)
    };
    ntp.adjust(&mut timex, 1000);
    assert_eq!((timex.offset, timex.freq), (1_000_000, 0));
    let mut gained = 0;
    for second in 1001..1400 {
        ntp.second(second);
        gained += ppb(&ntp);
    }
    assert!((gained - 1_000_000).abs() < 1000, "{gained}");
}

#[test]
fn a_second_is_inserted_at_the_end_of_the_day() {
    let mut ntp = Ntp::default();
    let mut timex = Timex {
        status: sta::PLL | sta::INS,
        maxerror: 0,
        ..asked(adj::STATUS | adj::MAXERROR)
    };
    ntp.adjust(&mut timex, 0);
    let mut leaps = Vec::new();
    for now in DAY - 10..DAY + 5 {
        if ntp.second(now) != Leap::None {
            leaps.push(now);
        }
    }
    assert_eq!(leaps, [DAY]);
    assert_eq!((ntp.tai(), ntp.state), (1, State::Waiting));
    let mut timex = Timex {
        status: sta::PLL,
        ..asked(adj::STATUS)
    };
    ntp.adjust(&mut timex, DAY + 5);
    ntp.second(DAY + 6);
    assert_eq!(ntp.adjust(&mut asked(0), DAY + 6), State::Ok as u64);
}

#[test]
fn who_may_not_set_the_clock_may_look() {
    assert_eq!(asked(0).check(false, 0), Ok(()));
    assert_eq!(asked(adj::STATUS).check(false, 0), Err(Refused::Permission));
    assert_eq!(asked(adj::ADJTIME).check(true, 0), Err(Refused::Invalid));
    assert_eq!(
        asked(adj::ADJTIME | adj::OFFSET).check(false, 0),
        Err(Refused::Permission)
    );
    assert_eq!(
        asked(adj::SETOFFSET).check(true, 1_000_000),
        Err(Refused::Invalid)
    );
    assert_eq!(
        asked(adj::SETOFFSET | adj::NANO).check(true, 1_000_000),
        Ok(())
    );
}

proptest! {
    #[test]
    fn whatever_is_asked_the_rate_stays_within_bounds(
        asked in prop::collection::vec((any::<u32>(), any::<i64>(), any::<i32>(), 9000..=11_000_i64), 0..20)
    ) {
        let mut ntp = Ntp::default();
        let mut now = 1_000_000;
        for (modes, value, status, tick) in asked {
            let mut timex = Timex {
                modes, offset: value, freq: value, maxerror: value, esterror: value, status, constant: value, tick,
                ..Timex::default()
            };
            if timex.check(true, 0).is_ok() {
                ntp.adjust(&mut timex, now);
            }
            now += value.rem_euclid(5000);
            ntp.second(now);
            // A tenth by the tick, half a second in one by the offset, and then some.
            prop_assert!(ppb(&ntp).abs() <= 400_000_000);
        }
    }
}
