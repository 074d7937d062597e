//! Tests that run inside the booted kernel, and the protocol in which they report.
//!
//! `#[kernel_test]` (crate `test-macros`) puts one [`KernelTest`] for each test function into the section `.ktests`; an
//! image with feature `ktest` runs them one after another in place of `/init`. The runner reads the second serial port:
//!
//! ```text
//! begin 3
//! test mm::buddy::tests::merges_buddies
//! ok mm::buddy::tests::merges_buddies
//! test mm::buddy::tests::needs_four_cpus
//! skip mm::buddy::tests::needs_four_cpus wants 4 CPUs
//! test sync::tests::wakes_in_order
//! FAIL sync::tests::wakes_in_order left: 1, right: 2
//! test mm::slab::tests::sees_a_double_free
//! panics mm::slab::tests::sees_a_double_free freed twice
//! end
//! ```
//!
//! A name goes out before its test starts, and what the console is to show if it has to panic. Another panic ends the machine, so the runner fails the test that was last named
//! and boots again with `ktest.after=NAME`; it does the same after a minute of silence. `ktest.only=A,B` runs just the
//! tests with these names.

extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt::{Debug, Write};
use core::future::Future;
use core::pin::Pin;

/// What a test function leaves behind.
pub type Outcome = Result<(), String>;

/// One test of the image.
///
/// The runner reads name and size of these out of the ELF file, so their layout is fixed.
#[repr(C, align(64))]
pub struct KernelTest {
    name: &'static str,
    file: &'static str,
    line: u32,
    min_cpus: u32,
    run: TestFn,
}

const _: () = assert!(
    size_of::<KernelTest>() == 64,
    "the runner counts on this size"
);

/// The test function itself.
pub enum TestFn {
    /// Runs to its end without waiting.
    Plain(fn() -> Outcome),
    /// Gives a future that the test task awaits.
    Async(fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>>),
    /// Ends the machine.
    Panics(&'static Panics),
}

/// A test that has to panic.
pub struct Panics {
    /// What is in its message.
    pub text: &'static str,
    /// The test.
    pub run: fn(),
}

impl KernelTest {
    /// Describes a test; `#[kernel_test]` calls it.
    #[must_use]
    pub const fn new(
        name: &'static str,
        file: &'static str,
        line: u32,
        min_cpus: u32,
        run: TestFn,
    ) -> Self {
        Self {
            name,
            file,
            line,
            min_cpus,
            run,
        }
    }

    /// The name without the crate's.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
            .split_once("::")
            .map_or(self.name, |(_, name)| name)
    }

    /// File and line of the test function.
    #[must_use]
    pub fn place(&self) -> (&'static str, u32) {
        (self.file, self.line)
    }
}

/// What a test function may return.
pub trait IntoOutcome {
    /// The value as an outcome.
    ///
    /// # Errors
    /// The failure, for people to read.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Ok(())
    }
}

impl<E: Debug> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Which tests to run, as the kernel's command line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Skip everything up to and including this one.
    pub after: Option<&'a str>,
    /// Only these, separated by commas.
    pub only: Option<&'a str>,
}

impl<'a> Selection<'a> {
    /// Reads `ktest.after=` and `ktest.only=` from a command line.
    #[must_use]
    pub fn parse(command_line: &'a str) -> Self {
        let value = |key: &str| {
            command_line
                .split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix(key))
                .next_back()
        };
        Self {
            after: value("ktest.after="),
            only: value("ktest.only="),
        }
    }

    /// The tests of `all` that are selected, in order.
    pub fn pick(self, all: &[KernelTest]) -> impl Iterator<Item = &KernelTest> {
        let start = self
            .after
            .and_then(|after| all.iter().position(|test| test.name() == after))
            .map_or(0, |at| at + 1);
        all[start..].iter().filter(move |test| {
            self.only
                .is_none_or(|only| only.split(',').any(|name| name == test.name()))
        })
    }
}

/// What became of the tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Ran to their end as they should.
    pub passed: usize,
    /// Returned an error.
    pub failed: usize,
    /// Wanted a larger machine.
    pub skipped: usize,
}

/// Runs the selected tests of `all` one after another on this task and reports through `write`, the second serial port.
///
/// # Context
/// Task.
pub async fn run(
    all: &[KernelTest],
    selection: Selection<'_>,
    cpus: u32,
    write: fn(&str),
) -> Summary {
    let mut port = Port(write);
    let mut summary = Summary::default();
    port.line(format_args!("begin {}", selection.pick(all).count()));
    for test in selection.pick(all) {
        let name = test.name();
        port.line(format_args!("test {name}"));
        if cpus < test.min_cpus {
            summary.skipped += 1;
            port.line(format_args!("skip {name} wants {} CPUs", test.min_cpus));
            continue;
        }
        let outcome = match test.run {
            TestFn::Plain(run) => run(),
            TestFn::Async(start) => start().await,
            TestFn::Panics(test) => {
                port.line(format_args!("panics {name} {}", test.text));
                (test.run)();
                Err("it went on".into())
            }
        };
        match outcome {
            Ok(()) => {
                summary.passed += 1;
                port.line(format_args!("ok {name}"));
            }
            Err(why) => {
                summary.failed += 1;
                let (file, line) = test.place();
                port.line(format_args!("FAIL {name} {file}:{line}: {}", OneLine(&why)));
            }
        }
    }
    port.line(format_args!("end"));
    summary
}

/// The tests that the linker has collected into this image.
#[cfg(target_os = "none")]
#[must_use]
#[allow(
    unsafe_code,
    reason = "the bounds of a linker section are extern statics"
)]
pub fn collected() -> &'static [KernelTest] {
    unsafe extern "C" {
        static __ktests_start: u8;
        static __ktests_end: u8;
    }
    let start = (&raw const __ktests_start).cast::<KernelTest>();
    let end = (&raw const __ktests_end).cast::<KernelTest>();
    let count = (end as usize - start as usize) / size_of::<KernelTest>();
    // SAFETY: 1. between the two symbols lie only descriptors, which `#[kernel_test]` alone puts there; their size is a
    // multiple of their alignment, so there is no padding between them. 2. They are read-only statics.
    unsafe { core::slice::from_raw_parts(start, count) }
}

/// The serial port that the runner reads.
struct Port(fn(&str));

impl Write for Port {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        (self.0)(text);
        Ok(())
    }
}

impl Port {
    fn line(&mut self, text: core::fmt::Arguments<'_>) {
        // One call for one line, so that the port is written in one go.
        let mut line = String::new();
        let _ = line.write_fmt(text); // a String takes everything
        line.push('\n');
        (self.0)(&line);
    }
}

/// Shows a text with its line breaks as spaces.
struct OneLine<'a>(&'a str);

impl core::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, part) in self.0.lines().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::{Context, Poll, Waker};
    use std::sync::Mutex;

    static LOG: Mutex<String> = Mutex::new(String::new());

    fn good() -> Outcome {
        Ok(())
    }

    fn bad() -> Outcome {
        Err("first\nsecond".into())
    }

    fn tests() -> [KernelTest; 4] {
        let test = |name, cpus, run| KernelTest::new(name, "f.rs", 7, cpus, run);
        [
            test("kernel::a::one", 1, TestFn::Plain(good)),
            test("kernel::a::two", 1, TestFn::Plain(bad)),
            test("kernel::b::many", 4, TestFn::Plain(good)),
            test(
                "kernel::b::waits",
                1,
                TestFn::Async(|| Box::pin(async { Ok(()) })),
            ),
        ]
    }

    fn names(selection: Selection<'_>) -> Vec<&'static str> {
        selection.pick(&tests()).map(KernelTest::name).collect()
    }

    #[test]
    fn selection_comes_from_the_command_line() {
        let got = Selection::parse("console=ttyS0 ktest.after=a::one ktest.only=a::two,b::many x");
        assert_eq!(got.after, Some("a::one"));
        assert_eq!(got.only, Some("a::two,b::many"));
        assert_eq!(names(got), ["a::two", "b::many"]);
        assert_eq!(
            names(Selection::parse("")),
            ["a::one", "a::two", "b::many", "b::waits"]
        );
        assert_eq!(names(Selection::parse("ktest.after=b::waits")), [""; 0]);
    }

    #[test]
    fn each_test_is_named_before_it_runs_and_judged_after() {
        let write: fn(&str) = |text| LOG.lock().expect("one writer").push_str(text);
        let all = tests();
        let mut future = core::pin::pin!(run(&all, Selection::default(), 2, write));
        let Poll::Ready(summary) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("nothing here waits");
        };
        let expected = Summary {
            passed: 2,
            failed: 1,
            skipped: 1,
        };
        assert_eq!(summary, expected);
        assert_eq!(
            *LOG.lock().expect("one writer"),
            "begin 4\ntest a::one\nok a::one\ntest a::two\nFAIL a::two f.rs:7: first second\n\
             test b::many\nskip b::many wants 4 CPUs\ntest b::waits\nok b::waits\nend\n"
        );
    }
}
