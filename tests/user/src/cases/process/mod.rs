//! Processes, threads, groups, sessions, credentials, limits.

mod forking;
mod futexes;
mod identity;
mod rights;
mod threads;

use crate::cases::parts;

parts![forking, threads, futexes, rights, identity];
