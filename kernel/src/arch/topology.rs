//! Where each CPU of this machine sits.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::Ordering;

use conquer_once::spin::OnceCell;

use super::percpu;
use super::smp::{self, CpuMask};
use crate::topology::{Leaf, Location, Shape};

static SHAPE: OnceCell<Shape> = OnceCell::uninit();

/// Where CPU `cpu` sits.
///
/// # Context
/// Any, once the CPU has been started.
pub fn locate(cpu: u32) -> Location {
    let shape = SHAPE.get_or_init(|| {
        Shape::read(|leaf, sub| {
            let answer = __cpuid_count(leaf, sub);
            Leaf {
                eax: answer.eax,
                ebx: answer.ebx,
                ecx: answer.ecx,
                edx: answer.edx,
            }
        })
    });
    let id = percpu::of(cpu).map_or(0, |area| area.apic_id.load(Ordering::Relaxed));
    shape.locate(id as u32)
}

/// The CPUs that are where CPU `cpu` is, as `part` has it: of one core, say.
pub fn mates(cpu: u32, part: impl Fn(&Location) -> u32) -> CpuMask {
    let own = part(&locate(cpu));
    (0..smp::cpu_count())
        .filter(|other| part(&locate(*other)) == own)
        .fold(0, |mates, other| mates | 1 << other)
}
