//! `/proc/cpuinfo`.

use core::arch::x86_64::{__cpuid, __cpuid_count};

use fs::Result;

use crate::arch::{percpu, smp, topology, tsc};
use crate::pseudofs::{Out, put};

/// Names of feature bits, from bit 0 on; empty ones have no name.
type Names = [&'static str; 32];

/// CPUID 1, EDX.
const BASIC: Names = [
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge",
    "mca", "cmov", "pat", "pse36", "pn", "clflush", "", "dts", "acpi", "mmx", "fxsr", "sse",
    "sse2", "ss", "ht", "tm", "ia64", "pbe",
];
/// CPUID 1, ECX.
const MORE: Names = [
    "pni",
    "pclmulqdq",
    "dtes64",
    "monitor",
    "ds_cpl",
    "vmx",
    "smx",
    "est",
    "tm2",
    "ssse3",
    "cid",
    "sdbg",
    "fma",
    "cx16",
    "xtpr",
    "pdcm",
    "",
    "pcid",
    "dca",
    "sse4_1",
    "sse4_2",
    "x2apic",
    "movbe",
    "popcnt",
    "tsc_deadline_timer",
    "aes",
    "xsave",
    "",
    "avx",
    "f16c",
    "rdrand",
    "hypervisor",
];
/// CPUID 0x8000_0001, EDX, without what the first list has.
const AMD: Names = [
    "", "", "", "", "", "", "", "", "", "", "", "syscall", "", "", "", "", "", "", "", "mp", "nx",
    "", "mmxext", "", "", "fxsr_opt", "pdpe1gb", "rdtscp", "", "lm", "3dnowext", "3dnow",
];
/// CPUID 0x8000_0001, ECX.
const AMD_MORE: Names = [
    "lahf_lm",
    "cmp_legacy",
    "svm",
    "extapic",
    "cr8_legacy",
    "abm",
    "sse4a",
    "misalignsse",
    "3dnowprefetch",
    "osvw",
    "ibs",
    "xop",
    "skinit",
    "wdt",
    "",
    "lwp",
    "fma4",
    "tce",
    "",
    "nodeid_msr",
    "",
    "tbm",
    "topoext",
    "perfctr_core",
    "perfctr_nb",
    "",
    "bpext",
    "ptsc",
    "perfctr_llc",
    "mwaitx",
    "",
    "",
];
/// CPUID 7, EBX.
const EXTENDED: Names = [
    "fsgsbase",
    "tsc_adjust",
    "sgx",
    "bmi1",
    "hle",
    "avx2",
    "",
    "smep",
    "bmi2",
    "erms",
    "invpcid",
    "rtm",
    "cqm",
    "",
    "mpx",
    "rdt_a",
    "avx512f",
    "avx512dq",
    "rdseed",
    "adx",
    "smap",
    "avx512ifma",
    "",
    "clflushopt",
    "clwb",
    "intel_pt",
    "avx512pf",
    "avx512er",
    "avx512cd",
    "sha_ni",
    "avx512bw",
    "avx512vl",
];

pub(super) fn show(out: &mut Out) -> Result<()> {
    for cpu in smp::each(smp::online()) {
        show_cpu(out, cpu);
    }
    Ok(())
}

fn show_cpu(out: &mut Out, cpu: u32) {
    let zero = __cpuid(0);
    let one = __cpuid(1);
    let base_family = one.eax >> 8 & 0xf;
    let family = if base_family == 0xf {
        base_family + (one.eax >> 20 & 0xff)
    } else {
        base_family
    };
    let high_model = if base_family >= 6 {
        one.eax >> 12 & 0xf0
    } else {
        0
    };
    let khz = tsc::hz() / 1000;
    let apic = percpu::of(cpu).map_or(0, |area| {
        area.apic_id.load(core::sync::atomic::Ordering::Relaxed)
    });
    let mut vendor = [0; 12];
    for (to, word) in vendor
        .chunks_exact_mut(4)
        .zip([zero.ebx, zero.edx, zero.ecx])
    {
        to.copy_from_slice(&word.to_le_bytes());
    }
    put!(out, "processor\t: {cpu}\nvendor_id\t: ");
    out.bytes(&vendor);
    put!(
        out,
        "\ncpu family\t: {family}\nmodel\t\t: {}\nmodel name\t: ",
        high_model | one.eax >> 4 & 0xf
    );
    model_name(out);
    put!(
        out,
        "\nstepping\t: {}\ncpu MHz\t\t: {}.{:03}\n",
        one.eax & 0xf,
        khz / 1000,
        khz % 1000
    );
    let at = topology::locate(cpu);
    let siblings = topology::mates(cpu, |at| at.package);
    // A core counts by its first thread.
    let cores = siblings & first_threads();
    put!(
        out,
        "physical id\t: {}\nsiblings\t: {}\ncore id\t\t: {}\ncpu cores\t: {}\n",
        at.package,
        siblings.count_ones(),
        at.core_id,
        cores.count_ones()
    );
    put!(
        out,
        "apicid\t\t: {apic}\ninitial apicid\t: {apic}\nfpu\t\t: yes\nfpu_exception\t: yes\n"
    );
    put!(out, "cpuid level\t: {}\nwp\t\t: yes\nflags\t\t:", zero.eax);
    let extended = __cpuid(0x8000_0000).eax;
    let amd = if extended >= 0x8000_0001 {
        __cpuid(0x8000_0001)
    } else {
        __cpuid(0x8000_0000)
    };
    let known_amd = extended >= 0x8000_0001;
    let seven = if zero.eax >= 7 {
        __cpuid_count(7, 0).ebx
    } else {
        0
    };
    let mask = |word: u32| if known_amd { word } else { 0 };
    for (names, word) in [
        (&BASIC, one.edx),
        (&AMD, mask(amd.edx)),
        (&MORE, one.ecx),
        (&AMD_MORE, mask(amd.ecx)),
        (&EXTENDED, seven),
    ] {
        for (bit, name) in names.iter().enumerate() {
            if word >> bit & 1 != 0 && !name.is_empty() {
                put!(out, " {name}");
            }
        }
    }
    let (physical, linear) = if extended >= 0x8000_0008 {
        let sizes = __cpuid(0x8000_0008).eax;
        (sizes & 0xff, sizes >> 8 & 0xff)
    } else {
        (36, 48)
    };
    let line = (one.ebx >> 8 & 0xff) * 8;
    put!(
        out,
        "\nbugs\t\t:\nbogomips\t: {}.{:02}\nclflush size\t: {line}\n",
        khz / 500,
        khz / 5 % 100
    );
    put!(
        out,
        "cache_alignment\t: {line}\naddress sizes\t: {physical} bits physical, {linear} bits virtual\n"
    );
    put!(out, "power management:\n\n");
}

/// The first thread of each core.
fn first_threads() -> smp::CpuMask {
    (0..smp::cpu_count())
        .filter(|cpu| topology::mates(*cpu, |at| at.core).trailing_zeros() == *cpu)
        .fold(0, |firsts, cpu| firsts | 1 << cpu)
}

fn model_name(out: &mut Out) {
    if __cpuid(0x8000_0000).eax < 0x8000_0004 {
        put!(out, "unknown");
        return;
    }
    let mut name = [0; 48];
    for (leaf, part) in (0x8000_0002..).zip(name.chunks_exact_mut(16)) {
        let words = __cpuid(leaf);
        for (to, word) in part
            .chunks_exact_mut(4)
            .zip([words.eax, words.ebx, words.ecx, words.edx])
        {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
    let text = name.split(|&b| b == 0).next().unwrap_or_default();
    out.bytes(text.trim_ascii());
}
