//! What an operation on semaphores does to their counters.

use fs::Errno;

use super::flag;
use super::limits::SEMVMX;

/// An operation on one semaphore of a set (`struct sembuf`).
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Which semaphore.
    pub number: u16,
    /// What is added; 0 waits for zero.
    pub change: i16,
    /// `IPC_NOWAIT` and `SEM_UNDO`.
    pub flags: u16,
}

impl Op {
    const UNDO: u16 = 0x1000;

    /// Whether it is taken back at the process's end.
    pub fn is_undone(&self) -> bool {
        self.flags & Self::UNDO != 0
    }

    fn waits(&self) -> bool {
        u32::from(self.flags) & flag::NOWAIT == 0
    }
}

/// A counter.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sem {
    /// Its value.
    pub value: u16,
    /// The process that was last to change it.
    pub pid: i32,
}

/// How an attempt went.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// All is done.
    Done,
    /// Nothing is done, nor will be.
    Refused(Errno),
    /// Nothing is done yet.
    Blocked,
}

/// Does `ops`, all or none; what is to be taken back goes to `adjust`.
///
/// # Errors
/// The place of the operation that cannot be done, and why.
///
/// Source: Linux's `perform_atomic_semop`.
pub fn perform(
    sems: &mut [Sem],
    ops: &[Op],
    mut adjust: Option<&mut [i16]>,
    pid: i32,
) -> Result<(), (usize, Attempt)> {
    for (at, op) in ops.iter().enumerate() {
        let failed = match step(&mut sems[usize::from(op.number)], op, adjust.as_deref_mut()) {
            Ok(()) => continue,
            Err(failed) => failed,
        };
        for op in ops[..at].iter().rev() {
            let number = usize::from(op.number);
            sems[number].value = sems[number].value.wrapping_add_signed(-op.change);
            if let Some(adjust) = adjust.as_deref_mut().filter(|_| op.is_undone()) {
                adjust[number] += op.change;
            }
        }
        return Err((at, failed));
    }
    for op in ops {
        sems[usize::from(op.number)].pid = pid;
    }
    Ok(())
}

fn step(sem: &mut Sem, op: &Op, adjust: Option<&mut [i16]>) -> Result<(), Attempt> {
    let value = i32::from(sem.value);
    let result = value + i32::from(op.change);
    if op.change == 0 && value != 0 || result < 0 {
        return Err(if op.waits() {
            Attempt::Blocked
        } else {
            Attempt::Refused(Errno::EAGAIN)
        });
    }
    if result > SEMVMX {
        return Err(Attempt::Refused(Errno::ERANGE));
    }
    if let Some(adjust) = adjust.filter(|_| op.is_undone()) {
        let adjust = &mut adjust[usize::from(op.number)];
        *adjust = adjust
            .checked_sub(op.change)
            .ok_or(Attempt::Refused(Errno::ERANGE))?;
    }
    sem.value = result as u16;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn op(number: u16, change: i16, flags: u16) -> Op {
        Op {
            number,
            change,
            flags,
        }
    }

    fn values(sems: &[Sem]) -> Vec<u16> {
        sems.iter().map(|sem| sem.value).collect()
    }

    #[test]
    fn all_or_none_is_done() {
        let mut sems = [Sem { value: 2, pid: 0 }; 3];
        let mut adjust = [0; 3];
        let ops = [op(0, -1, Op::UNDO), op(1, 5, Op::UNDO), op(2, -3, 0)];
        let end = perform(&mut sems, &ops, Some(&mut adjust), 7);
        assert_eq!(end, Err((2, Attempt::Blocked)));
        assert_eq!((values(&sems), adjust), (vec![2, 2, 2], [0; 3]));
        assert_eq!(sems[0].pid, 0);

        let end = perform(&mut sems, &ops[..2], Some(&mut adjust), 7);
        assert_eq!(end, Ok(()));
        assert_eq!((values(&sems), adjust), (vec![1, 7, 2], [1, -5, 0]));
        assert_eq!((sems[1].pid, sems[2].pid), (7, 0));
    }

    #[test]
    fn later_operations_see_what_earlier_ones_did() {
        let mut sems = [Sem { value: 1, pid: 0 }];
        let ops = [op(0, -1, 0), op(0, 0, 0), op(0, 4, 0)];
        assert_eq!(perform(&mut sems, &ops, None, 1), Ok(()));
        assert_eq!(values(&sems), [4]);
    }

    #[test]
    fn what_does_not_wait_is_refused_and_bounds_are_kept() {
        let mut sems = [Sem { value: 1, pid: 0 }];
        let no_wait = flag::NOWAIT as u16;
        let refused = |e| Err((0, Attempt::Refused(e)));
        let ops = [op(0, 0, no_wait)];
        assert_eq!(perform(&mut sems, &ops, None, 1), refused(Errno::EAGAIN));
        let ops = [op(0, i16::MAX, 0)];
        assert_eq!(perform(&mut sems, &ops, None, 1), refused(Errno::ERANGE));
        let mut adjust = [i16::MAX];
        let ops = [op(0, -1, Op::UNDO)];
        let end = perform(&mut sems, &ops, Some(&mut adjust), 1);
        assert_eq!(end, refused(Errno::ERANGE));
        assert_eq!((values(&sems), adjust), (vec![1], [i16::MAX]));
    }
}
