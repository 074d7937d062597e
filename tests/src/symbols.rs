//! Fills the symbol table that the kernel reads its backtraces with into a finished image.
//!
//! The format is described in `kernel/src/symbols.rs`. The linker script reserves the section `.ksyms` for it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

const SECTION: &str = ".ksyms";
/// An address further behind the start of a function is not in it.
const MAX_FUNCTION: u64 = 1 << 16;
const MAGIC: &[u8; 8] = b"WAKESYM1";
/// Lengths to cut names to, until the table fits.
const NAME_LIMITS: [usize; 6] = [200, 120, 90, 64, 48, 32];

/// Fills the table of the image at `path`; an image without the section stays as it is.
///
/// # Errors
/// When the file is no ELF, or its functions do not fit in the section.
pub fn fill(path: &Path) -> Result<()> {
    let mut data = std::fs::read(path)?;
    let file = object::File::parse(&*data).context("the image is no object file")?;
    let Some(section) = file.section_by_name(SECTION) else {
        return Ok(());
    };
    let Some((offset, size)) = section.file_range() else {
        return Ok(());
    };
    let functions = functions(&file);
    let size = usize::try_from(size)?;
    let Some(table) = NAME_LIMITS
        .iter()
        .map(|limit| encode(&functions, *limit))
        .find(|table| table.len() <= size)
    else {
        bail!(
            "{} symbols do not fit in the {size} bytes of {SECTION}",
            functions.len()
        );
    };
    let offset = usize::try_from(offset)?;
    data[offset..offset + size].fill(0);
    data[offset..offset + table.len()].copy_from_slice(&table);
    std::fs::write(path, data)?;
    Ok(())
}

/// The functions of the image by address, with readable names.
fn functions(file: &object::File<'_>) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text || symbol.address() == 0 {
            continue;
        }
        if let Ok(name) = symbol.name() {
            // The alternate form leaves out the hash.
            let name = format!("{:#}", rustc_demangle::demangle(name));
            found.entry(symbol.address()).or_insert(name);
        }
    }
    found
}

/// The functions of an image, for reports about its addresses.
#[derive(Debug)]
pub struct Functions(BTreeMap<u64, String>);

impl Functions {
    /// Those of the image at `path`.
    ///
    /// # Errors
    /// When the file is no ELF.
    pub fn read(path: &Path) -> Result<Self> {
        let data = std::fs::read(path)?;
        let file = object::File::parse(&*data).context("the image is no object file")?;
        Ok(Self(functions(&file)))
    }

    /// The address, with the function that it is in.
    #[must_use]
    pub fn describe(&self, at: u64) -> String {
        match self.0.range(..=at).next_back() {
            Some((start, name)) if at - start < MAX_FUNCTION => {
                format!("{at:#x} {name}+{:#x}", at - start)
            }
            _ => format!("{at:#x}"),
        }
    }
}

/// The table for `functions`, with names cut to `name_limit` bytes.
fn encode(functions: &BTreeMap<u64, String>, name_limit: usize) -> Vec<u8> {
    let base = functions.keys().next().copied().unwrap_or(0);
    let near = |at: u64| u32::try_from(at - base).ok();
    let (mut starts, mut names_at, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (start, name) in functions {
        // The image lies within 2 GiB; what does not is no function of it.
        let Some(start) = near(*start) else { continue };
        starts.extend_from_slice(&start.to_le_bytes());
        let at = u32::try_from(names.len()).expect("names stay far below 4 GiB");
        names_at.extend_from_slice(&at.to_le_bytes());
        names.extend_from_slice(cut(name, name_limit).as_bytes());
        names.push(0);
    }
    let count = u32::try_from(starts.len() / 4).expect("fewer than 2^32 functions");
    let length = u32::try_from(names.len()).expect("names stay far below 4 GiB");
    let mut table = MAGIC.to_vec();
    table.extend_from_slice(&base.to_le_bytes());
    table.extend_from_slice(&count.to_le_bytes());
    table.extend_from_slice(&length.to_le_bytes());
    table.extend(starts);
    table.extend(names_at);
    table.extend(names);
    table
}

/// The end of `name` matters more than its start: that is where the function's own name is.
fn cut(name: &str, limit: usize) -> &str {
    let mut from = name.len().saturating_sub(limit);
    while !name.is_char_boundary(from) {
        from += 1;
    }
    &name[from..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::symbols::SymbolTable;

    #[test]
    fn the_kernel_reads_what_the_runner_writes() {
        let functions = BTreeMap::from([
            (0xffff_ffff_8010_0000, "kernel::boot::start".to_string()),
            (0xffff_ffff_8010_0040, "kernel::panic".to_string()),
        ]);
        let mut bytes = encode(&functions, 200);
        bytes.resize(4096, 0);
        let table = SymbolTable::parse(&bytes).expect("the formats agree");
        assert_eq!(table.len(), 2);
        assert_eq!(
            table.lookup(0xffff_ffff_8010_0044),
            Some(("kernel::panic", 4))
        );
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(cut("kernel::mm::fault", 5), "fault");
        assert_eq!(cut("äö", 3), "ö");
        assert_eq!(cut("short", 10), "short");
    }

    #[test]
    fn a_file_that_is_no_image_is_refused() {
        let path = std::env::temp_dir().join(format!("wake-no-image-{}", std::process::id()));
        std::fs::write(&path, "text").expect("the temporary directory is writable");
        assert!(fill(&path).is_err());
        std::fs::remove_file(&path).expect("it was just written");
    }
}
