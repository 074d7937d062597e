//! A line: its chip, who answers it, and where it stands.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use executor::cpu;
use executor::sync::{SpinLock, SpinLockIrq, SpinLockIrqGuard};
use executor::time::Instant;

use super::action::{self, Action, Chain, Flags};
use super::chip::{Chip, CpuSet, Trigger};
use super::flow::{self, Flow};
use super::poll;
use super::request::IrqError;
use super::spurious;

/// As many as can share a line: each has a bit.
const MAX_SHARING: usize = 64;
/// As many CPUs as interrupts are counted for.
const CPUS: usize = 64;

/// A line.
pub struct Descriptor {
    number: u32,
    /// How often it was handled on each CPU. Written by that CPU only.
    counts: [AtomicU64; CPUS],
    /// How often tasks have answered.
    answered: AtomicU32,
    state: SpinLockIrq<State>,
    /// Held while the chain is replaced; taken before the state's lock.
    changing: SpinLock<()>,
}

/// What a line's lock guards.
pub(super) struct State {
    pub(super) chip: Option<Arc<dyn Chip>>,
    pub(super) hw: u32,
    pub(super) flow: Flow,
    trigger: Trigger,
    chain: Arc<Chain>,
    /// How often it is disabled; a line without actions is, once.
    depth: u32,
    pub(super) masked: bool,
    /// An interrupt came that was not handled.
    pub(super) pending: bool,
    /// The actions are running, on some CPU.
    pub(super) in_progress: bool,
    /// Bits of the actions whose tasks have not answered yet.
    pub(super) oneshot: u64,
    spurious: spurious::Counts,
    /// Shut off since nobody answered it.
    stuck: bool,
    /// CPUs it may go to, and the one that it goes to.
    affinity: CpuSet,
    effective: u32,
}

impl State {
    fn new() -> Self {
        Self {
            chip: None,
            hw: 0,
            flow: Flow::Bad,
            trigger: Trigger::Edge,
            chain: Arc::new(Vec::new()),
            depth: 1,
            masked: true,
            pending: false,
            in_progress: false,
            oneshot: 0,
            spurious: spurious::Counts::default(),
            stuck: false,
            affinity: CpuSet::MAX,
            effective: 0,
        }
    }

    /// Tells the chip something.
    pub(super) fn tell(&self, what: impl FnOnce(&dyn Chip, u32)) {
        if let Some(chip) = &self.chip {
            what(&**chip, self.hw);
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.depth == 0 && !self.chain.is_empty()
    }

    pub(super) fn may_run(&self) -> bool {
        self.enabled() && !self.in_progress
    }

    pub(super) fn mask(&mut self) {
        if !self.masked {
            self.masked = true;
            self.tell(|chip, hw| chip.mask(hw));
        }
    }

    /// Lets the line through again, if it is enabled, masked, and `when` agrees.
    pub(super) fn unmask_if(&mut self, when: impl FnOnce(&Self) -> bool) {
        if self.masked && self.enabled() && when(self) {
            self.masked = false;
            self.tell(|chip, hw| chip.unmask(hw));
        }
    }

    /// Whether an action keeps the line masked until its task has answered.
    pub(super) fn holds_until_answered(&self) -> bool {
        self.chain.iter().any(|action| action.oneshot_bit != 0)
    }
}

impl Descriptor {
    /// A line that nobody has set up.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            counts: [const { AtomicU64::new(0) }; CPUS],
            answered: AtomicU32::new(0),
            state: SpinLockIrq::new(State::new()),
            changing: SpinLock::new(()),
        }
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives the line a chip, which knows it as `hw`, and a flow. It starts out masked.
    ///
    /// # Context
    /// Task or boot, before its first action.
    pub fn set_up(&self, chip: Arc<dyn Chip>, hw: u32, flow: Flow, trigger: Trigger) {
        let old = self.state.with(|state| {
            state.hw = hw;
            state.flow = flow;
            state.trigger = trigger;
            state.chip.replace(chip)
        });
        drop(old);
    }

    /// Takes the chip away, and forgets what was counted.
    ///
    /// # Errors
    /// [`IrqError::Busy`] if somebody still answers it.
    pub(super) fn tear_down(&self) -> Result<(), IrqError> {
        let fresh = State::new();
        let mut state = self.state.lock();
        if !state.chain.is_empty() {
            return Err(IrqError::Busy);
        }
        let old = core::mem::replace(&mut *state, fresh);
        drop(state);
        drop(old);
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Deals with an interrupt of this line.
    ///
    /// # Context
    /// Hard interrupt.
    #[inline]
    pub fn handle(&self) {
        flow::handle(self, self.state.lock());
    }

    /// Counts an interrupt that is handled.
    #[inline]
    pub(super) fn count(&self) {
        if let Some(count) = self.counts.get(cpu::id() as usize) {
            // Only this CPU writes it, and interrupts are off.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Runs the actions with the line's lock given back meanwhile, and judges what they answered.
    pub(super) fn run_actions<'a>(
        &'a self,
        mut state: SpinLockIrqGuard<'a, State>,
    ) -> SpinLockIrqGuard<'a, State> {
        state.pending = false;
        state.in_progress = true;
        let chain = state.chain.clone();
        drop(state);
        let (answer, waking) = action::ask(&chain, self.number);
        let mut state = self.state.lock();
        if waking != 0 {
            // Noted before the tasks are woken, so that an answer finds its bit.
            state.oneshot |= action::oneshot_bits(&chain, waking);
            drop(state);
            action::wake(&chain, waking);
            state = self.state.lock();
        }
        // Whoever replaced the chain meanwhile frees it, after this is over.
        drop(chain);
        state.in_progress = false;
        let answered = self.answered.load(Ordering::Relaxed);
        let now = || Instant::now().as_ns();
        if state.spurious.note(answer, answered, now) && !state.stuck {
            self.shut_off(&mut state);
        }
        state
    }

    /// Runs the action of a line that each CPU has for itself.
    pub(super) fn run_percpu(&self, state: SpinLockIrqGuard<'_, State>) {
        let chain = state.chain.clone();
        drop(state);
        let (_, waking) = action::ask(&chain, self.number);
        action::wake(&chain, waking);
    }

    /// Nobody answers: it would take all the CPU's time.
    #[cold]
    fn shut_off(&self, state: &mut State) {
        log::error!("irq {}: nobody cared", self.number);
        for action in state.chain.iter() {
            log::error!("irq {}: not from {}", self.number, action.name());
        }
        log::error!("Disabling IRQ #{}", self.number);
        state.stuck = true;
        state.depth += 1;
        state.mask();
        poll::start();
    }

    /// Shuts the line off as one that nobody answers, for a test of what comes then.
    #[cfg(feature = "ktest")]
    pub fn give_up(&self) {
        self.shut_off(&mut self.state.lock());
    }

    /// Asks those who answer the line, if it was shut off; it stays so. False if it is not.
    ///
    /// # Context
    /// Hard interrupt.
    pub(super) fn poll(&self) -> bool {
        let state = self.state.lock();
        if state.stuck && !state.in_progress {
            return self.run_actions(state).stuck;
        }
        state.stuck
    }

    /// Adds an action. The first one starts the line.
    ///
    /// # Errors
    /// [`IrqError::Busy`] if the others do not share the line with it; [`IrqError::NoIrq`] if the line has no chip;
    /// [`IrqError::Invalid`] for a task without [`Flags::ONESHOT`] on a chip that needs it.
    pub(super) fn add(&self, mut action: Action) -> Result<Arc<Action>, IrqError> {
        let _changing = self.changing.lock();
        let (chain, chip) = self
            .state
            .with(|state| (state.chain.clone(), state.chip.clone()));
        let chip = chip.ok_or(IrqError::NoIrq)?;
        let oneshot = action.flags.contains(Flags::ONESHOT);
        if action.handler.is_none() && !oneshot && !chip.oneshot_safe() {
            return Err(IrqError::Invalid);
        }
        let agrees = |other: &Arc<Action>| {
            let differ = other.flags ^ action.flags;
            action.flags.contains(Flags::SHARED)
                && !differ.intersects(Flags::SHARED | Flags::PERCPU | Flags::ONESHOT)
        };
        if !chain.iter().all(agrees) || chain.len() >= MAX_SHARING {
            return Err(IrqError::Busy);
        }
        if oneshot {
            let taken = chain.iter().fold(0, |bits, other| bits | other.oneshot_bit);
            action.oneshot_bit = 1 << (!taken).trailing_zeros();
        }
        let flags = action.flags;
        let action = Arc::new(action);
        let mut longer = Vec::new();
        longer
            .try_reserve_exact(chain.len() + 1)
            .map_err(|_| IrqError::NoMemory)?;
        longer.extend(chain.iter().cloned());
        longer.push(action.clone());
        self.replace_chain(longer);
        if chain.is_empty() {
            self.start(flags);
        }
        Ok(action)
    }

    /// Puts another chain in the place of the one there is, which is freed when no handler uses it.
    fn replace_chain(&self, chain: Chain) {
        let chain = Arc::new(chain);
        let old = self
            .state
            .with(|state| core::mem::replace(&mut state.chain, chain));
        self.synchronize();
        drop(old);
    }

    fn start(&self, flags: Flags) {
        let mut state = self.state.lock();
        state.oneshot = 0;
        state.pending = false;
        state.stuck = false;
        state.spurious = spurious::Counts::default();
        if flags.contains(Flags::NO_AUTOEN) {
            return;
        }
        state.depth = 0;
        state.masked = false;
        state.tell(|chip, hw| chip.startup(hw));
    }

    /// Takes an action away; the last one stops the line. Returns when no handler runs any more.
    pub(super) fn remove(&self, action: &Arc<Action>) {
        if action.flags.contains(Flags::PERCPU) {
            log::warn!("irq {}: every CPU's own, it stays", self.number);
            return;
        }
        action.gone.store(true, Ordering::Release);
        let _changing = self.changing.lock();
        let chain = self.state.with(|state| state.chain.clone());
        let others = chain.iter().filter(|other| !Arc::ptr_eq(other, action));
        self.replace_chain(others.cloned().collect());
        let mut state = self.state.lock();
        state.oneshot &= !action.oneshot_bit;
        if state.chain.is_empty() {
            state.depth = 1;
            state.masked = true;
            state.tell(|chip, hw| chip.shutdown(hw));
        } else {
            state.unmask_if(|state| state.oneshot == 0 && !state.in_progress);
        }
    }

    /// Waits until no handler of this line runs on another CPU.
    ///
    /// # Context
    /// Task. Spins: for as long as the handlers take.
    pub fn synchronize(&self) {
        debug_assert!(!cpu::in_hardirq(), "a handler would wait for itself");
        while self.state.with(|state| state.in_progress) {
            core::hint::spin_loop();
        }
    }

    /// Disables the line once more.
    pub(super) fn disable(&self) {
        // The chip is told when an interrupt comes, which is seldom.
        self.state.with(|state| state.depth += 1);
    }

    /// Takes one disabling back; with the last one, what came meanwhile happens. False if it was not disabled.
    pub(super) fn enable(&self) -> bool {
        let mut state = self.state.lock();
        if state.depth == 0 || state.chain.is_empty() {
            return false;
        }
        state.depth -= 1;
        if state.depth == 0 {
            state.stuck = false;
            state.unmask_if(|state| state.oneshot == 0);
            if core::mem::take(&mut state.pending) && state.trigger == Trigger::Edge {
                state.tell(|chip, hw| {
                    chip.retrigger(hw);
                });
            }
        }
        true
    }

    /// A task has answered for `action`: with the last one that was to, the line is let through again.
    pub(super) fn answer(&self, action: &Action) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if action.oneshot_bit == 0 {
            return;
        }
        let mut state = self.state.lock();
        if action.gone.load(Ordering::Acquire) {
            // The bit is taken away with it, and may be another's by now.
            return;
        }
        state.oneshot &= !action.oneshot_bit;
        // A handler that runs at this moment looks at the bits when it is through.
        state.unmask_if(|state| state.oneshot == 0 && !state.in_progress);
    }

    /// Sends the line to one of `cpus` from now on.
    ///
    /// # Context
    /// Any.
    /// # Errors
    /// [`IrqError::NotSupported`] if the line cannot be moved; [`IrqError::Invalid`] if none of the CPUs is there.
    pub fn set_affinity(&self, cpus: CpuSet) -> Result<(), IrqError> {
        let mut state = self.state.lock();
        let fixed = Flags::NOBALANCING | Flags::PERCPU;
        if state
            .chain
            .iter()
            .any(|action| action.flags.intersects(fixed))
        {
            return Err(IrqError::NotSupported);
        }
        let chip = state.chip.as_ref().ok_or(IrqError::NoIrq)?;
        state.effective = chip.set_affinity(state.hw, cpus)?;
        state.affinity = cpus;
        Ok(())
    }

    /// Sends the line elsewhere if it goes to CPU `cpu`, which leaves: to another one of those it may go to, or if there is none,
    /// to any from now on.
    ///
    /// # Context
    /// Any, once nothing is [placed](crate::arch::smp::set_active) on that CPU any more.
    pub fn leave(&self, cpu: u32) {
        let mut state = self.state.lock();
        let percpu = |action: &Arc<Action>| action.flags.intersects(Flags::PERCPU);
        if state.effective != cpu || state.chain.iter().any(percpu) {
            return;
        }
        let Some(chip) = state.chip.clone() else {
            return;
        };
        for cpus in [state.affinity, CpuSet::MAX] {
            if let Ok(effective) = chip.set_affinity(state.hw, cpus) {
                state.effective = effective;
                state.affinity = cpus;
                break;
            }
        }
    }

    /// How often it was handled on CPU `cpu`.
    pub fn count_on(&self, cpu: u32) -> u64 {
        let count = self.counts.get(cpu as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How often it was handled.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Where it stands, for reports.
    ///
    /// # Context
    /// Task.
    pub fn snapshot(&self) -> Snapshot {
        // Cloned so that nothing is allocated under the lock.
        let (chain, chip, mut snapshot) = self.state.with(|state| {
            let snapshot = Snapshot {
                chip: state.chip.as_ref().map(|chip| chip.name()),
                hw: state.hw,
                flow: state.flow,
                trigger: state.trigger,
                actions: Vec::new(),
                depth: state.depth,
                masked: state.masked,
                stuck: state.stuck,
                spurious: state.spurious,
                affinity: state.affinity,
                effective: state.effective,
            };
            (state.chain.clone(), state.chip.clone(), snapshot)
        });
        snapshot.actions = chain.iter().map(|action| action.name.clone()).collect();
        drop((chain, chip));
        snapshot
    }
}

/// Where a line stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its chip's name, if it has one.
    pub chip: Option<&'static str>,
    /// The chip's number for it.
    pub hw: u32,
    /// How it is handled.
    pub flow: Flow,
    /// How the device signals.
    pub trigger: Trigger,
    /// Who answers.
    pub actions: Vec<String>,
    /// How often it is disabled.
    pub depth: u32,
    /// Held off at the chip.
    pub masked: bool,
    /// Shut off since nobody answered.
    pub stuck: bool,
    /// Unanswered interrupts.
    pub spurious: spurious::Counts,
    /// CPUs it may go to.
    pub affinity: CpuSet,
    /// The CPU it goes to.
    pub effective: u32,
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
