use super::*;
use crate::Waiters;
use crate::iobuf::{SliceSink, SliceSource, VecSink};
use crate::test_util::CountingWaker;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use oflag::*;
use proptest::prelude::*;

fn read(file: &File, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let n = file.read(&mut SliceSink::new(&mut buf))?;
    buf.truncate(n);
    Ok(buf)
}

fn write(file: &File, bytes: &[u8]) -> Result<usize> {
    file.write(&mut SliceSource::new(bytes))
}

#[test]
fn the_ends_of_a_pipe() {
    let (r, w) = pipe(0, 0, 0).unwrap();
    assert_eq!(read(&r, 10), Err(Errno::EAGAIN));
    assert_eq!(write(&r, b"x"), Err(Errno::EBADF));
    assert_eq!(read(&w, 1), Err(Errno::EBADF));
    assert_eq!(r.seek(0, crate::file::Whence::Set), Err(Errno::ESPIPE));
    assert_eq!(r.pread(0, &mut VecSink::new(1)), Err(Errno::ESPIPE));
    assert_eq!(write(&w, b"hello "), Ok(6));
    assert_eq!(write(&w, b"world"), Ok(5));
    assert_eq!(pipe_of(&r).unwrap().available(), 11);
    assert_eq!(read(&r, 8).unwrap(), b"hello wo");
    drop(w);
    assert_eq!(read(&r, 8).unwrap(), b"rld");
    assert_eq!(read(&r, 8).unwrap(), b"");
    let (r, w) = pipe(0, 0, 0).unwrap();
    drop(r);
    assert_eq!(write(&w, b"x"), Err(Errno::EPIPE));
    assert_eq!(write(&w, b""), Ok(0));
    assert_eq!(pipe(O_APPEND, 0, 0).err(), Some(Errno::EINVAL));
}

#[test]
fn small_writes_are_whole_or_not_at_all() {
    let (r, w) = pipe(O_NONBLOCK, 0, 0).unwrap();
    assert_eq!(write(&w, &[1; 70_000]), Ok(65_536));
    assert_eq!(write(&w, b"x"), Err(Errno::EAGAIN));
    assert_eq!(w.poll(None), PollEvents::empty());
    assert_eq!(read(&r, 4095).unwrap().len(), 4095);
    assert_eq!(
        write(&w, &[2; 4096]),
        Err(Errno::EAGAIN),
        "the page is not free yet"
    );
    assert_eq!(read(&r, 1).unwrap(), [1]);
    assert_eq!(w.poll(None), PollEvents::WRITE);
    assert_eq!(write(&w, &[2; 4000]), Ok(4000));
    assert_eq!(
        write(&w, &[3; 97]),
        Err(Errno::EAGAIN),
        "does not fit behind the last"
    );
    assert_eq!(write(&w, &[3; 96]), Ok(96));
}

#[test]
fn packets_keep_their_bounds() {
    let (r, w) = pipe(O_DIRECT | O_NONBLOCK, 0, 0).unwrap();
    write(&w, b"one").unwrap();
    write(&w, b"three").unwrap();
    write(&w, &[9; 5000]).unwrap();
    assert_eq!(read(&r, 100).unwrap(), b"one");
    assert_eq!(read(&r, 2).unwrap(), b"th", "the rest of a packet is lost");
    assert_eq!(read(&r, 9000).unwrap().len(), 4096);
    assert_eq!(read(&r, 9000).unwrap().len(), 904);
}

#[test]
fn sizes_are_powers_of_two_pages() {
    let (r, w) = pipe(0, 0, 0).unwrap();
    let p = pipe_of(&w).unwrap();
    assert_eq!(p.size(), 65_536);
    assert_eq!(p.set_size(5000, false), Ok(8192));
    write(&w, &[1; 8192]).unwrap();
    assert_eq!(p.set_size(1, false), Err(Errno::EBUSY));
    assert_eq!(p.set_size(2 << 20, false), Err(Errno::EPERM));
    assert_eq!(p.set_size(2 << 20, true), Ok(2 << 20));
    assert_eq!(p.set_size(0, true), Err(Errno::EINVAL));
    assert_eq!(read(&r, 9000).unwrap(), [1; 8192]);
    assert_eq!(p.set_size(1, false), Ok(4096));
}

#[test]
fn waiters_hear_of_what_concerns_them() {
    let (r, w) = pipe(0, 0, 0).unwrap();
    let (reader, writer) = (CountingWaker::new(), CountingWaker::new());
    let mut reading = core::pin::pin!(Waiters::new());
    let mut writing = core::pin::pin!(Waiters::new());
    let mut table = PollTable::new(reading.as_mut(), reader.waker(), PollEvents::READ);
    assert_eq!(r.poll(Some(&mut table)), PollEvents::empty());
    let mut table = PollTable::new(writing.as_mut(), writer.waker(), PollEvents::WRITE);
    assert_eq!(w.poll(Some(&mut table)), PollEvents::WRITE);
    write(&w, b"x").unwrap();
    assert_eq!((reader.count(), writer.count()), (1, 0));
    read(&r, 1).unwrap();
    assert_eq!((reader.count(), writer.count()), (1, 1));
    drop(r);
    assert_eq!(writer.count(), 2);
    assert_eq!(w.poll(None), PollEvents::WRITE | PollEvents::ERR);
}

/// A FIFO on a file system of its own.
fn fifo() -> Arc<Inode> {
    let root = crate::tmpfs::rootfs().unwrap().root_path();
    let cred = crate::Credentials::root();
    let walk = crate::namei::Walk {
        root: &root,
        start: &root,
        cred: &cred,
    };
    let made = crate::dirops::mknod(&walk, b"/fifo", crate::inode::S_IFIFO | 0o600, 0, 0);
    made.unwrap().dentry.inode().unwrap().clone()
}

fn open(inode: &Arc<Inode>, flags: u32) -> Result<Arc<File>> {
    let root = crate::tmpfs::rootfs().unwrap();
    let dentry = crate::Dentry::root(inode.clone(), b"fifo");
    let path = crate::Path {
        mount: root,
        dentry,
    };
    File::new(open_fifo(inode, flags)?, path, flags, Positioning::Stream)
}

#[test]
fn a_fifo_waits_for_its_other_end() {
    let inode = fifo();
    assert_eq!(
        open(&inode, O_WRONLY | O_NONBLOCK).err(),
        Some(Errno::ENXIO)
    );
    let r = open(&inode, O_RDONLY).unwrap();
    assert!(!r.ops().open_complete(&r, None));
    assert_eq!(
        r.poll(None),
        PollEvents::empty(),
        "no writer yet is no hang-up"
    );
    let w = open(&inode, O_WRONLY).unwrap();
    assert!(w.ops().open_complete(&w, None));
    drop(w);
    assert!(
        r.ops().open_complete(&r, None),
        "a writer that came and went counts"
    );
    assert_eq!(read(&r, 1).unwrap(), b"");
    assert_eq!(r.poll(None), PollEvents::HUP);
    let w = open(&inode, O_WRONLY | O_NONBLOCK).unwrap();
    write(&w, b"left over").unwrap();
    drop((r, w));
    let both = open(&inode, O_RDWR).unwrap();
    assert!(both.ops().open_complete(&both, None));
    assert_eq!(
        read(&both, 10),
        Err(Errno::EAGAIN),
        "what nobody read is gone"
    );
}

proptest! {
    #[test]
    fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((any::<bool>(), 0usize..9000), 1..60)) {
        let (r, w) = pipe(0, 0, 0).unwrap();
        let mut model = VecDeque::new();
        let mut next = 0u8;
        for (writes, len) in steps {
            if writes {
                let bytes: Vec<u8> = (0..len).map(|n| next.wrapping_add(n as u8)).collect();
                match write(&w, &bytes) {
                    Ok(n) => {
                        prop_assert!(len > PIPE_BUF || n == len, "a small write was cut");
                        model.extend(&bytes[..n]);
                        next = next.wrapping_add(n as u8);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, Errno::EAGAIN);
                        prop_assert!(model.len() > 65_536 - 16 * PAGE_SIZE);
                    }
                }
            } else {
                let want: Vec<u8> = model.iter().copied().take(len).collect();
                match read(&r, len) {
                    Ok(bytes) => {
                        prop_assert_eq!(&bytes, &want);
                        model.drain(..bytes.len());
                    }
                    Err(error) => {
                        prop_assert_eq!(error, Errno::EAGAIN);
                        prop_assert!(model.is_empty());
                    }
                }
            }
            prop_assert_eq!(pipe_of(&r).unwrap().available(), model.len());
        }
    }
}

#[test]
fn a_fifo_whose_other_end_waited_opens_though_that_is_gone_again() {
    let inode = fifo();
    let w = open(&inode, O_WRONLY).unwrap();
    assert!(!w.ops().open_complete(&w, None));
    let r = open(&inode, O_RDONLY).unwrap();
    // The writer is faster than the reader: it writes and closes before the reader looks.
    assert!(w.ops().open_complete(&w, None));
    write(&w, b"through").unwrap();
    drop(w);
    assert!(r.ops().open_complete(&r, None));
    assert_eq!(read(&r, 10).unwrap(), b"through");
}
