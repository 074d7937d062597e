//! A machine whose stacks are threads, and whose interrupts come at the points that a model asks for.
//!
//! A CPU is an [`Area`] that passes from thread to thread as its loop passes from stack to stack. A *point* is the place in
//! front of a use of an atomic with interrupts let in: [`at_every_point`] tries a model with an interrupt at each, the way
//! out of which suspends the poll, as the kernel's does. That another CPU asks for one ([`Platform::pend`]) makes one come at
//! the next point. What the machine trusts the executor with, it checks: that a place is resumed once and only after
//! it was left, and that nothing stands on a stack that is given back.

#![allow(unsafe_code, reason = "what runs on a stack trusts the machine")]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr::{self, NonNull},
};

use executor::{
    Executor, Fifo, Hooks, JoinHandle, Place, Platform, Saver, cpu,
    model::{self, Area},
    platform, spawn_on,
    suspend::{self, Stack, To},
    time::Instant,
};
use loom::thread::{self, Thread};

use crate::machine::model_within;

/// What the stacks of the model's threads are made of.
const STACK: usize = 0x4000;

/// How a machine is made.
#[derive(Clone, Copy)]
pub struct Make {
    /// Its CPUs.
    pub cpus: usize,
    /// The stacks of its pool.
    pub stacks: usize,
    /// At which points an interrupt comes, counted over all CPUs.
    pub at: [usize; 2],
}

/// Never.
pub const NEVER: usize = usize::MAX;

struct Cpu {
    area: Area,
    executor: &'static Executor<Fifo>,
    /// An interrupt waits to be let in.
    pending: Cell<bool>,
    /// The thread that halts here.
    halts: RefCell<Option<Thread>>,
}

/// A stack: a thread, once there is need for it.
#[derive(Default)]
struct Known {
    thread: Option<Thread>,
    /// The CPU that goes on here, until the thread has seen it.
    goes_on: Option<Area>,
    /// The thread waits for that.
    waits: bool,
    /// Something is on it: a loop, a poll.
    stood_on: bool,
    ready: bool,
}

impl Known {
    /// Has the thread look again, if it waits for its CPU: it may wait for something else.
    fn unpark(&mut self) {
        if std::mem::take(&mut self.waits)
            && let Some(thread) = &self.thread
        {
            thread.unpark();
        }
    }
}

pub struct Machine {
    make: Make,
    cpus: Vec<Cpu>,
    stacks: RefCell<Vec<Known>>,
    /// The stacks that were left, by what stands for the stack pointer.
    places: RefCell<HashMap<usize, usize>>,
    left: Cell<usize>,
    points: Cell<usize>,
    /// How often there is none for a fresh loop from now on, whatever the pool has.
    refuse: Cell<usize>,
    /// Futures that are not dropped.
    live: Cell<usize>,
    over: Cell<bool>,
    threads: RefCell<Vec<thread::JoinHandle<()>>>,
}

std::thread_local! {
    // Of all threads of the model, which are coroutines of one of the host's.
    static MACHINE: Cell<Option<&'static Machine>> = const { Cell::new(None) };
    /// The most points that a run has had.
    static MOST: Cell<usize> = const { Cell::new(0) };
}

loom::thread_local! {
    static STANDS_ON: Cell<usize> = Cell::new(usize::MAX);
}

fn machine() -> &'static Machine {
    MACHINE.get().expect("the model has made one")
}

fn stands_on() -> usize {
    STANDS_ON.with(Cell::get)
}

/// The end of a stack's use by way of its thread's unwinding: it was left for good, or the run is over.
struct Left;

impl Machine {
    /// Makes a machine, whose CPU 0 the calling thread is to play.
    pub fn boot(make: Make) -> &'static Self {
        let cpu = |number| {
            let area = Area::new();
            area.enter();
            cpu::set_cpu(number as u32);
            Cpu {
                area,
                executor: Box::leak(Box::new(Executor::new(Fifo::new()))),
                pending: Cell::new(false),
                halts: RefCell::new(None),
            }
        };
        let cpus: Vec<_> = (0..make.cpus).map(cpu).collect();
        // A loop stands on one for each CPU.
        let stacks = (0..make.cpus + make.stacks).map(|id| Known {
            ready: id >= make.cpus,
            ..Known::default()
        });
        let machine: &'static Self = Box::leak(Box::new(Self {
            make,
            stacks: RefCell::new(stacks.collect()),
            cpus,
            places: RefCell::default(),
            left: Cell::new(0),
            points: Cell::new(0),
            refuse: Cell::new(0),
            live: Cell::new(0),
            over: Cell::new(false),
            threads: RefCell::default(),
        }));
        machine.cpus[0].area.enter();
        MACHINE.set(Some(machine));
        model::on_point(Some(interrupt));
        register();
        machine
    }

    /// Spawns a task, whose end the machine waits for.
    pub fn spawn<T: Send + 'static>(
        &'static self,
        cpu: u32,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.live.set(self.live.get() + 1);
        let live = Live;
        spawn_on(cpu, "modelled", async move {
            let _live = live;
            future.await
        })
    }

    /// Runs the CPUs until no task is left. A wake-up that is lost is a deadlock, which the model finds.
    pub fn run(&'static self) {
        self.stacks.borrow_mut()[0].thread = Some(thread::current());
        for (id, cpu) in self.cpus.iter().enumerate() {
            self.go_on_at(id, cpu.area);
        }
        stack(0);
        // A stack is begun by another, so none is missed.
        while let Some(thread) = { self.threads.borrow_mut().pop() } {
            thread.join().unwrap();
        }
        assert!(
            self.places.borrow().is_empty(),
            "every poll was gone on with"
        );
        let stacks = self.stacks.borrow();
        let ready = stacks.iter().filter(|stack| stack.ready).count();
        assert_eq!(ready, self.make.stacks, "stacks come back to the pool");
    }

    /// Has the pool give nothing the next `times` times.
    pub fn refuse(&self, times: usize) {
        self.refuse.set(times);
    }

    /// How often polls were suspended, and how often there was no stack for that.
    pub fn suspended_and_refused(&self) -> (u64, u64) {
        let latencies = self.cpus.iter().map(|cpu| cpu.executor.shared().latency());
        latencies.fold((0, 0), |(suspended, refused), latency| {
            (suspended + latency.suspensions, refused + latency.refusals)
        })
    }

    /// Has the thread of stack `id` play that CPU.
    fn go_on_at(&'static self, id: usize, area: Area) {
        {
            let stack = &mut self.stacks.borrow_mut()[id];
            stack.goes_on = Some(area);
            stack.stood_on = true;
            stack.unpark();
            if stack.thread.is_some() {
                return;
            }
        }
        let builder = thread::Builder::new().stack_size(STACK);
        let thread = builder.spawn(move || stack(id)).unwrap();
        self.stacks.borrow_mut()[id].thread = Some(thread.thread().clone());
        self.threads.borrow_mut().push(thread);
    }

    /// Waits until a CPU goes on here. False if none will.
    fn wait_for_cpu(&self, id: usize) -> bool {
        loop {
            let area = self.stacks.borrow_mut()[id].goes_on.take();
            if let Some(area) = area {
                area.enter();
                return true;
            }
            if self.over.get() {
                return false;
            }
            self.stacks.borrow_mut()[id].waits = true;
            thread::park();
        }
    }

    fn end(&self) {
        self.over.set(true);
        for cpu in 0..self.cpus.len() {
            self.interrupt(cpu);
        }
        self.stacks.borrow_mut().iter_mut().for_each(Known::unpark);
    }

    /// Has an interrupt come at the CPU's next point.
    fn interrupt(&self, cpu: usize) {
        let cpu = &self.cpus[cpu];
        cpu.pending.set(true);
        if let Some(thread) = cpu.halts.take() {
            thread.unpark();
        }
    }

    fn halt(&self, cpu: usize) {
        let cpu = &self.cpus[cpu];
        while !cpu.pending.take() {
            cpu.halts.replace(Some(thread::current()));
            thread::park();
        }
    }
}

/// Counts a future until it is dropped.
struct Live;

impl Drop for Live {
    fn drop(&mut self) {
        let live = &machine().live;
        live.set(live.get() - 1);
    }
}

/// Makes the calling thread one of the machine's; it plays no CPU of it.
pub fn register() {
    static INTERRUPTS: &dyn Platform = &Interrupts;
    platform::register(&INTERRUPTS);
}

/// Has an interrupt come at the next point of this CPU.
pub fn tick() {
    machine().interrupt(cpu::id() as usize);
}

/// The life of a stack.
fn stack(id: usize) {
    register();
    STANDS_ON.with(|on| on.set(id));
    let machine = machine();
    while machine.wait_for_cpu(id) {
        if machine.over.get() {
            return;
        }
        if machine.stacks.borrow()[id].ready {
            panic!("a stack of the pool is begun");
        }
        // On a fresh CPU nobody has left a stack, which raises the count.
        if cpu::preempt_word() == 0 {
            suspend::adopt_stack(&Cpus, known(id));
            cpu::irq_disable();
            core::mem::forget(cpu::preempt_disable());
        }
        let end = catch_unwind(AssertUnwindSafe(|| {
            suspend::run(&Cpus, cpu::irq_enable, idle)
        }));
        if let Err(payload) = end
            && !(&*payload as &dyn Any).is::<Left>()
        {
            resume_unwind(payload);
        }
    }
}

/// Outside any poll, with nothing to do.
fn idle() {
    let machine = machine();
    cpu::irq_disable();
    let executor = suspend::Machine::executor(&Cpus);
    if executor.prepare_idle() {
        if machine.over.get() || machine.live.get() == 0 {
            machine.end();
            resume_unwind(Box::new(Left));
        }
        machine.halt(cpu::id() as usize);
        executor.end_idle();
    }
    cpu::irq_enable();
}

/// The handler of [`model::on_point`]: an interrupt, if one comes here.
fn interrupt() {
    let machine = machine();
    if stands_on() == usize::MAX || machine.over.get() {
        return;
    }
    let point = machine.points.get();
    machine.points.set(point + 1);
    MOST.set(MOST.get().max(point + 1));
    let asked = machine.cpus[cpu::id() as usize].pending.take();
    if !asked && !machine.make.at.contains(&point) {
        return;
    }
    cpu::irq_disable();
    cpu::hardirq_enter();
    cpu::set_need_resched();
    cpu::hardirq_exit();
    if cpu::is_preemption_due() {
        suspend::suspend(&Cpus);
    }
    cpu::irq_enable();
}

/// The machine, as all its threads know it.
struct Interrupts;

impl Platform for Interrupts {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn pend(&self, cpu: u32) {
        machine().interrupt(cpu as usize);
    }

    fn set_timer(&self, _deadline: Instant) {}

    fn preempt(&self) {
        if stands_on() != usize::MAX {
            cpu::irq_disable();
            suspend::suspend(&Cpus);
            cpu::irq_enable();
        }
    }
}

/// The machine, as the executor knows it.
pub struct Cpus;

impl Hooks for Cpus {}

fn known(id: usize) -> Stack {
    Stack(NonNull::new(ptr::without_provenance_mut(id + 1)).unwrap())
}

// SAFETY: threads take turns as stacks would; what the executor is trusted with is checked.
unsafe impl suspend::Machine<Fifo> for Cpus {
    fn executor(&self) -> &'static Executor<Fifo> {
        machine().cpus[cpu::id() as usize].executor
    }

    fn take_stack(&self, _urgent: bool) -> Option<Stack> {
        let machine = machine();
        if let Some(left) = machine.refuse.get().checked_sub(1) {
            machine.refuse.set(left);
            return None;
        }
        let mut stacks = machine.stacks.borrow_mut();
        let id = stacks.iter().position(|stack| stack.ready)?;
        stacks[id].ready = false;
        Some(known(id))
    }

    fn give_stack(&self, stack: Stack) {
        let id = stack.0.addr().get() - 1;
        let stack = &mut machine().stacks.borrow_mut()[id];
        assert!(!stack.stood_on, "a stack is given back that is stood on");
        assert!(!stack.ready, "a stack is given back twice");
        stack.ready = true;
    }

    fn switch(&self, from: &Saver, to: To) {
        let machine = machine();
        let me = stands_on();
        let area = machine.cpus[cpu::id() as usize].area;
        // What stands for a stack pointer is new each time, so that an old one is told.
        machine.left.set(machine.left.get() + 1);
        let place = machine.left.get() * 16;
        machine.places.borrow_mut().insert(place, me);
        let to = match to {
            To::Place(place) => take_place(place),
            To::Fresh(id) => id.addr().get() - 1,
        };
        from.store(ptr::without_provenance_mut(place));
        machine.go_on_at(to, area);
        assert!(machine.wait_for_cpu(me), "a suspended poll is gone on with");
    }

    fn leave(&self, to: Place) -> ! {
        let machine = machine();
        let area = machine.cpus[cpu::id() as usize].area;
        let to = take_place(to);
        machine.stacks.borrow_mut()[stands_on()].stood_on = false;
        // The guards that the loop still holds are of no CPU.
        Area::new().enter();
        core::mem::forget(cpu::preempt_disable());
        cpu::irq_disable();
        machine.go_on_at(to, area);
        resume_unwind(Box::new(Left))
    }
}

/// The stack that was left there, which is gone on with once.
fn take_place(place: Place) -> usize {
    let left = machine().places.borrow_mut().remove(&place.as_ptr().addr());
    left.expect("a poll is resumed once, after it was left")
}

/// What is tried, again and again.
pub trait Model: Fn(Make) + Copy + Send + Sync + 'static {}

impl<F: Fn(Make) + Copy + Send + Sync + 'static> Model for F {}

/// Tries every interleaving of `f` with up to `preemptions` preemptions, with an interrupt at each point in turn.
pub fn at_every_point(preemptions: usize, make: Make, f: impl Model) {
    let mut point = 0;
    MOST.set(0);
    while point <= MOST.get() {
        let at = [point, NEVER];
        model_within(preemptions, move || f(Make { at, ..make }));
        point += 1;
    }
    model::on_point(None);
}

/// As [`at_every_point`], with two interrupts, at each pair of points no more than `apart` from each other. For one
/// CPU, which has one interleaving.
pub fn at_every_pair_of_points(apart: usize, make: Make, f: impl Model) {
    let mut point = 0;
    MOST.set(0);
    while point <= MOST.get() {
        for second in point + 1..=point + apart {
            let at = [point, second];
            model_within(0, move || f(Make { at, ..make }));
        }
        point += 1;
    }
    model::on_point(None);
}
