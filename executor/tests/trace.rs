//! What a tracer is told. One test, since there is one tracer for the whole process.
#![cfg(not(loom))]

use std::sync::Mutex;

use executor::{
    Executor, Fifo, NoHooks, cpu,
    irq::IrqEvent,
    spawn,
    trace::{self, Traced, Tracer},
};

/// Writes down what happens to tasks of one name.
struct Scribe(Mutex<Vec<String>>);

impl Scribe {
    fn note(&self, what: &str, task: Traced<'_>) {
        if task.name() == "traced" {
            assert_eq!(task.cpu(), cpu::id());
            self.0.lock().unwrap().push(what.into());
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Tracer for Scribe {
    fn spawned(&self, task: Traced<'_>) {
        self.note("spawned", task);
    }
    fn woken(&self, task: Traced<'_>) {
        self.note("woken", task);
    }
    fn poll_begins(&self, task: Traced<'_>) {
        self.note("begins", task);
    }
    fn poll_ends(&self, task: Traced<'_>) {
        self.note("ends", task);
    }
    fn ended(&self, task: Traced<'_>) {
        self.note("ended", task);
    }
}

static SCRIBE: Scribe = Scribe(Mutex::new(Vec::new()));
static TRACER: &dyn Tracer = &SCRIBE;
static EVENT: IrqEvent = IrqEvent::new();

#[test]
fn a_tracer_is_told_of_a_tasks_life_while_it_is_set() {
    let ex = Executor::new(Fifo::new());
    let live = || {
        let task = spawn("traced", async { EVENT.wait().await });
        ex.run_until_idle(&NoHooks);
        EVENT.raise();
        ex.run_until_idle(&NoHooks);
        assert!(task.is_finished());
    };
    live();
    assert_eq!(SCRIBE.take(), Vec::<String>::new());
    trace::set(Some(&TRACER));
    live();
    assert_eq!(
        SCRIBE.take(),
        [
            "spawned", "begins", "ends", "woken", "begins", "ends", "ended"
        ]
    );
    let aborted = spawn("traced", std::future::pending::<()>());
    aborted.abort();
    ex.run_until_idle(&NoHooks);
    assert_eq!(SCRIBE.take(), ["spawned", "begins", "ends", "ended"]);
    trace::set(None);
    live();
    assert_eq!(SCRIBE.take(), Vec::<String>::new());
}
