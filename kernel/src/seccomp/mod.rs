//! Filters of system calls: what a process allows itself from now on.
//!
//! A thread's filters are a chain, the newest first; children share what their parents had ([`Filter::older`]). All of them
//! are asked, and the strictest answer counts.
//!
//! Source: seccomp(2).

pub mod bpf;
#[cfg(target_os = "none")]
pub mod check;

use alloc::sync::Arc;

use bpf::{Data, Program};
use fs::Errno;

/// `SECCOMP_RET_*`, the strictest first as signed numbers.
#[expect(missing_docs, reason = "the names are seccomp's")]
pub mod action {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    /// All that can be answered.
    pub const ALL: [u32; 7] = [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW];
    /// The part of an answer that is the action; the rest is its data.
    pub const MASK: u32 = 0xffff_0000;
}

/// Most instructions that all filters of a thread may have, each counting four more.
const TOTAL_MAX: usize = 32768;
const PENALTY: usize = 4;

/// A filter and those before it.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    log: bool,
    /// The filters that were there before.
    older: Option<Arc<Filter>>,
    /// How many there are in the chain, and how many instructions they have.
    count: usize,
    total: usize,
}

impl Filter {
    /// A filter before `older`.
    ///
    /// # Errors
    /// `ENOMEM` if the chain would be too long.
    pub fn new(program: Program, log: bool, older: Option<Arc<Filter>>) -> Result<Filter, Errno> {
        let (count, before) = older.as_ref().map_or((0, 0), |o| (o.count, o.total));
        let total = before + program.len() + PENALTY;
        if total > TOTAL_MAX {
            return Err(Errno::ENOMEM);
        }
        Ok(Filter {
            program,
            log,
            older,
            count: count + 1,
            total,
        })
    }

    /// How many filters there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether `ancestor` is in the chain of `filter`: no filter always is.
    pub fn descends(filter: Option<&Arc<Filter>>, ancestor: Option<&Arc<Filter>>) -> bool {
        let Some(ancestor) = ancestor else {
            return true;
        };
        let mut here = filter;
        while let Some(filter) = here {
            if Arc::ptr_eq(filter, ancestor) {
                return true;
            }
            here = filter.older.as_ref();
        }
        false
    }

    /// The strictest answer, and whether the filter that gave it wants it logged.
    pub fn run(&self, data: &Data) -> (u32, bool) {
        let mut strictest = (action::ALLOW, false);
        let mut here = Some(self);
        while let Some(filter) = here {
            let answer = filter.program.run(data);
            let rank = |answer: u32| (answer & action::MASK) as i32;
            if rank(answer) < rank(strictest.0) {
                strictest = (answer, filter.log);
            }
            here = filter.older.as_deref();
        }
        strictest
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // One by one: a long chain is not to be dropped by as many nested calls.
        let mut older = self.older.take();
        while let Some(mut filter) = older.and_then(Arc::into_inner) {
            older = filter.older.take();
        }
    }
}

/// What a thread allows itself.
#[derive(Clone, Debug, Default)]
pub enum Mode {
    /// Everything.
    #[default]
    Off,
    /// read, write, exit and sigreturn.
    Strict,
    /// What the filters say.
    Filtered(Arc<Filter>),
}

impl Mode {
    /// The number in `/proc/PID/status`.
    pub fn number(&self) -> u64 {
        match self {
            Mode::Off => 0,
            Mode::Strict => 1,
            Mode::Filtered(_) => 2,
        }
    }

    /// The filters.
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        match self {
            Mode::Filtered(filter) => Some(filter),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bpf::Instruction;

    fn answering(k: u32, older: Option<Arc<Filter>>) -> Arc<Filter> {
        let ret = Instruction {
            code: 6,
            jt: 0,
            jf: 0,
            k,
        };
        let program = Program::new(vec![ret]).expect("a good filter");
        Arc::new(Filter::new(program, false, older).expect("a short chain"))
    }

    #[test]
    fn the_strictest_answer_counts() {
        let chain = answering(action::ERRNO | 1, None);
        let chain = answering(action::ALLOW, Some(chain));
        assert_eq!(chain.run(&Data::default()).0, action::ERRNO | 1);
        let chain = answering(action::KILL_PROCESS, Some(chain));
        let chain = answering(action::KILL_THREAD, Some(chain));
        assert_eq!(chain.run(&Data::default()).0, action::KILL_PROCESS);
        assert_eq!(chain.count(), 4);
    }

    #[test]
    fn chains_are_bounded_and_end_without_nesting() {
        let mut chain = answering(0, None);
        loop {
            let ret = Instruction {
                code: 6,
                jt: 0,
                jf: 0,
                k: 0,
            };
            let program = Program::new(vec![ret]).expect("a good filter");
            match Filter::new(program, false, Some(chain.clone())) {
                Ok(filter) => chain = Arc::new(filter),
                Err(e) => break assert_eq!(e, Errno::ENOMEM),
            }
        }
        assert_eq!(chain.count(), TOTAL_MAX / (1 + PENALTY));
        assert!(Filter::descends(Some(&chain), None));
        assert!(!Filter::descends(None, Some(&chain)));
    }
}
