//! gzip, as a stream through a window of 32 KiB.
//!
//! Source: RFC 1952 (gzip), RFC 1951 (deflate, done by `miniz_oxide`).

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// Why a gzip file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The header is damaged or asks for another method than deflate.
    Header,
    /// The data ends early.
    Truncated,
    /// The compressed data makes no sense.
    Data,
    /// The checksum or the length at the end does not fit.
    Checksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Header => "bad header",
            Error::Truncated => "data ends early",
            Error::Data => "bad compressed data",
            Error::Checksum => "checksum does not fit",
        })
    }
}

/// Tells whether a gzip file begins here.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Returns the length of the header.
fn header(bytes: &[u8]) -> Result<usize, Error> {
    const HCRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let fixed = bytes.get(..10).ok_or(Error::Truncated)?;
    let flags = fixed[3];
    if !is_gzip(fixed) || fixed[2] != 8 || flags & 0xe0 != 0 {
        return Err(Error::Header);
    }
    let mut at = 10;
    if flags & EXTRA != 0 {
        let length = bytes.get(at..at + 2).ok_or(Error::Truncated)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let rest = bytes.get(at..).ok_or(Error::Truncated)?;
            at += rest.iter().position(|&b| b == 0).ok_or(Error::Truncated)? + 1;
        }
    }
    if flags & HCRC != 0 {
        at += 2;
    }
    if at > bytes.len() {
        Err(Error::Truncated)
    } else {
        Ok(at)
    }
}

/// Decompresses the gzip member at the start of `bytes`, hands the data to `out` piece by piece, and returns how long it was.
///
/// # Errors
/// [`super::Error::Gzip`], and what `out` answers.
pub fn inflate(
    bytes: &[u8],
    out: &mut dyn FnMut(&[u8]) -> Result<(), super::Error>,
) -> Result<usize, super::Error> {
    const WINDOW: usize = 32 * 1024;
    let gzip = super::Error::Gzip;
    let mut at = header(bytes).map_err(gzip)?;
    let mut state = Box::new(DecompressorOxide::new());
    let mut window = vec![0; WINDOW];
    let mut pos = 0;
    let mut crc = Crc32::new();
    let mut length = 0u32;
    loop {
        let (status, used, made) = decompress(&mut state, &bytes[at..], &mut window, pos, 0);
        at += used;
        let piece = &window[pos..pos + made];
        crc.update(piece);
        length = length.wrapping_add(made as u32);
        out(piece)?;
        pos = (pos + made) % WINDOW;
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                return Err(gzip(Error::Truncated));
            }
            _ => return Err(gzip(Error::Data)),
        }
    }
    let Some((tail, _)) = bytes[at..].as_chunks::<4>().0.split_first_chunk::<2>() else {
        return Err(gzip(Error::Truncated));
    };
    if u32::from_le_bytes(tail[0]) != crc.finish() || u32::from_le_bytes(tail[1]) != length {
        return Err(gzip(Error::Checksum));
    }
    Ok(at + 8)
}

/// The checksum of gzip.
pub(crate) struct Crc32(u32);

impl Crc32 {
    const TABLE: [[u32; 256]; 4] = {
        let mut table = [[0; 256]; 4];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 != 0 {
                    crc >> 1 ^ 0xedb8_8320
                } else {
                    crc >> 1
                };
                bit += 1;
            }
            table[0][byte] = crc;
            byte += 1;
        }
        let mut slice = 1;
        while slice < 4 {
            let mut byte = 0;
            while byte < 256 {
                let before = table[slice - 1][byte];
                table[slice][byte] = before >> 8 ^ table[0][(before & 0xff) as usize];
                byte += 1;
            }
            slice += 1;
        }
        table
    };

    pub(crate) fn new() -> Crc32 {
        Crc32(!0)
    }

    /// Adds bytes, four at a time.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let table = &Self::TABLE;
        let (words, tail) = bytes.as_chunks::<4>();
        let mut crc = self.0;
        for word in words {
            crc ^= u32::from_le_bytes(*word);
            crc = table[3][(crc & 0xff) as usize]
                ^ table[2][(crc >> 8 & 0xff) as usize]
                ^ table[1][(crc >> 16 & 0xff) as usize]
                ^ table[0][(crc >> 24) as usize];
        }
        for byte in tail {
            crc = table[0][((crc ^ u32::from(*byte)) & 0xff) as usize] ^ crc >> 8;
        }
        self.0 = crc;
    }

    pub(crate) fn finish(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        let mut crc = Crc32::new();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
    }
}
