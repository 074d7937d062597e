//! Open files under way in messages, and those that nobody can receive any more.
//!
//! A socket that is sent through another and closed lives on in the message. Where messages hold each other's sockets in a
//! cycle, no reference count ever falls to zero. So each socket under way is counted here, and as a socket is closed while any is,
//! those whose only references are messages are traced: what no socket outside can reach is taken apart.
//!
//! The registry's lock is held for the whole trace, and to send or receive files, so what is traced stays as it is. It comes before the
//! sockets' inboxes.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::UnixSocket;
use crate::file::File;
use crate::socket::SocketFile;
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// The file of a socket under way.
struct Entry {
    file: Weak<File>,
    /// In how many messages, counted as often as it is in each.
    count: usize,
}

#[derive(Default)]
struct Registry {
    /// By the address of the file.
    sockets: BTreeMap<usize, Entry>,
    /// How many files each user has under way.
    users: BTreeMap<u32, usize>,
}

static REGISTRY: SpinLock<Registry> = SpinLock::new(Registry {
    sockets: BTreeMap::new(),
    users: BTreeMap::new(),
});
/// How many sockets are in the registry, so that closing one looks for garbage only where there can be any.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);

fn address(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}

/// Returns the local socket that `file` stands for.
fn socket_of(file: &File) -> Option<&UnixSocket> {
    crate::socket::downcast(SocketFile::of(file).ok()?)
}

/// Files under way in one message.
pub(super) struct InFlight {
    files: Vec<Arc<File>>,
    uid: u32,
}

impl InFlight {
    /// Sends `files`, counted for the user `uid`.
    ///
    /// # Errors
    /// `ETOOMANYREFS` if that user has more than `limit` under way already.
    pub(super) fn new(files: Vec<Arc<File>>, uid: u32, limit: u64) -> Result<InFlight> {
        let mut registry = REGISTRY.lock();
        let of_user = registry.users.entry(uid).or_insert(0);
        if *of_user as u64 > limit {
            return Err(Errno::ETOOMANYREFS);
        }
        *of_user += files.len();
        for file in files.iter().filter(|f| socket_of(f).is_some()) {
            let entry = registry.sockets.entry(address(file)).or_insert_with(|| {
                SOCKETS.fetch_add(1, Ordering::Relaxed);
                Entry {
                    file: Arc::downgrade(file),
                    count: 0,
                }
            });
            entry.count += 1;
        }
        Ok(InFlight { files, uid })
    }

    /// Receives the files.
    pub(super) fn land(mut self) -> Vec<Arc<File>> {
        self.unregister();
        core::mem::take(&mut self.files)
    }

    /// Returns the files, for a receiver that only looks.
    pub(super) fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    fn unregister(&self) {
        let mut registry = REGISTRY.lock();
        let Registry { sockets, users } = &mut *registry;
        if let Some(of_user) = users.get_mut(&self.uid) {
            *of_user -= self.files.len();
            if *of_user == 0 {
                users.remove(&self.uid);
            }
        }
        let mut gone = Vec::new();
        for file in self.files.iter().filter(|f| socket_of(f).is_some()) {
            let Some(entry) = sockets.get_mut(&address(file)) else {
                continue;
            };
            entry.count -= 1;
            if entry.count == 0 {
                gone.push(sockets.remove(&address(file)));
                SOCKETS.fetch_sub(1, Ordering::Relaxed);
            }
        }
        drop(registry);
    }
}

impl Drop for InFlight {
    /// The message was not received: its files are closed.
    fn drop(&mut self) {
        if !self.files.is_empty() {
            self.unregister();
            close_each(core::mem::take(&mut self.files));
        }
    }
}

/// Files to close, and whether somebody is at it.
static CLOSING: SpinLock<(Vec<Arc<File>>, bool)> = SpinLock::new((Vec::new(), false));

/// Closes files one after the other, without recursion: a socket that goes may hold messages with files of their own.
fn close_each(files: Vec<Arc<File>>) {
    {
        let mut closing = CLOSING.lock();
        closing.0.extend(files);
        if core::mem::replace(&mut closing.1, true) {
            return;
        }
    }
    loop {
        let file = CLOSING.with(|closing| {
            let file = closing.0.pop();
            closing.1 = file.is_some();
            file
        });
        let Some(file) = file else { return };
        drop(file);
    }
}

/// A socket that only messages refer to.
struct Candidate {
    file: Arc<File>,
    /// References from outside the candidates' messages.
    outside: usize,
    reachable: bool,
}

/// No collection runs.
const IDLE: u8 = 0;
/// One runs.
const RUNNING: u8 = 1;
/// One runs, and is to run once more.
const AGAIN: u8 = 2;

/// Called as a socket is closed: looks for garbage, every so often if there is much to look through.
pub(super) fn socket_closed() {
    static CLOSED: AtomicUsize = AtomicUsize::new(0);
    let sockets = SOCKETS.load(Ordering::Relaxed);
    if sockets > 0 && CLOSED.fetch_add(1, Ordering::Relaxed) >= sockets / 16 {
        CLOSED.store(0, Ordering::Relaxed);
        collect();
    }
}

/// Takes apart what only messages in a cycle refer to.
///
/// What it closes may call this again, and so may other CPUs; then the one that runs looks once more.
pub(super) fn collect() {
    static STATE: AtomicU8 = AtomicU8::new(IDLE);
    if STATE
        .try_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            Some(if state == IDLE { RUNNING } else { AGAIN })
        })
        .is_ok_and(|before| before != IDLE)
    {
        return;
    }
    loop {
        collect_once();
        let left = STATE.try_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            Some(if state == AGAIN { RUNNING } else { IDLE })
        });
        if left != Ok(AGAIN) {
            return;
        }
    }
}

fn collect_once() {
    let mut garbage = Vec::new();
    let held = {
        let registry = REGISTRY.lock();
        let mut candidates = candidates(&registry);
        trace(&mut candidates);
        for candidate in candidates.values().filter(|c| !c.reachable) {
            if let Some(socket) = socket_of(&candidate.file) {
                socket.take_messages(&mut garbage);
            }
        }
        candidates
    };
    drop(garbage);
    close_each(held.into_values().map(|c| c.file).collect());
}

fn candidates(registry: &Registry) -> BTreeMap<usize, Candidate> {
    let mut candidates = BTreeMap::new();
    for (at, entry) in &registry.sockets {
        if entry.file.strong_count() == entry.count
            && let Some(file) = entry.file.upgrade()
        {
            candidates.insert(
                *at,
                Candidate {
                    file,
                    outside: entry.count,
                    reachable: false,
                },
            );
        }
    }
    candidates
}

/// Marks the candidates that can be reached from outside.
fn trace(candidates: &mut BTreeMap<usize, Candidate>) {
    let held: Vec<(usize, Vec<usize>)> = candidates
        .iter()
        .map(|(at, c)| {
            let mut inside = Vec::new();
            if let Some(socket) = socket_of(&c.file) {
                socket.each_in_flight(&mut |files| {
                    inside.extend(files.files.iter().map(address));
                });
            }
            (*at, inside)
        })
        .collect();
    for at in held.iter().flat_map(|(_, inside)| inside) {
        if let Some(candidate) = candidates.get_mut(at) {
            candidate.outside = candidate.outside.saturating_sub(1);
        }
    }
    let mut reached: Vec<usize> = Vec::new();
    for (at, candidate) in candidates.iter_mut() {
        if candidate.outside > 0 {
            candidate.reachable = true;
            reached.push(*at);
        }
    }
    while let Some(at) = reached.pop() {
        let Ok(nth) = held.binary_search_by_key(&at, |(at, _)| *at) else {
            continue;
        };
        for inner in &held[nth].1 {
            if let Some(candidate) = candidates.get_mut(inner)
                && !core::mem::replace(&mut candidate.reachable, true)
            {
                reached.push(*inner);
            }
        }
    }
}
