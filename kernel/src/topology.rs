//! Where the CPUs sit in the machine: which threads make a core, which cores share a cache and a package.
//!
//! An APIC identity is made of fields, the thread's number lowest and the package's highest. CPUID tells how wide they are
//! ([`Shape::read`]); all CPUs are taken to be alike, so one answer does for all of them. By processor and age it comes from
//!
//! - leaf 0x1f or 0xb, which lists the fields (Intel since 2008, AMD since Zen, QEMU);
//! - leaves 0x8000_0008 and 0x8000_001e, which count threads of a package and of a core (AMD);
//! - leaves 1 and 4, which do so elsewhere (Intel before);
//!
//! and what shares the last cache from leaf 4 or 0x8000_001d.

/// The registers that `cpuid` answers in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the registers")]
pub struct Leaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// How an APIC identity is divided: the lowest bit of each field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    core: u32,
    die: u32,
    package: u32,
    cache: u32,
}

/// Where one CPU sits. Numbers are unique in the machine, but for [`core_id`](Self::core_id) and [`die_id`](Self::die_id).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The core that its threads share.
    pub core: u32,
    /// What shares the last cache.
    pub cache: u32,
    /// The die.
    pub die: u32,
    /// The package, in its socket.
    pub package: u32,
    /// The core's number in its package.
    pub core_id: u32,
    /// The die's number in its package.
    pub die_id: u32,
}

/// Most levels that are looked at, lest a CPU that never ends the list is read for ever.
const LEVELS: u32 = 8;
/// Kinds of level in leaves 0xb and 0x1f.
const THREADS: u32 = 1;
const DIES: u32 = 5;

impl Shape {
    /// Reads it by `cpuid`, which is given a leaf and a sub-leaf.
    pub fn read(cpuid: impl Fn(u32, u32) -> Leaf) -> Self {
        let most = cpuid(0, 0).eax;
        let listed = [0x1f, 0xb]
            .into_iter()
            .filter(|leaf| *leaf <= most)
            .find_map(|leaf| Self::listed(leaf, &cpuid));
        let shape = listed
            .or_else(|| Self::counted_by_amd(&cpuid))
            .or_else(|| Self::counted(&cpuid))
            .unwrap_or_default();
        Self {
            cache: last_cache(&cpuid).unwrap_or(shape.package),
            ..shape
        }
    }

    /// By the list of fields in `leaf`.
    fn listed(leaf: u32, cpuid: &impl Fn(u32, u32) -> Leaf) -> Option<Self> {
        if cpuid(leaf, 0).ebx == 0 {
            return None;
        }
        let mut shape = Self::default();
        let mut die = None;
        for level in (0..LEVELS).map(|sub| cpuid(leaf, sub)) {
            let kind = level.ecx >> 8 & 0xff;
            if kind == 0 {
                break;
            }
            if kind == DIES {
                // Dies are numbered from where what is below them ends.
                die = Some(shape.package);
            }
            shape.package = level.eax & 0x1f;
            if kind == THREADS {
                shape.core = shape.package;
            }
        }
        shape.die = die.unwrap_or(shape.package);
        Some(shape)
    }

    /// By what AMD's leaves count.
    fn counted_by_amd(cpuid: &impl Fn(u32, u32) -> Leaf) -> Option<Self> {
        if !has_amd_topology(cpuid) {
            return None;
        }
        let sizes = cpuid(0x8000_0008, 0).ecx;
        let package = match sizes >> 12 & 0xf {
            0 => width((sizes & 0xff) + 1),
            bits => bits,
        };
        let threads = (cpuid(0x8000_001e, 0).ebx >> 8 & 0xff) + 1;
        Some(Self {
            core: width(threads),
            die: package,
            package,
            cache: package,
        })
    }

    /// By leaf 1, and leaf 4 if there is one.
    fn counted(cpuid: &impl Fn(u32, u32) -> Leaf) -> Option<Self> {
        let one = cpuid(1, 0);
        if one.edx & 1 << 28 == 0 {
            return None;
        }
        let package = width(one.ebx >> 16 & 0xff);
        let cores = if cpuid(0, 0).eax >= 4 {
            (cpuid(4, 0).eax >> 26) + 1
        } else {
            1
        };
        Some(Self {
            core: package.saturating_sub(width(cores)),
            die: package,
            package,
            cache: package,
        })
    }

    /// Where the CPU with this APIC identity sits.
    pub fn locate(&self, apic_id: u32) -> Location {
        let (die, package) = (field(apic_id, self.die), field(apic_id, self.package));
        Location {
            core: field(apic_id, self.core),
            cache: field(apic_id, self.cache),
            die,
            package,
            core_id: field(apic_id & below(self.package), self.core),
            die_id: field(apic_id & below(self.package), self.die),
        }
    }
}

/// What is left of an identity without its low `bits`, which may be all.
fn field(apic_id: u32, bits: u32) -> u32 {
    apic_id.checked_shr(bits).unwrap_or(0)
}

/// The low `bits`.
fn below(bits: u32) -> u32 {
    1u32.checked_shl(bits).map_or(u32::MAX, |bit| bit - 1)
}

/// Bits that count to `count`.
fn width(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

/// Whether leaves 0x8000_001d and 0x8000_001e are there.
fn has_amd_topology(cpuid: &impl Fn(u32, u32) -> Leaf) -> bool {
    cpuid(0x8000_0000, 0).eax >= 0x8000_001e && cpuid(0x8000_0001, 0).ecx & 1 << 22 != 0
}

/// How many bits of the identity count the threads that share the last cache.
fn last_cache(cpuid: &impl Fn(u32, u32) -> Leaf) -> Option<u32> {
    let caches = |leaf: u32| {
        (0..LEVELS)
            .map(move |sub| cpuid(leaf, sub).eax)
            .take_while(|eax| eax & 0x1f != 0)
            // Instructions have caches of their own, none of them the last.
            .filter(|eax| eax & 0x1f != 2)
            .max_by_key(|eax| eax >> 5 & 7)
            .map(|eax| width((eax >> 14 & 0xfff) + 1))
    };
    let amd = || {
        has_amd_topology(cpuid)
            .then(|| caches(0x8000_001d))
            .flatten()
    };
    let usual = || (cpuid(0, 0).eax >= 4).then(|| caches(4)).flatten();
    amd().or_else(usual)
}

#[cfg(test)]
#[expect(
    clippy::unusual_byte_groupings,
    reason = "an APIC id is grouped by its fields"
)]
mod tests {
    use super::*;

    /// A processor that answers so, and nothing else.
    fn processor(answers: &[(u32, u32, [u32; 4])]) -> impl Fn(u32, u32) -> Leaf {
        move |leaf, sub| {
            let hit = answers.iter().find(|(l, s, _)| (*l, *s) == (leaf, sub));
            hit.map_or(Leaf::default(), |(_, _, [eax, ebx, ecx, edx])| Leaf {
                eax: *eax,
                ebx: *ebx,
                ecx: *ecx,
                edx: *edx,
            })
        }
    }

    #[test]
    fn fields_are_listed() {
        // QEMU, of two sockets with three cores of two threads.
        let shape = Shape::read(processor(&[
            (0, 0, [0xd, 0, 0, 0]),
            (0xb, 0, [1, 2, 0x100, 0]),
            (0xb, 1, [3, 6, 0x201, 0]),
            (0xb, 2, [0, 0, 2, 0]),
        ]));
        let at = shape.locate(0b1_10_1);
        assert_eq!((at.package, at.core_id, at.core), (1, 2, 6));
        assert_eq!((at.die, at.die_id, at.cache), (1, 0, 1));
        assert_eq!(shape.locate(0b1_10_0).core, at.core);
        assert_ne!(shape.locate(0b0_10_1).core, at.core);
    }

    #[test]
    fn dies_count_above_what_is_below_them() {
        let shape = Shape::read(processor(&[
            (0, 0, [0x1f, 0, 0, 0]),
            (0x1f, 0, [1, 2, 0x100, 0]),
            (0x1f, 1, [2, 4, 0x201, 0]),
            (0x1f, 2, [4, 16, 0x502, 0]),
            // It is asked before this.
            (0xb, 0, [1, 2, 0x100, 0]),
            (0xb, 1, [7, 4, 0x201, 0]),
            // The third cache is that of a die.
            (4, 0, [0x0000_4121, 0, 0, 0]),
            (4, 1, [0x0000_4122, 0, 0, 0]),
            (4, 2, [0x0000_4143, 0, 0, 0]),
            (4, 3, [0x0000_c163, 0, 0, 0]),
        ]));
        let at = shape.locate(0b1_11_1_0);
        assert_eq!((at.package, at.die, at.die_id), (1, 7, 3));
        assert_eq!((at.core, at.core_id, at.cache), (15, 7, 7));
    }

    #[test]
    fn amd_counts_threads() {
        let answers = [
            (0, 0, [1, 0, 0, 0]),
            (0x8000_0000, 0, [0x8000_001e, 0, 0, 0]),
            (0x8000_0001, 0, [0, 0, 1 << 22, 0]),
            (0x8000_0008, 0, [0, 0, 0x400b, 0]),
            (0x8000_001d, 0, [0x0000_4121, 0, 0, 0]),
            (0x8000_001d, 1, [0x0001_c163, 0, 0, 0]),
            (0x8000_001e, 0, [0, 0x100, 0, 0]),
        ];
        let at = Shape::read(processor(&answers)).locate(0x1b);
        assert_eq!((at.package, at.core_id, at.cache), (1, 5, 3));
        // Without a width, the threads are counted.
        let mut counted = answers;
        counted[3].2[2] = 7;
        assert_eq!(Shape::read(processor(&counted)).locate(0x1b).package, 3);
        // Leaves that are not promised are not read.
        let mut silent = answers;
        silent[2].2[2] = 0;
        assert_eq!(Shape::read(processor(&silent)), Shape::default());
    }

    #[test]
    fn old_processors_count_in_two_leaves() {
        let shape = Shape::read(processor(&[
            (0, 0, [4, 0, 0, 0]),
            (1, 0, [0, 4 << 16, 0, 1 << 28]),
            (4, 0, [1 << 26 | 0x4121, 0, 0, 0]),
            (4, 1, [1 << 26 | 0xc143, 0, 0, 0]),
        ]));
        let at = shape.locate(0b1_1_0);
        assert_eq!((at.package, at.core, at.core_id, at.cache), (1, 3, 1, 1));
    }

    #[test]
    fn who_tells_nothing_is_alone() {
        let shape = Shape::read(processor(&[(0, 0, [1, 0, 0, 0])]));
        let at = shape.locate(5);
        assert_eq!((at.package, at.core, at.cache, at.core_id), (5, 5, 5, 0));
    }

    #[test]
    fn nonsense_is_borne() {
        let all_ones = |_, _| Leaf {
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        };
        let at = Shape::read(all_ones).locate(u32::MAX);
        assert_eq!((at.package, at.die), (1, 1));
        assert_eq!(Shape::default().locate(u32::MAX).core, u32::MAX);
    }
}
