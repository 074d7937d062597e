//! Processes, threads, groups, sessions, credentials, limits.

mod forking;
mod futexes;
mod identity;
mod limits;
mod rights;
mod sharing;
mod states;
mod threads;

use crate::cases::parts;

parts![
    forking, threads, futexes, rights, identity, states, sharing, limits
];
