//! Static places for tasks: free again as soon as the task in them is gone, wherever that is.
#![allow(
    unsafe_code,
    reason = "the room's uses are told to the model by a cell that threads share"
)]

use executor::{
    EnqueueKind, Executor, NoHooks, Policy, RunList, Runnable, Running, SpawnErrorKind, Spawner,
    TaskSlot, time::Instant,
};
use loom::{cell::UnsafeCell, thread};

use crate::machine::{boot, join_machine, model};

/// Stands for the memory of the place, whose uses the model does not see itself.
struct Room(UnsafeCell<()>);

// SAFETY: whether its uses are one after the other is what the model finds out.
unsafe impl Sync for Room {}

loom::lazy_static! {
    static ref ROOM: Room = Room(UnsafeCell::new(()));
}

/// A task's data: made and dropped where the task is put into the place and taken out.
struct Placed;

impl Default for Placed {
    fn default() -> Self {
        ROOM.0.with_mut(|_| ());
        Self
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        ROOM.0.with_mut(|_| ());
    }
}

/// First come, first served.
struct InTurn(RunList<Self>);

impl Policy for InTurn {
    type Entity = Placed;
    const TIMED: bool = false;
    const REFRESHES: bool = false;

    fn enqueue(
        &mut self,
        task: Runnable<Self>,
        _kind: EnqueueKind,
        _current: Option<&mut Running<Self>>,
        _now: Instant,
    ) -> bool {
        self.0.push_back(task);
        true
    }

    fn pick(&mut self, _now: Instant) -> Option<Runnable<Self>> {
        self.0.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The last reference is dropped on this CPU or the other, while this one looks for room.
fn a_place_is_taken_again() {
    let interrupts = boot();
    let ex = Executor::new(InTurn(RunList::new()));
    let slot: &'static TaskSlot<4096> = Box::leak(Box::new(TaskSlot::new()));
    let spawn = || slot.try_spawn(Spawner::new("comes and goes"), async {});
    let handle = spawn().unwrap();
    let task = handle.task().clone();
    handle.detach();
    let other = thread::spawn(move || {
        join_machine(interrupts);
        drop(task);
    });
    while ex.run_once(&NoHooks) {}
    let second = spawn().map_err(|e| e.kind);
    other.join().unwrap();
    if let Err(kind) = &second {
        assert_eq!(*kind, SpawnErrorKind::Occupied);
        let third = spawn().map(drop).map_err(|e| e.kind);
        assert_eq!(third, Ok(()), "nobody refers to the first");
    }
    while ex.run_once(&NoHooks) {}
    drop(second);
    assert!(!slot.is_taken());
}

#[test]
fn a_place_is_free_when_the_last_reference_goes() {
    model(a_place_is_taken_again);
}

mistake!(
    mutant_free_place_too_soon,
    FreePlaceTooSoon,
    model(a_place_is_taken_again)
);
