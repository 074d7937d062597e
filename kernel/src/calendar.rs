//! Civil dates and seconds since 1970.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A date and time of day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// Year, in full.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second.
    pub second: u8,
}

impl DateTime {
    /// Seconds since the start of 1970.
    ///
    /// Counts days by eras of 400 years that start in March, so that the leap day comes last.
    ///
    /// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
    pub fn to_unix(self) -> i64 {
        let month = i64::from(self.month);
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year =
            (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * DAY
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }

    /// The date and time `seconds` after the start of 1970.
    ///
    /// Source: as [`DateTime::to_unix`], `civil_from_days`.
    pub fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY) + 719_468;
        let rest = seconds.rem_euclid(DAY);
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
            month: month as u8,
            day: day as u8,
            hour: (rest / 3600) as u8,
            minute: (rest % 3600 / 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// Day of the week, 0 for Sunday, and of the year, from 0.
    pub fn days(self) -> (u8, u16) {
        let day = self.to_unix().div_euclid(DAY);
        let new_year = Self {
            month: 1,
            day: 1,
            ..self
        };
        let first = new_year.to_unix().div_euclid(DAY);
        ((day + 4).rem_euclid(7) as u8, (day - first) as u16)
    }

    /// Whether every field is in its range; the day is checked against 31 only.
    pub fn is_plausible(self) -> bool {
        (1970..=2199).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 61
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: i32, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> i64 {
        DateTime {
            year,
            month,
            day,
            hour,
            minute,
            second,
        }
        .to_unix()
    }

    #[test]
    fn known_instants() {
        assert_eq!(at(1970, 1, 1, 0, 0, 0), 0);
        assert_eq!(at(2000, 2, 29, 12, 0, 0), 951_825_600);
        assert_eq!(at(2038, 1, 19, 3, 14, 8), 1 << 31);
        assert_eq!(at(2100, 3, 1, 0, 0, 0), 4_107_542_400);
    }

    #[test]
    fn days_follow_each_other() {
        let months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut expected = 0;
        for year in 1970..2200 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, &days) in (1..).zip(&months) {
                for day in 1..=days + u8::from(leap && month == 2) {
                    assert_eq!(at(year, month, day, 0, 0, 0), expected);
                    expected += DAY;
                }
            }
        }
    }

    #[test]
    fn seconds_become_the_date_they_came_from() {
        for seconds in (-86_400 * 800_000..86_400 * 800_000).step_by(86_400 * 17 + 3607) {
            assert_eq!(DateTime::from_unix(seconds).to_unix(), seconds);
        }
        // 29 February 2024, a Thursday.
        let leap = DateTime::from_unix(1_709_164_800);
        assert_eq!((leap.month, leap.day, leap.days()), (2, 29, (4, 59)));
    }
}
