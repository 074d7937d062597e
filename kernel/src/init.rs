//! From a machine that runs to process 1: the root file system, its contents, and init.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::Spawner;
use executor::sync::SpinLock;

use fs::file::oflag;
use fs::inode::{S_IFCHR, make_dev};
use fs::mount::MountNamespace;
use fs::namei::{LookupFlags, Walk};
use fs::open::OpenHow;
use fs::{Credentials, Errno, FdTable, FsContext, Path, Result, cpio, dirops, tmpfs};

use crate::arch::user::UserRegs;
use crate::boot;
use crate::cmdline::InitWord;
use crate::exec::{self, Request, Vector};
use crate::mm::AddressSpace;
use crate::mm::space::Limits;
use crate::process::rlimit::Rlimits;
use crate::process::thread::Shared;
use crate::process::user::User;
use crate::process::{Thread, clone, table};
use crate::user;

/// Where init is looked for when the command line does not say (Documentation/admin-guide/init.rst).
const FALLBACKS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Brings the file systems up and starts process 1.
///
/// # Panics
/// With Linux's words where there is nothing to run.
pub fn run() {
    file_systems();
    let root = tmpfs::rootfs().expect("memory for an empty file system at boot");
    let namespace = MountNamespace::new(root);
    crate::mounts::set_namespace(namespace.clone());
    let root = namespace.root_path();
    if let Err(e) = default_tree(&root) {
        log::error!("initramfs: cannot make /dev/console: {e}");
    }
    if let Some(image) = boot::info().initrd_bytes() {
        log::info!("Unpacking initramfs...");
        let cred = Credentials::root();
        match cpio::unpack(
            image,
            &Walk {
                root: &root,
                start: &root,
                cred: &cred,
            },
        ) {
            Ok(report) => {
                if let Some((name, e)) = report.first_skipped {
                    log::error!(
                        "initramfs: {} entries skipped, first {}: {e}",
                        report.skipped,
                        name.escape_ascii()
                    );
                }
            }
            Err(e) => log::error!("Initramfs unpacking failed: {e}"),
        }
        log::info!("Freeing initrd memory: {}K", image.len() / 1024);
        if let Some(range) = boot::info().initrd() {
            crate::mm::init::release(range);
        }
    }
    start_init(root);
}

/// Tells the file systems how much memory there is, before the first of them is made.
pub fn set_limits() {
    let pages = crate::mm::info::MemInfo::now().total / crate::mm::PAGE_SIZE as u64;
    tmpfs::set_total_pages(pages);
    // An entry and what hangs on it take about 300 bytes: at most one part in fourteen of memory.
    fs::dentry::set_limit(pages as usize);
}

/// Registers what `mount(2)` knows.
fn file_systems() {
    crate::timekeeping::init();
    if let Err(e) = crate::vdso::init() {
        log::error!("vdso: {e}: programs ask the kernel for the time");
    }
    fs::socket::register_identity(crate::syscall::socket::identity);
    let registered = tmpfs::register();
    registered.expect("the first file system finds its name free");
}

/// What is there before anything is unpacked, as in Linux's built-in archive.
fn default_tree(root: &Path) -> Result<()> {
    let cred = Credentials::root();
    let walk = Walk {
        root,
        start: root,
        cred: &cred,
    };
    dirops::mkdir(&walk, b"/dev", 0o755, 0)?;
    dirops::mknod(&walk, b"/dev/console", S_IFCHR | 0o600, make_dev(5, 1), 0)?;
    dirops::mkdir(&walk, b"/root", 0o700, 0)?;
    Ok(())
}

/// What init is told.
struct Command {
    args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
}

impl Command {
    fn from_line() -> Self {
        let mut command = Command {
            args: Vec::new(),
            env: alloc::vec![b"HOME=/".to_vec(), b"TERM=linux".to_vec()],
        };
        for word in boot::info().cmdline().for_init() {
            match word {
                InitWord::Argument(text) => command.args.push(text.as_bytes().to_vec()),
                InitWord::Variable(text) => {
                    let name = &text[..text.find('=').unwrap_or(text.len())];
                    command.env.retain(|v| {
                        !(v.starts_with(name.as_bytes()) && v.get(name.len()) == Some(&b'='))
                    });
                    command.env.push(text.as_bytes().to_vec());
                }
            }
        }
        command
    }
}

/// Starts process 1, whose first act is to become init.
fn start_init(root: Path) {
    let first = boot::info().cmdline().value("rdinit").unwrap_or("/init");
    let cred = Credentials::root();
    let walk = Walk {
        root: &root,
        start: &root,
        cred: &cred,
    };
    if walk.lookup(first.as_bytes(), LookupFlags::FOLLOW).is_err() {
        // Without an init in the initial file system there would have to be another root, on a disk.
        let device = boot::info().cmdline().value("root").unwrap_or("");
        log::error!("VFS: Cannot open root device \"{device}\" or unknown-block(0,0): error -6");
        panic!("VFS: Unable to mount root fs on unknown-block(0,0)");
    }
    let files = Arc::new(FdTable::new());
    match fs::open::open(
        &walk,
        b"/dev/console",
        OpenHow {
            flags: oflag::O_RDWR,
            mode: 0,
            umask: 0,
        },
    ) {
        Ok(console) => {
            for _ in 0..3 {
                files
                    .install(console.clone(), false, 3)
                    .expect("an empty table has room");
            }
        }
        Err(_) => log::error!("Warning: unable to open an initial console."),
    }
    let context = FsContext {
        root: root.clone(),
        cwd: root,
        umask: 0o022,
    };
    let shared = Shared {
        comm: *b"swapper/0\0\0\0\0\0\0\0",
        cred: Arc::new(cred),
        user: User::of(0),
        files: Some(files),
        fs: Some(Arc::new(SpinLock::new(context))),
    };
    let space =
        AddressSpace::new(Limits::DEFAULT).expect("memory for the first address space at boot");
    let threads = table::lock().max_threads() as u64;
    let thread = clone::make_init(space, shared, Rlimits::initial(threads))
        .expect("memory for the first process at boot");
    let life = first_thread(thread.clone(), first);
    user::launch(&thread, Spawner::new("init"), life).expect("memory for the first thread at boot");
}

/// The life of process 1: becomes init, by the first program that can be run.
async fn first_thread(thread: Arc<Thread>, first: &'static str) {
    let command = Command::from_line();
    let wanted = boot::info()
        .cmdline()
        .value("init")
        .map(|path| (path, true));
    let fallbacks = FALLBACKS.iter().map(|path| (*path, false));
    let mut regs = Box::new(UserRegs::new(0, 0));
    let candidates = core::iter::once((first, false))
        .chain(wanted)
        .chain(fallbacks);
    for (n, (path, required)) in candidates.enumerate() {
        log::info!("Run {path} as init process");
        let mut args = alloc::vec![path.as_bytes().to_vec()];
        args.extend_from_slice(&command.args);
        let request = Request {
            path: path.as_bytes().to_vec(),
            start: None,
            flags: LookupFlags::FOLLOW,
            shown: None,
            args: Vector::Kernel(args),
            env: Vector::Kernel(command.env.clone()),
        };
        // Boxed, since it is large and used once.
        match Box::pin(exec::execute(&thread, &mut regs, request)).await {
            Ok(()) => return user::run(thread, regs).await,
            Err(e) if n == 0 => log::error!("Failed to execute {path} (error {})", -e.raw()),
            Err(e) if required => panic!("Requested init {path} failed (error {}).", -e.raw()),
            Err(Errno::ENOENT) => {}
            // The initramfs's own, which was seen to exist.
            Err(e) if path == first && !FALLBACKS.contains(&first) => {
                log::error!("Failed to execute {path} (error {})", -e.raw());
            }
            Err(e) => log::error!(
                "Starting init: {path} exists but couldn't execute it (error {})",
                -e.raw()
            ),
        }
    }
    panic!(
        "No working init found.  Try passing init= option to kernel. \
         See Linux Documentation/admin-guide/init.rst for guidance."
    );
}
