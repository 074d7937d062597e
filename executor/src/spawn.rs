//! Making tasks.
#![allow(
    unsafe_code,
    reason = "a join handle is paired with its task's output type here"
)]

use core::{fmt, future::Future, ptr};

use crate::{
    cpu,
    join::JoinHandle,
    policy::{Policy, Urgency},
    raw::{
        CpuShared, LevelKind, Mobility, NewTask, TaskRef, allocate, allocate_entity, read_output,
    },
};

/// Why a task was not spawned; the future comes back with it.
pub struct SpawnError<F> {
    /// The future, unpolled.
    pub future: F,
    /// What was missing.
    pub kind: SpawnErrorKind,
}

/// What was missing for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnErrorKind {
    /// Memory for the task.
    NoMemory,
    /// An executor on the CPU asked for.
    NoExecutor,
    /// Room in the slot: another task is in it.
    Occupied,
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpawnError").field(&self.kind).finish()
    }
}

/// Says how a task is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Spawner {
    name: &'static str,
    cpu: Option<u32>,
    tag: *mut (),
    level: LevelKind,
    urgency: Urgency,
    mobility: Mobility,
}

impl Spawner {
    /// A task named `name`, on the CPU that spawns it.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            cpu: None,
            tag: ptr::null_mut(),
            level: LevelKind::Task,
            urgency: Urgency::Normal,
            mobility: Mobility::Asked,
        }
    }

    /// On CPU `cpu`.
    pub const fn cpu(mut self, cpu: u32) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// On another level of the CPU.
    pub(crate) const fn level(mut self, level: LevelKind) -> Self {
        self.level = level;
        self
    }

    /// At the place among others that this gives it. It counts for nothing where the policy's own data is given.
    pub const fn urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// To be woken on a CPU that sleeps, wherever that is, if its own is busy.
    pub const fn anywhere(mut self) -> Self {
        self.mobility = Mobility::Roams;
        self
    }

    /// With the word that [`TaskRef::tag`] gives.
    pub const fn tag(mut self, tag: *mut ()) -> Self {
        self.tag = tag;
        self
    }

    /// Allocates the task and queues it.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// The future comes back if there is no memory, or no executor on that CPU.
    pub fn try_spawn<F>(self, future: F) -> Result<JoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_by(future, allocate::<F>)
    }

    /// Allocates the task, which waits for [`Prepared::launch`]: whoever is to find it can be told before it runs.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// As [`Spawner::try_spawn`].
    pub fn try_prepare<F>(self, future: F) -> Result<Prepared<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.prepare_by(future, allocate::<F>)
    }

    /// As [`Spawner::try_spawn`], for an executor of policy `P`, with the policy's data of the task.
    ///
    /// # Errors
    /// As [`Spawner::try_spawn`]; the entity is dropped.
    /// # Panics
    /// If the executor has another policy.
    pub fn try_spawn_with<P, F>(
        self,
        entity: P::Entity,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>>
    where
        P: Policy,
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_by(future, |new, future| {
            allocate_entity::<P, F>(new, future, entity)
        })
    }

    /// On its CPU for ever.
    pub(crate) const fn pinned(mut self) -> Self {
        self.mobility = Mobility::Pinned;
        self
    }

    pub(crate) fn spawn_by<F: Future>(
        self,
        future: F,
        allocate: impl FnOnce(NewTask, F) -> Result<TaskRef, F>,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        self.prepare_by(future, allocate).map(Prepared::launch)
    }

    fn prepare_by<F: Future>(
        self,
        future: F,
        allocate: impl FnOnce(NewTask, F) -> Result<TaskRef, F>,
    ) -> Result<Prepared<F::Output>, SpawnError<F>> {
        let home = match (self.level, self.cpu) {
            (LevelKind::Task, None) => cpu::shared(),
            (level, cpu) => CpuShared::of_level(level, cpu.unwrap_or_else(cpu::id)),
        };
        let Some(home) = home else {
            return Err(SpawnError {
                future,
                kind: SpawnErrorKind::NoExecutor,
            });
        };
        let new = NewTask {
            name: self.name,
            home,
            tag: self.tag,
            join: true,
            urgency: self.urgency,
            mobility: self.mobility,
        };
        match allocate(new, future) {
            Ok(task) => {
                // SAFETY: made with a join claim just now, from an `F`.
                let handle = unsafe { JoinHandle::new(task, read_output::<F>()) };
                Ok(Prepared(Some(handle)))
            }
            Err(future) => Err(SpawnError {
                future,
                kind: SpawnErrorKind::NoMemory,
            }),
        }
    }
}

/// A task that does not run yet. Dropping it ends the task: its CPU drops the future.
#[must_use = "a task that is not launched is aborted"]
pub struct Prepared<T>(Option<JoinHandle<T>>);

impl<T> Prepared<T> {
    /// The task.
    pub fn task(&self) -> &TaskRef {
        match &self.0 {
            Some(handle) => handle.task(),
            None => unreachable!("a launched task is prepared no more"),
        }
    }

    /// Queues the task.
    ///
    /// # Context
    /// Task.
    pub fn launch(mut self) -> JoinHandle<T> {
        match self.0.take() {
            Some(handle) => {
                handle.task().launch();
                handle
            }
            None => unreachable!("a task is launched once"),
        }
    }
}

impl<T> Drop for Prepared<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.abort();
            handle.task().launch();
        }
    }
}

impl<T> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0).finish()
    }
}

/// Spawns `future` as a task of this CPU.
///
/// # Context
/// Task.
/// # Panics
/// Without memory or executor; see [`try_spawn`].
#[track_caller]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    try_spawn(name, future).expect("a task of fixed size is spawned by a running executor")
}

/// Spawns `future` as a task of CPU `cpu`.
///
/// # Panics
/// As [`spawn`].
#[track_caller]
pub fn spawn_on<F>(cpu: u32, name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Spawner::new(name)
        .cpu(cpu)
        .try_spawn(future)
        .expect("a task of fixed size is spawned on a running executor")
}

/// Spawns `future` as a task of this CPU.
///
/// # Errors
/// The future comes back if there is no memory, or no executor on this CPU.
pub fn try_spawn<F>(name: &'static str, future: F) -> Result<JoinHandle<F::Output>, SpawnError<F>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Spawner::new(name).try_spawn(future)
}

/// The task being polled on this CPU.
///
/// # Context
/// Any; in an interrupt, the task that was interrupted.
pub fn current() -> Option<TaskRef> {
    TaskRef::current()
}
