//! Address spaces: maps, protection, the break, sharing, growth.

mod advice;
mod files;
mod layout;
mod limits;
mod locking;
mod mapping;
mod moving;
mod protection;

use crate::cases::parts;
use crate::sys::*;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE};

parts![
    mapping, moving, protection, layout, advice, locking, files, limits
];

const RW: i32 = PROT_READ | PROT_WRITE;
const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

fn dies(body: impl FnOnce()) -> bool {
    end_of(body) == Ended::Signal(libc::SIGSEGV)
}
