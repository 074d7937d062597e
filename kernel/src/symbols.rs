//! The symbol table of the running kernel: which function an address lies in.
//!
//! QEMU does not load an ELF's `.symtab`, so the linker script reserves a section, and the runner fills it in the
//! finished image (`tests/src/symbols.rs`). An image that nobody filled has zeros there, and no symbols.
//!
//! All numbers are little-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..8 | [`MAGIC`] |
//! | 8..16 | base address |
//! | 16..20 | number of symbols, *n* |
//! | 20..24 | length of the names in bytes |
//! | 24..24+4*n* | start of each symbol, from the base address, rising |
//! | ..+4*n* | where each symbol's name starts among the names |
//! | ..+length | the names, UTF-8, each ended by a zero byte |

/// The first eight bytes of a table that has been filled in.
pub const MAGIC: [u8; 8] = *b"WAKESYM1";

const HEADER_LEN: usize = 24;

/// A symbol table in memory.
#[derive(Clone, Copy, Debug)]
pub struct SymbolTable<'a> {
    base: u64,
    starts: &'a [u8],
    names_at: &'a [u8],
    names: &'a [u8],
}

impl<'a> SymbolTable<'a> {
    /// Reads the table at the start of `bytes`; what follows it is ignored.
    ///
    /// Gives `None` if there is no table, or one that does not fit in `bytes`.
    ///
    /// # Context
    /// Any.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        let base = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        let table_len = word(bytes, 4)?.checked_mul(4)?;
        let names_len = word(bytes, 5)?;
        let (starts, rest) = bytes.get(HEADER_LEN..)?.split_at_checked(table_len)?;
        let (names_at, rest) = rest.split_at_checked(table_len)?;
        let names = rest.get(..names_len)?;
        Some(Self {
            base,
            starts,
            names_at,
            names,
        })
    }

    /// The number of symbols.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() / 4
    }

    /// Whether there are no symbols.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The symbol that `address` lies in and the distance from its start: the last one that starts at or before it.
    ///
    /// # Context
    /// Any; a binary search, no allocation.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Option<(&'a str, u64)> {
        let target = address.checked_sub(self.base)?;
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if word(self.starts, middle)? as u64 <= target {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        let start = word(self.starts, index)? as u64;
        let name = self.names.get(word(self.names_at, index)?..)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        Some((core::str::from_utf8(&name[..end]).ok()?, target - start))
    }
}

/// The 32-bit word at `index`.
fn word(bytes: &[u8], index: usize) -> Option<usize> {
    let at = index.checked_mul(4)?;
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(symbols: &[(u32, &str)]) -> Vec<u8> {
        let mut names = Vec::new();
        let mut names_at = Vec::new();
        for (_, name) in symbols {
            names_at.extend_from_slice(&(names.len() as u32).to_le_bytes());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&0xffff_ffff_8000_0000_u64.to_le_bytes());
        bytes.extend_from_slice(&(symbols.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(names.len() as u32).to_le_bytes());
        for (start, _) in symbols {
            bytes.extend_from_slice(&start.to_le_bytes());
        }
        bytes.extend_from_slice(&names_at);
        bytes.extend_from_slice(&names);
        bytes
    }

    #[test]
    fn an_address_belongs_to_the_last_symbol_before_it() {
        let bytes = table(&[(0x10, "alpha"), (0x40, "beta"), (0x100, "gamma")]);
        let table = SymbolTable::parse(&bytes).expect("the table is well formed");
        let base = 0xffff_ffff_8000_0000;
        assert_eq!(table.lookup(base + 0xf), None);
        assert_eq!(table.lookup(base + 0x10), Some(("alpha", 0)));
        assert_eq!(table.lookup(base + 0x3f), Some(("alpha", 0x2f)));
        assert_eq!(table.lookup(base + 0x40), Some(("beta", 0)));
        assert_eq!(table.lookup(base + 0x5000), Some(("gamma", 0x4f00)));
        assert_eq!(table.lookup(0x1000), None);
    }

    #[test]
    fn no_truncation_of_a_table_panics() {
        let bytes = table(&[(0x10, "alpha"), (0x40, "beta")]);
        for len in 0..bytes.len() {
            assert!(SymbolTable::parse(&bytes[..len]).is_none(), "{len}");
        }
        assert!(SymbolTable::parse(&[0; 4096]).is_none());
    }

    #[test]
    fn wild_contents_give_no_symbol() {
        let mut bytes = table(&[(0x10, "alpha")]);
        bytes[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
        let table = SymbolTable::parse(&bytes).expect("the lengths still fit");
        assert_eq!(table.lookup(0xffff_ffff_8000_0020), None);
        bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(SymbolTable::parse(&bytes).is_none());
    }

    #[test]
    fn an_empty_table_has_no_symbols() {
        let bytes = table(&[]);
        let table = SymbolTable::parse(&bytes).expect("the table is well formed");
        assert!(table.is_empty());
        assert_eq!(table.lookup(u64::MAX), None);
    }
}
