//! execve(2) up to the point of no return: finding the program and building its memory.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use fs::cred::MAY_EXEC;
use fs::file::oflag;
use fs::filecaps::{self, FileCaps};
use fs::inode::{Inode, S_IFMT, S_IFREG, S_ISGID, S_ISUID};
use fs::mount::ms;
use fs::namei::{LookupFlags, Walk};
use fs::{Cap, Credentials, Errno, File, Path};

use super::auxv::{self, Facts};
use super::load::{self, Binary, LoadError, Where};
use super::replace::{self, Ready};
use super::script::{self, DEPTH_MAX};
use super::strings::{Strings, Vector, Writer};
use crate::arch::user::UserRegs;
use crate::cred::{self, Privilege};
use crate::mm::space::{Limits, ProgramLayout};
use crate::mm::{AddressSpace, Backing, MapFlags, MapRequest, PAGE_SIZE, Prot, sysctl};
use crate::process::Thread;
use crate::process::process::ExeFile;
use crate::process::rlimit::Resource;
use crate::random;
use crate::task::place;

const PAGE: u64 = PAGE_SIZE as u64;
/// `personality(2)`: addresses are not to be random.
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
/// Room below the first stack pointer, so that a program can start without a fault.
const STACK_ROOM: u64 = 32 * PAGE;
const PLATFORM: &[u8] = b"x86_64\0";

/// What is to be run.
pub struct Request {
    /// Its path.
    pub path: Vec<u8>,
    /// Where relative paths start, if not at the working directory; the file itself for an empty path.
    pub start: Option<Path>,
    /// Flags of the lookup.
    pub flags: LookupFlags,
    /// The path as the program is to see it, where `path` is relative to a descriptor.
    pub shown: Option<Vec<u8>>,
    /// Arguments.
    pub args: Vector,
    /// Environment.
    pub env: Vector,
}

/// Runs a program in place of the one that `thread` runs.
///
/// # Context
/// The thread's own poll.
/// # Errors
/// As the man page says. Past the point of no return the process gets a signal instead.
pub async fn execute(
    thread: &Arc<Thread>,
    regs: &mut UserRegs,
    request: Request,
) -> Result<(), Errno> {
    let ready = match prepare(thread, request) {
        Ok(ready) => ready,
        Err(LoadError::Refused(e)) => return Err(e),
        Err(LoadError::Fatal) => {
            crate::signal::send::force_fatal(thread, crate::signal::Signal::SIGSEGV);
            return Ok(());
        }
    };
    if let Some(cpu) = place::renewed(thread)
        && let Some(task) = thread.task()
    {
        task.migrate(cpu);
        executor::yield_now().await;
    }
    replace::replace(thread, regs, ready).await
}

/// A program file that may be run, and what it says about who runs it.
struct Found {
    binary: Binary,
    exe: ExeFile,
    privilege: Privilege,
}

/// Finds and opens a program.
fn find(
    thread: &Thread,
    cred: &Credentials,
    path: &[u8],
    start: Option<&Path>,
    flags: LookupFlags,
) -> Result<Found, Errno> {
    let context = thread.fs().lock().clone();
    let walk = Walk {
        root: &context.root,
        start: start.unwrap_or(&context.cwd),
        cred,
    };
    let place = walk.lookup(path, flags)?;
    let inode = place.dentry.existing()?.clone();
    if inode.mode() & S_IFMT != S_IFREG || place.mount.flags() & ms::NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    cred.permission(&inode, MAY_EXEC)?;
    let privilege = privilege(thread, &place, &inode)?;
    // Whoever may execute it need not be able to read it: the kernel reads it for them.
    let file: Arc<File> = fs::open::open_path(&Credentials::root(), place, oflag::O_RDONLY)?;
    let exe = ExeFile::new(file.clone())?;
    Ok(Found {
        binary: Binary::new(file)?,
        exe,
        privilege,
    })
}

/// What the file gives to the program in it.
///
/// # Errors
/// `EINVAL` where its capabilities are none.
fn privilege(thread: &Thread, place: &Path, inode: &Inode) -> Result<Privilege, Errno> {
    // Who traces a program has all that it has.
    let tracer = thread.tracer();
    let mut privilege = Privilege {
        no_new: thread.no_new_privs.load(Ordering::Relaxed) != 0,
        watched: tracer.is_some_and(|tracer| !tracer.cred().capable(Cap::SysPtrace)),
        ..Privilege::default()
    };
    if place.mount.flags() & ms::NOSUID != 0 {
        return Ok(privilege);
    }
    privilege.caps = match inode.ops().get_xattr(inode, filecaps::ATTRIBUTE) {
        Ok(value) => match FileCaps::parse(&value) {
            Err(Errno::ENODATA) => None,
            caps => Some(caps?),
        },
        Err(_) => None,
    };
    if !privilege.no_new {
        let mode = inode.mode();
        privilege.uid = (mode & S_ISUID != 0).then(|| inode.uid());
        privilege.gid = (mode & (S_ISGID | 0o010) == S_ISGID | 0o010).then(|| inode.gid());
    }
    Ok(privilege)
}

/// Finds the program, follows `#!` lines, and builds the new memory.
fn prepare(thread: &Arc<Thread>, request: Request) -> Result<Ready, LoadError> {
    crate::mm::admit()?;
    let old = thread.cred();
    let Request {
        path,
        start,
        flags,
        shown,
        args,
        env,
    } = request;
    let shown = shown.unwrap_or_else(|| path.clone());
    let mut strings = Strings {
        leading: Vec::new(),
        skip: 0,
        args,
        env,
    };
    strings.ensure_name()?;
    let mut found = find(thread, &old, &path, start.as_ref(), flags)?;
    let mut name = shown.clone();
    let mut depth = 0;
    // The first file decides about privileges, unless it is a script: those never gain any.
    while let Some(script) = script::parse(&found.binary.head)? {
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(Errno::ELOOP.into());
        }
        let interpreter = script.interpreter.to_vec();
        let argument = script.argument.map(<[u8]>::to_vec);
        // The script's name takes the place of the first argument, and the interpreter comes before.
        if strings.leading.is_empty() {
            strings.skip = 1;
        } else {
            strings.leading.remove(0);
        }
        strings.leading.insert(0, name);
        if let Some(argument) = argument {
            strings.leading.insert(0, argument);
        }
        strings.leading.insert(0, interpreter.clone());
        found = find(thread, &old, &interpreter, None, LookupFlags::FOLLOW)?;
        name = interpreter;
    }
    let (header, program) = found.binary.program()?;
    let interpreter = match program.interpreter {
        Some((offset, len)) => {
            let path = found.binary.interpreter(offset, len)?;
            let file = find(thread, &old, &path, None, LookupFlags::FOLLOW)?;
            let (header, program) = file.binary.program().map_err(|e| match e {
                Errno::ENOEXEC => Errno::ELIBBAD,
                e => e,
            })?;
            Some((file, header, program))
        }
        None => None,
    };
    let (cred, secure) = cred::exec(&old, found.privilege)?;
    let stack_limit = thread.process().limit(Resource::Stack);
    let counted = strings.count(stack_limit)?;

    let limits = Limits {
        address_space: thread.process().limit(Resource::AddressSpace),
        data: thread.process().limit(Resource::Data),
        stack: stack_limit,
        memlock: thread.process().limit(Resource::Memlock),
    };
    let randomize = sysctl::RANDOMIZE_VA_SPACE.is_on()
        && thread.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE == 0;
    let randomize_heap = randomize && sysctl::RANDOMIZE_VA_SPACE.get() > 1;
    let space = AddressSpace::new(limits)?;
    space.set_mmap_base(if randomize { random::next_u64() } else { 0 });

    // From here on Linux would have let go of the old program: what fails now is fatal.
    let place = if interpreter.is_some() {
        Where::Program
    } else {
        Where::Mappings
    };
    let fatal = |_| LoadError::Fatal;
    let main =
        load::map(&space, &found.binary, &header, &program, place, randomize).map_err(fatal)?;
    let among_mappings = header.relocatable && interpreter.is_none();
    space.set_brk_start(load::brk_start(main.end, among_mappings, randomize_heap));
    let (entry, base) = match &interpreter {
        Some((file, header, program)) => {
            let placed = load::map(
                &space,
                &file.binary,
                header,
                program,
                Where::Mappings,
                randomize,
            )
            .map_err(fatal)?;
            (placed.entry, placed.bias)
        }
        None => (main.entry, 0),
    };
    let vdso = crate::vdso::map(&space).map_err(fatal)?;
    let facts = Facts {
        vdso,
        phdr: program.phdr_address(&header, main.bias),
        phnum: u64::from(header.phnum),
        base,
        entry: main.entry,
        secure,
        ..Facts::default()
    };
    let layout = ProgramLayout {
        start_code: main.code.0,
        end_code: main.code.1,
        start_data: main.data.0,
        end_data: main.data.1,
        ..ProgramLayout::default()
    };
    let top = load::stack_top(randomize);
    let exec_stack = program.exec_stack == Some(true);
    let stack = Stack {
        space: &space,
        top,
        exec_stack,
    };
    let (sp, auxv) = stack
        .fill(&strings, counted, &shown, facts, layout, &cred)
        .map_err(fatal)?;
    Ok(Ready {
        space,
        entry,
        sp,
        cred: Arc::new(cred),
        secure,
        exe: found.exe,
        auxv,
        name: shown,
    })
}

/// The stack of a new program.
struct Stack<'a> {
    space: &'a Arc<AddressSpace>,
    top: u64,
    exec_stack: bool,
}

impl Stack<'_> {
    /// Maps the stack and writes what a program finds there. Gives the stack pointer and the auxiliary vector.
    ///
    /// From the top down: eight zero bytes, the path, the environment and argument strings, random bytes, platform; then, at the
    /// stack pointer, the number of arguments, pointers to them, pointers to the environment, the auxiliary vector.
    fn fill(
        &self,
        strings: &Strings,
        counted: super::strings::Counted,
        shown: &[u8],
        mut facts: Facts,
        mut layout: ProgramLayout,
        cred: &Credentials,
    ) -> Result<(u64, Arc<[u64]>), Errno> {
        let path_at = self.top - 8 - (shown.len() as u64 + 1);
        let strings_at = path_at - counted.bytes;
        let random_at = (strings_at - 16 - PLATFORM.len() as u64) & !15;
        let platform_at = random_at + 16;
        let words = 1 + counted.argc + 1 + counted.envc + 1 + auxv::LEN * 2;
        let sp = (random_at - words as u64 * 8) & !15;

        let mut prot = Prot::READ | Prot::WRITE;
        prot.set(Prot::EXEC, self.exec_stack);
        let start = (sp & !(PAGE - 1)) - STACK_ROOM;
        self.space.mmap(MapRequest {
            low: false,
            addr: start,
            len: self.top - start,
            prot,
            flags: MapFlags::PRIVATE
                | MapFlags::ANONYMOUS
                | MapFlags::FIXED
                | MapFlags::GROWSDOWN
                | MapFlags::STACK,
            backing: Backing::Anon,
        })?;

        let mut table = Writer::new(self.space, sp, random_at);
        table.put_word(counted.argc as u64)?;
        let mut left = counted.argc;
        let env_at = strings.copy(self.space, strings_at, counted, |pointer| {
            if left == 0 {
                table.put_word(0)?;
            }
            left = left.wrapping_sub(1);
            table.put_word(pointer)
        })?;
        if counted.envc == 0 {
            table.put_word(0)?;
        }
        table.put_word(0)?;
        facts.random = random_at;
        facts.platform = platform_at;
        facts.execfn = path_at;
        let vector = auxv::vector(&facts, cred);
        for word in vector.as_flattened() {
            table.put_word(*word)?;
        }
        table.flush()?;

        let mut seed = [0; 16];
        random::fill(&mut seed);
        let mut tail = Writer::new(self.space, random_at, strings_at);
        tail.put(&seed)?;
        tail.put(PLATFORM)?;
        tail.flush()?;
        let mut path = Writer::new(self.space, path_at, self.top);
        path.put(shown)?;
        path.put(&[0; 9])?;
        path.flush()?;

        layout.start_stack = sp;
        layout.arg_start = strings_at;
        layout.arg_end = env_at;
        layout.env_start = env_at;
        layout.env_end = path_at;
        self.space.set_layout(layout);
        Ok((sp, vector.as_flattened().into()))
    }
}
