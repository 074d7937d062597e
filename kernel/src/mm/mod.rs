//! Memory: frames, kernel memory, page tables and user address spaces.
//!
//! From the bottom up:
//! - [`phys`]: physical addresses and the direct map; [`frame`]: a descriptor for each frame, and who counts what in it.
//! - [`buddy`] and [`page_alloc`]: the frame allocator, with zones, watermarks and a stack of frames per CPU.
//! - [`slab`] and [`heap`]: small objects, and with them the Rust global allocator; [`vmalloc`]: kernel stacks and device
//!   registers in a virtual area of their own.
//! - [`pagetable`]: the tables of the CPU; [`vma`]: what a user has mapped where; [`space`]: both together, an address
//!   space with its system calls and faults. Start reading there.
//!
//! On the host everything here runs on a block of the test's own memory ([`phys`]); only loading a page table and flushing
//! a TLB do nothing.
//!
//! # Contexts and locks
//! Everything is called from tasks; frames and objects may be allocated and freed in softirqs too, never in hard
//! interrupts. Lock order, outermost first: address space, page cache, vmalloc area, slab cache, zone.

pub mod buddy;
#[cfg(all(target_os = "none", feature = "ktest"))]
mod forbidden_ktests;
pub mod frame;
pub mod heap;
pub mod info;
pub mod init;
#[cfg(all(target_os = "none", feature = "ktest"))]
mod ktests;
pub mod oom;
pub mod page_alloc;
mod page_ops;
pub mod pagetable;
pub mod percpu;
pub mod phys;
pub mod slab;
pub mod space;
mod sync;
pub mod sysctl;
mod tlb;
pub mod vma;
pub mod vmalloc;

pub use frame::{Gfp, admit};
pub use info::MemInfo;
pub use init::init;
#[cfg(target_os = "none")]
pub use init::init_machine;
pub use phys::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, phys_to_virt};
pub use space::{
    Access, AddressSpace, Backing, Fault, FileBacking, Limits, MapFlags, MapRequest, Prot,
};
pub use tlb::flush_all_here;
