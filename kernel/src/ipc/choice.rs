//! Which of the messages in a queue a receiver wants.

/// Which message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first.
    Any,
    /// The first of this type.
    Kind(i64),
    /// The first of another type.
    NotKind(i64),
    /// The first of the lowest type, which is at most this.
    AtMost(i64),
    /// The one at this place.
    At(i64),
}

impl Wanted {
    /// As msgrcv(2) says it.
    pub fn new(kind: i64, except: bool, copy: bool) -> Wanted {
        match kind {
            _ if copy => Wanted::At(kind),
            0 => Wanted::Any,
            kind if kind < 0 => Wanted::AtMost(kind.checked_neg().unwrap_or(i64::MAX)),
            kind if except => Wanted::NotKind(kind),
            kind => Wanted::Kind(kind),
        }
    }

    /// The place of the message among these types.
    pub fn find(self, kinds: impl Iterator<Item = i64>) -> Option<usize> {
        let mut kinds = kinds.enumerate();
        match self {
            Wanted::Any => kinds.next(),
            Wanted::Kind(wanted) => kinds.find(|(_, kind)| *kind == wanted),
            Wanted::NotKind(unwanted) => kinds.find(|(_, kind)| *kind != unwanted),
            Wanted::AtMost(most) => kinds
                .filter(|(_, kind)| *kind <= most)
                .min_by_key(|(at, kind)| (*kind, *at)),
            Wanted::At(place) => kinds.find(|(at, _)| *at as i64 == place),
        }
        .map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_chosen_as_the_type_says() {
        let kinds = [5, 3, 9, 3, 1];
        let find = |kind, except| Wanted::new(kind, except, false).find(kinds.into_iter());
        assert_eq!(find(0, false), Some(0));
        assert_eq!(find(3, false), Some(1));
        assert_eq!(find(7, false), None);
        assert_eq!(find(5, true), Some(1));
        assert_eq!(find(-4, false), Some(4));
        assert_eq!(find(-3, true), Some(4));
        assert_eq!(find(i64::MIN, false), Some(4));
        let at = |place| Wanted::new(place, false, true).find(kinds.into_iter());
        assert_eq!((at(2), at(5), at(-1)), (Some(2), None, None));
        let lowest = Wanted::AtMost(4).find([5, 3, 3].into_iter());
        assert_eq!(lowest, Some(1));
    }
}
