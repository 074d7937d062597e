//! One CPU in virtual time: what the run queue decides, against what theory promises.

use sched::{Node, Outcome, Policy, RunQueue, Wake};

type Entry = (Box<Node<usize>>, usize);

/// A CPU whose tasks run and sleep by the clock of the test.
struct Cpu {
    queue: RunQueue<usize>,
    now: u64,
    /// The handle of the task that runs; its node is with the queue.
    running: Option<usize>,
    ran: Vec<u64>,
}

impl Cpu {
    fn new(policies: &[Policy]) -> Self {
        let mut cpu = Cpu {
            queue: RunQueue::new(),
            now: 1_000,
            running: None,
            ran: vec![0; policies.len()],
        };
        for (i, policy) in policies.iter().enumerate() {
            cpu.wake(Node::new(*policy), i, Wake::New);
        }
        cpu
    }

    fn wake(&mut self, node: Box<Node<usize>>, id: usize, why: Wake) {
        if self.queue.enqueue(node, id, why, self.now) {
            self.put(Outcome::Preempted);
        }
    }

    /// Lets `ns` pass with the scheduler in charge; every task wants to run all the time.
    fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        while self.now < end {
            self.dispatch();
            let Some(id) = self.running else {
                self.now = end;
                return;
            };
            let step = self
                .queue
                .slice_left_ns()
                .unwrap_or(u64::MAX)
                .min(end - self.now);
            self.now += step;
            self.ran[id] += step;
            if self.queue.tick(self.now) {
                self.put(Outcome::Preempted);
                self.dispatch();
            }
        }
    }

    fn put(&mut self, outcome: Outcome) {
        let id = self.running.take().expect("a turn ends that has begun");
        let node = self.queue.end_turn(outcome, self.now);
        self.queue.requeue(node, id, outcome, self.now);
    }

    fn dispatch(&mut self) {
        if self.running.is_none() {
            self.running = self.queue.pick(self.now);
        }
    }

    fn sleep_running(&mut self) -> Entry {
        let id = self.running.take().expect("a task runs");
        (self.queue.end_turn(Outcome::Sleeps, self.now), id)
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn equal_tasks_get_equal_time() {
    let mut cpu = Cpu::new(&[Policy::default(); 5]);
    cpu.run(10 * SECOND);
    for ran in &cpu.ran {
        assert!(ran.abs_diff(2 * SECOND) <= 2 * 3_000_000, "{:?}", cpu.ran);
    }
}

#[test]
fn shares_follow_the_weights_within_one_percent() {
    let nices = [-20, -10, -5, 0, 0, 5, 10, 19];
    let policies: Vec<Policy> = nices.iter().map(|&nice| Policy::Normal { nice }).collect();
    let mut cpu = Cpu::new(&policies);
    cpu.run(100 * SECOND);
    let total: u64 = policies.iter().map(|p| p.weight()).sum();
    for (policy, ran) in policies.iter().zip(&cpu.ran) {
        let ideal = 100 * u128::from(SECOND) * u128::from(policy.weight()) / u128::from(total);
        let error = u128::from(*ran).abs_diff(ideal);
        assert!(
            error <= ideal / 100 + 6_000_000,
            "{policy:?} ran {ran} for {ideal}"
        );
    }
}

#[test]
fn service_never_lags_the_fluid_server_by_more_than_a_slice() {
    // EEVDF bounds the lag of a task by its request, here one slice (3 ms); one more for the one in service.
    let mut cpu = Cpu::new(&[Policy::default(); 4]);
    let start = cpu.now;
    for _ in 0..3000 {
        cpu.run(1_000_000);
        let ideal = (cpu.now - start) / 4;
        for ran in &cpu.ran {
            assert!(
                ran.abs_diff(ideal) <= 2 * 3_000_000,
                "{:?} against {ideal}",
                cpu.ran
            );
        }
    }
}

#[test]
fn a_sleeper_is_served_soon_and_gains_nothing_by_sleeping() {
    let mut cpu = Cpu::new(&[Policy::default(); 3]);
    cpu.run(SECOND);
    // Task 0 sleeps and wakes again and again; it may never get more than its third.
    let mut sleeper = None;
    for _ in 0..2000 {
        match sleeper.take() {
            Some((node, id)) => cpu.wake(node, id, Wake::Event),
            None if matches!(cpu.running, Some(0)) => sleeper = Some(cpu.sleep_running()),
            None => {}
        }
        cpu.run(1_700_000);
    }
    let total: u64 = cpu.ran.iter().sum();
    assert!(cpu.ran[0] <= total / 3 + 10_000_000, "{:?}", cpu.ran);
    assert!(cpu.ran[0] >= total / 10, "{:?}", cpu.ran);
}

#[test]
fn idle_policy_gets_only_what_is_left() {
    let mut cpu = Cpu::new(&[Policy::Idle { nice: 0 }, Policy::default()]);
    cpu.run(10 * SECOND);
    assert!(cpu.ran[0] < SECOND / 20, "{:?}", cpu.ran);
}

#[test]
fn realtime_runs_before_fair_and_by_priority() {
    let mut cpu = Cpu::new(&[
        Policy::default(),
        Policy::Fifo { priority: 10 },
        Policy::Fifo { priority: 20 },
    ]);
    cpu.queue
        .realtime_mut()
        .set_bandwidth(sched::rt::bandwidth::UNLIMITED, SECOND);
    cpu.run(SECOND);
    assert_eq!(cpu.ran, [0, 0, SECOND]);
    let high = cpu.sleep_running();
    cpu.run(SECOND);
    assert_eq!(cpu.ran, [0, SECOND, SECOND]);
    cpu.wake(high.0, high.1, Wake::Event);
    cpu.run(SECOND);
    assert_eq!(cpu.ran[2], 2 * SECOND);
    // The preempted FIFO task is still at the head of its priority.
    let newcomer = Node::new(Policy::Fifo { priority: 10 });
    cpu.ran.push(0);
    cpu.wake(newcomer, 3, Wake::New);
    cpu.dispatch();
    cpu.sleep_running();
    cpu.run(1000);
    assert!(matches!(cpu.running, Some(1)));
}

#[test]
fn round_robin_takes_turns_of_a_hundred_milliseconds() {
    let mut cpu = Cpu::new(&[Policy::RoundRobin { priority: 5 }; 2]);
    cpu.run(100_000_000);
    assert_eq!(cpu.ran, [100_000_000, 0]);
    cpu.run(300_000_000);
    assert_eq!(cpu.ran, [200_000_000, 200_000_000]);
}

#[test]
fn yield_lets_the_other_run() {
    let mut cpu = Cpu::new(&[Policy::default(); 2]);
    cpu.run(1000);
    let mut last = usize::MAX;
    for _ in 0..10 {
        cpu.dispatch();
        let id = cpu.running.expect("a task runs");
        assert_ne!(id, last);
        last = id;
        cpu.put(Outcome::Yielded);
        cpu.run(1000);
    }
}

#[test]
fn a_waiting_task_can_be_taken_out_by_its_handle() {
    let mut cpu = Cpu::new(&[Policy::default(); 3]);
    cpu.run(1000);
    assert_eq!(cpu.queue.len(), 2);
    let (node, id) = cpu
        .queue
        .take_where(|item, _| *item == 2, cpu.now)
        .expect("task 2 waits");
    assert_eq!((id, cpu.queue.len()), (2, 1));
    cpu.wake(node, id, Wake::Migrated);
    assert_eq!(cpu.queue.len() + usize::from(cpu.running.is_some()), 3);
}
