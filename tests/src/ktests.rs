//! The in-kernel tests of an image: their names, read out of the ELF file.

use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSegment};

/// The size of a `kernel::ktest::KernelTest`, which begins with the pointer and length of its name.
const DESCRIPTOR_LEN: usize = 64;

/// The names of the image's in-kernel tests, in the order in which the kernel runs them, without the crate's name.
///
/// # Errors
/// When the file is no kernel image or its descriptors make no sense.
pub fn names(image: &Path) -> Result<Vec<String>> {
    let data = std::fs::read(image)?;
    let file = object::File::parse(&*data).context("the image is no object file")?;
    let Some(section) = file.section_by_name(".ktests") else {
        return Ok(Vec::new());
    };
    let descriptors = section.data()?;
    if descriptors.len() % DESCRIPTOR_LEN != 0 {
        bail!("the section .ktests holds something else than test descriptors");
    }
    let mut names = Vec::new();
    for descriptor in descriptors.chunks(DESCRIPTOR_LEN) {
        let word = |at: usize| {
            let bytes = descriptor[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        let name = bytes_at(&file, word(0), word(8)).context("a test's name lies in the image")?;
        let name = std::str::from_utf8(name).context("a test's name is text")?;
        let name = name.split_once("::").map_or(name, |(_, rest)| rest);
        names.push(name.to_string());
    }
    Ok(names)
}

/// `len` bytes of the loaded image at a virtual address.
fn bytes_at<'a>(file: &object::File<'a>, address: u64, len: u64) -> Option<&'a [u8]> {
    file.segments()
        .find_map(|segment| segment.data_range(address, len).ok().flatten())
}
