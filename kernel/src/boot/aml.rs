//! The one thing that is read out of AML: how to switch the machine off.
//!
//! There is no interpreter. `\_S5_` is by its nature a constant package, so a bounded search for its definition does.
//!
//! Source: ACPI 6.5, 7.4.2.6 (`\_S5`), 20.2.4 (package lengths), 20.2.5.4 (packages).

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;

/// The sleep types that `\_S5_` names for the PM1a and PM1b control registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepType {
    /// `SLP_TYP` of PM1a.
    pub pm1a: u8,
    /// `SLP_TYP` of PM1b.
    pub pm1b: u8,
}

/// Finds the definition of `\_S5_` in a definition block.
pub fn find_s5(aml: &[u8]) -> Option<SleepType> {
    let named = |at: usize| match at.checked_sub(1).map(|before| aml[before]) {
        Some(b'\\') => at >= 2 && aml[at - 2] == NAME_OP,
        Some(byte) => byte == NAME_OP,
        None => false,
    };
    let mut starts = (0..aml.len().saturating_sub(4))
        .filter(|&at| aml[at] == b'_' && aml[at..].starts_with(b"_S5_"));
    starts.find_map(|at| {
        if named(at) {
            package(&aml[at + 4..])
        } else {
            None
        }
    })
}

/// Reads the first two elements of a package of constants.
fn package(aml: &[u8]) -> Option<SleepType> {
    let (&PACKAGE_OP, rest) = aml.split_first()? else {
        return None;
    };
    // The top two bits of the first byte say how many more bytes the length has.
    let length_bytes = 1 + usize::from(*rest.first()? >> 6);
    let (&elements, rest) = rest.get(length_bytes..)?.split_first()?;
    let (pm1a, rest) = constant(rest)?;
    let pm1b = if elements >= 2 {
        constant(rest)?.0
    } else {
        pm1a
    };
    // Three bits of a register.
    (pm1a < 8 && pm1b < 8).then_some(SleepType { pm1a, pm1b })
}

/// Reads an integer constant and returns its lowest byte and what follows.
fn constant(aml: &[u8]) -> Option<(u8, &[u8])> {
    let (&op, rest) = aml.split_first()?;
    let len = match op {
        0x00 | 0x01 => return Some((op, rest)),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    Some((*rest.first()?, rest.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_qemus_definition() {
        // From QEMU's pc DSDT: Name (_S5, Package (0x04) { 0x00, 0x00, 0x00, 0x00 })
        let aml = b"\x10\x10\\\x00\x08_S5_\x12\x06\x04\x00\x00\x00\x00";
        assert_eq!(find_s5(aml), Some(SleepType { pm1a: 0, pm1b: 0 }));
    }

    #[test]
    fn reads_prefixed_constants_and_long_lengths() {
        let aml = b"xx_S5_ \x08\\_S5_\x12\x4a\x00\x04\x0a\x05\x0b\x07\x00\x00\x00";
        assert_eq!(find_s5(aml), Some(SleepType { pm1a: 5, pm1b: 7 }));
    }

    #[test]
    fn a_reference_is_no_definition() {
        assert_eq!(find_s5(b"_S5_\x12\x06\x04\x00\x00"), None);
        assert_eq!(find_s5(b"\x70_S5_\x12\x06\x04\x00\x00"), None);
    }

    #[test]
    fn every_truncation_is_refused_or_right() {
        let aml = b"\x08_S5_\x12\x0a\x04\x0a\x05\x0a\x05\x00\x00";
        for len in 0..aml.len() {
            let found = find_s5(&aml[..len]);
            assert_eq!(found.is_some(), len >= 12, "{len}");
        }
    }
}
