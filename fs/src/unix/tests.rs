use super::*;
use crate::cred::Credentials;
use crate::file::File;
use crate::iobuf::{SliceSink, SliceSource};
use crate::mount::FsContext;
use crate::poll::Waiters;
use crate::socket::{self, SocketFile, msg};
use crate::test_util::CountingWaker;
use alloc::vec;
use core::pin::pin;
use proptest::prelude::*;

const CLOSED: PollEvents = PollEvents::HUP.union(PollEvents::RDHUP);

/// A process that makes calls.
struct Program {
    cred: Credentials,
    fs: Option<FsContext>,
    pid: u32,
}

impl Program {
    fn new(pid: u32) -> Program {
        Program {
            cred: Credentials::root(),
            fs: None,
            pid,
        }
    }

    fn with_files(pid: u32) -> Program {
        let root = crate::tmpfs::rootfs().unwrap().root_path();
        Program {
            fs: Some(FsContext {
                root: root.clone(),
                cwd: root,
                umask: 0o022,
            }),
            ..Program::new(pid)
        }
    }

    fn who(&self) -> Caller<'_> {
        Caller {
            cred: &self.cred,
            pid: self.pid,
            fs: self.fs.as_ref(),
            nofile: 1024,
        }
    }
}

/// A socket that is closed when this goes.
struct Sock(Arc<UnixSocket>);

impl Drop for Sock {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl core::ops::Deref for Sock {
    type Target = UnixSocket;
    fn deref(&self) -> &UnixSocket {
        &self.0
    }
}

fn new(kind: SocketType) -> Sock {
    Sock(UnixSocket::new(kind))
}

fn pair(kind: SocketType) -> (Sock, Sock) {
    let (a, b) = UnixSocket::pair(kind, Program::new(1).who());
    (Sock(a), Sock(b))
}

fn send(socket: &UnixSocket, data: &[u8]) -> Result<usize> {
    socket.send(&mut SendMsg::new(&mut SliceSource::new(data), 0), None)
}

fn send_to(socket: &UnixSocket, who: &Program, to: &[u8], data: &[u8]) -> Result<usize> {
    let mut source = SliceSource::new(data);
    let mut msg = SendMsg::new(&mut source, 0);
    msg.to = Some((to, who.who()));
    socket.send(&mut msg, None)
}

fn recv_flags(socket: &UnixSocket, len: usize, flags: u32) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let mut sink = SliceSink::new(&mut buf);
    let got = socket.recv(&mut RecvMsg::new(&mut sink, flags))?;
    buf.truncate(got);
    Ok(buf)
}

fn recv(socket: &UnixSocket, len: usize) -> Result<Vec<u8>> {
    recv_flags(socket, len, msg::DONTWAIT)
}

fn name(text: &str) -> Vec<u8> {
    let mut addr = AF_UNIX.to_ne_bytes().to_vec();
    addr.extend_from_slice(text.as_bytes());
    addr
}

fn listener(kind: SocketType, at: &str, backlog: u32) -> Sock {
    let server = new(kind);
    let program = Program::new(10);
    server.bind(program.who(), &name(at)).unwrap();
    server.listen(program.who(), backlog).unwrap();
    server
}

#[test]
fn stream_pair_carries_bytes_and_ends() {
    let (a, b) = pair(SocketType::Stream);
    assert_eq!(recv(&b, 4), Err(Errno::EAGAIN));
    assert_eq!(send(&a, b"hello "), Ok(6));
    assert_eq!(send(&a, b"world"), Ok(5));
    assert_eq!(recv(&b, 8).unwrap(), b"hello wo");
    assert_eq!(recv_flags(&b, 8, msg::PEEK).unwrap(), b"rld");
    drop(a);
    assert_eq!(recv(&b, 8).unwrap(), b"rld");
    assert_eq!(recv(&b, 8).unwrap(), b"");
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));
    let events = b.poll(None);
    assert!(events.contains(CLOSED | PollEvents::IN));
}

#[test]
fn closing_with_unread_data_resets_the_peer() {
    let (a, b) = pair(SocketType::Stream);
    send(&a, b"lost").unwrap();
    drop(b);
    assert!(a.poll(None).contains(PollEvents::ERR | PollEvents::HUP));
    assert_eq!(recv(&a, 4), Err(Errno::ECONNRESET));
    assert_eq!(recv(&a, 4).unwrap(), b"");
}

#[test]
fn stream_sender_stops_at_its_buffer_and_hears_of_room() {
    let (a, b) = pair(SocketType::Stream);
    let value = 4096_i32.to_ne_bytes();
    socket::option::set(&*a.0, Program::new(1).who(), 1, 7, &value).unwrap();
    let sent = send(&a, &[7; 100_000]).unwrap();
    assert_eq!(sent, 8192);
    assert_eq!(send(&a, b"x"), Err(Errno::EAGAIN));
    assert!(!a.poll(None).contains(PollEvents::OUT));
    let waker = CountingWaker::new();
    let mut waiters = pin!(Waiters::new());
    let mut table = PollTable::new(waiters.as_mut(), waker.waker(), PollEvents::OUT);
    a.poll(Some(&mut table));
    recv(&b, 4096).unwrap();
    assert_eq!(waker.count(), 0);
    recv(&b, 4096).unwrap();
    assert_eq!(waker.count(), 1);
    assert!(a.poll(None).contains(PollEvents::OUT));
}

#[test]
fn a_reader_is_woken_by_data_and_by_shutdown() {
    let (a, b) = pair(SocketType::Stream);
    let waker = CountingWaker::new();
    let mut waiters = pin!(Waiters::new());
    let mut table = PollTable::new(waiters.as_mut(), waker.waker(), PollEvents::IN);
    assert_eq!(
        b.poll(Some(&mut table)) & PollEvents::READ,
        PollEvents::empty()
    );
    send(&a, b"x").unwrap();
    assert_eq!(waker.count(), 1);
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!(waker.count(), 2);
    assert_eq!(recv(&b, 9).unwrap(), b"x");
    assert_eq!(recv(&b, 9).unwrap(), b"");
    let events = b.poll(None);
    assert!(events.contains(PollEvents::RDHUP) && !events.contains(PollEvents::HUP));
    assert_eq!(send(&a, b"y"), Err(Errno::EPIPE));
    assert_eq!(send(&b, b"z"), Ok(1));
    assert_eq!(recv(&a, 1).unwrap(), b"z");
}

#[test]
fn connect_accept_and_names() {
    let server = listener(SocketType::Stream, "\0first", 1);
    assert_eq!(server.accept().err(), Some(Errno::EAGAIN));
    let (one, two, three) = (
        new(SocketType::Stream),
        new(SocketType::Stream),
        new(SocketType::Stream),
    );
    let program = Program::new(20);
    let unconnected = PollEvents::HUP | PollEvents::WRITE | PollEvents::WRBAND;
    assert_eq!(one.poll(None), unconnected);
    assert_eq!(recv(&one, 1), Err(Errno::EINVAL));
    assert_eq!(send(&one, b"x"), Err(Errno::ENOTCONN));
    one.connect(program.who(), &name("\0first"), None).unwrap();
    assert_eq!(
        one.connect(program.who(), &name("\0first"), None),
        Err(Errno::EISCONN)
    );
    two.connect(program.who(), &name("\0first"), None).unwrap();
    // The backlog of one is passed by one, as on Linux.
    let waker = CountingWaker::new();
    let mut waiters = pin!(Waiters::new());
    let mut table = PollTable::new(waiters.as_mut(), waker.waker(), PollEvents::OUT);
    assert_eq!(
        three.connect(program.who(), &name("\0first"), Some(&mut table)),
        Err(Errno::EAGAIN)
    );
    assert_eq!(server.poll(None), PollEvents::READ);
    send(&one, b"early").unwrap();
    let accepted = server.accept().unwrap();
    assert_eq!(waker.count(), 1);
    three
        .connect(program.who(), &name("\0first"), None)
        .unwrap();
    let accepted = Sock(
        socket::downcast::<UnixSocket>(&accepted)
            .unwrap()
            .me()
            .unwrap(),
    );
    assert_eq!(recv(&accepted, 9).unwrap(), b"early");
    assert_eq!(one.peer_addr().unwrap().as_bytes(), name("\0first"));
    assert_eq!(
        accepted.peer_addr().unwrap().as_bytes(),
        AF_UNIX.to_ne_bytes()
    );
    let mut cred = [0; 12];
    one.get_option(1, socket::option::so::PEERCRED, &mut cred)
        .unwrap();
    assert_eq!(Ucred::from_bytes(cred).pid, 10);
    accepted
        .get_option(1, socket::option::so::PEERCRED, &mut cred)
        .unwrap();
    assert_eq!(Ucred::from_bytes(cred).pid, 20);
    // Closing an accepted socket leaves the name to the listener.
    drop(accepted);
    let again = new(SocketType::Stream);
    assert_eq!(
        again.bind(program.who(), &name("\0first")),
        Err(Errno::EADDRINUSE)
    );
    drop(server);
    assert_eq!(recv(&three, 1), Err(Errno::ECONNRESET));
    assert_eq!(
        again.connect(program.who(), &name("\0first"), None),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(again.bind(program.who(), &name("\0first")), Ok(()));
}

#[test]
fn listening_needs_a_name_and_a_connection_type() {
    let program = Program::new(1);
    let stream = new(SocketType::Stream);
    assert_eq!(stream.listen(program.who(), 5), Err(Errno::EINVAL));
    assert_eq!(stream.accept().err(), Some(Errno::EINVAL));
    let datagram = new(SocketType::Datagram);
    assert_eq!(datagram.listen(program.who(), 5), Err(Errno::EOPNOTSUPP));
    assert_eq!(datagram.accept().err(), Some(Errno::EOPNOTSUPP));
    stream.bind(program.who(), &AF_UNIX.to_ne_bytes()).unwrap();
    assert_eq!(stream.local_addr().unwrap().as_bytes().len(), 8);
    assert_eq!(stream.bind(program.who(), &name("\0b")), Err(Errno::EINVAL));
    assert_eq!(datagram.peer_addr(), Err(Errno::ENOTCONN));
    for bad in [&[1_u8][..], &[2, 0, b'a'], &[1; 111]] {
        assert_eq!(datagram.bind(program.who(), bad), Err(Errno::EINVAL));
    }
}

#[test]
fn paths_lead_to_sockets() {
    let program = Program::with_files(1);
    let server = new(SocketType::Stream);
    server.bind(program.who(), &name("/sock")).unwrap();
    assert_eq!(server.local_addr().unwrap().as_bytes(), name("/sock\0"));
    let other = new(SocketType::Stream);
    assert_eq!(
        other.bind(program.who(), &name("/sock")),
        Err(Errno::EADDRINUSE)
    );
    assert_eq!(
        other.connect(program.who(), &name("/sock"), None),
        Err(Errno::ECONNREFUSED)
    );
    server.listen(program.who(), 1).unwrap();
    other.connect(program.who(), &name("/sock"), None).unwrap();
    assert_eq!(
        new(SocketType::Datagram).connect(program.who(), &name("/sock"), None),
        Err(Errno::EPROTOTYPE)
    );
    let third = new(SocketType::Stream);
    assert_eq!(
        third.connect(program.who(), &name("/none"), None),
        Err(Errno::ENOENT)
    );
    let mut user = Program::with_files(2);
    user.fs = program.fs.clone();
    user.cred = Credentials::user(1000, 1000);
    assert_eq!(
        third.connect(user.who(), &name("/sock"), None),
        Err(Errno::EACCES)
    );
    drop(server);
    assert_eq!(
        third.connect(program.who(), &name("/sock"), None),
        Err(Errno::ECONNREFUSED)
    );
}

#[test]
fn datagrams_keep_their_bounds_and_senders() {
    let program = Program::new(1);
    let (a, b) = (new(SocketType::Datagram), new(SocketType::Datagram));
    a.bind(program.who(), &name("\0dgram-a")).unwrap();
    b.bind(program.who(), &name("\0dgram-b")).unwrap();
    assert_eq!(send(&a, b"x"), Err(Errno::ENOTCONN));
    send_to(&a, &program, &name("\0dgram-b"), b"one").unwrap();
    send_to(&a, &program, &name("\0dgram-b"), b"").unwrap();
    send_to(&a, &program, &name("\0dgram-b"), b"three").unwrap();
    let mut buf = [0; 2];
    let mut sink = SliceSink::new(&mut buf);
    let mut msg = RecvMsg::new(&mut sink, msg::TRUNC);
    assert_eq!(b.recv(&mut msg), Ok(3));
    assert_eq!(msg.out_flags, msg::TRUNC);
    assert_eq!(msg.from.unwrap().as_bytes(), name("\0dgram-a"));
    assert_eq!(recv(&b, 9).unwrap(), b"");
    assert_eq!(recv(&b, 9).unwrap(), b"three");
    assert_eq!(recv(&b, 9), Err(Errno::EAGAIN));
    // A socket with a peer hears no other.
    let c = new(SocketType::Datagram);
    b.connect(program.who(), &name("\0dgram-a"), None).unwrap();
    assert_eq!(
        send_to(&c, &program, &name("\0dgram-b"), b"x"),
        Err(Errno::EPERM)
    );
    c.connect(program.who(), &name("\0dgram-a"), None).unwrap();
    drop(a);
    assert_eq!(send(&c, b"x"), Err(Errno::ECONNREFUSED));
    assert_eq!(send(&c, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(send(&b, &vec![0; 300_000]), Err(Errno::EMSGSIZE));
}

#[test]
fn a_full_receiver_holds_up_strangers_but_not_its_peer() {
    let program = Program::new(1);
    let (server, client) = (new(SocketType::Datagram), new(SocketType::Datagram));
    server.bind(program.who(), &name("\0full")).unwrap();
    client
        .connect(program.who(), &name("\0full"), None)
        .unwrap();
    for _ in 0..=MAX_DATAGRAMS.count() {
        send(&client, b"x").unwrap();
    }
    let waker = CountingWaker::new();
    let mut waiters = pin!(Waiters::new());
    let mut table = PollTable::new(waiters.as_mut(), waker.waker(), PollEvents::OUT);
    assert_eq!(send(&client, b"x"), Err(Errno::EAGAIN));
    assert!(!client.poll(Some(&mut table)).contains(PollEvents::OUT));
    recv(&server, 1).unwrap();
    assert_eq!(waker.count(), 1);
    assert!(client.poll(None).contains(PollEvents::OUT));
    let (a, _b) = pair(SocketType::Datagram);
    // One-byte messages count 768 each against 212,992.
    let sent = (0..1000).take_while(|_| send(&a, b"x").is_ok()).count();
    assert_eq!(sent, 278);
}

#[test]
fn sequenced_packets_have_bounds_and_an_end() {
    let (a, b) = pair(SocketType::SeqPacket);
    send(&a, b"one").unwrap();
    send(&a, b"two").unwrap();
    assert_eq!(recv(&b, 2).unwrap(), b"on");
    assert_eq!(recv(&b, 9).unwrap(), b"two");
    drop(a);
    assert_eq!(recv(&b, 9).unwrap(), b"");
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));
    let single = new(SocketType::SeqPacket);
    assert_eq!(send(&single, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(recv(&single, 1), Err(Errno::ENOTCONN));
}

#[test]
fn credentials_go_along_where_asked() {
    let (a, b) = pair(SocketType::Stream);
    let on = 1_i32.to_ne_bytes();
    send(&a, b"before").unwrap();
    socket::option::set(&*b.0, Program::new(1).who(), 1, 16, &on).unwrap();
    let cred = Ucred {
        pid: 42,
        uid: 1,
        gid: 2,
    };
    let mut source = SliceSource::new(b"after");
    let mut msg = SendMsg::new(&mut source, 0);
    msg.from = Some(cred);
    a.send(&mut msg, None).unwrap();
    let mut buf = [0; 32];
    let mut sink = SliceSink::new(&mut buf);
    let mut msg = RecvMsg::new(&mut sink, 0);
    assert_eq!(b.recv(&mut msg), Ok(6));
    assert_eq!(msg.creds, Some(Ucred::NOBODY));
    let mut sink = SliceSink::new(&mut buf);
    let mut msg = RecvMsg::new(&mut sink, 0);
    assert_eq!(b.recv(&mut msg), Ok(5));
    assert_eq!(msg.creds, Some(cred));
}

fn file(socket: Sock) -> Arc<File> {
    let inner: Arc<dyn Socket> = socket.0.clone();
    core::mem::forget(socket);
    socket::open(inner, &Credentials::root(), 0).unwrap()
}

fn file_pair() -> (Arc<File>, Arc<File>) {
    let (a, b) = pair(SocketType::Stream);
    (file(a), file(b))
}

fn send_files(over: &File, files: Vec<Arc<File>>) -> Result<usize> {
    let mut source = SliceSource::new(b"f");
    let mut msg = SendMsg::new(&mut source, 0);
    msg.files = files;
    SocketFile::of(over).unwrap().send(&mut msg, None)
}

fn recv_files(over: &File) -> Vec<Arc<File>> {
    let mut buf = [0; 16];
    let mut sink = SliceSink::new(&mut buf);
    let mut msg = RecvMsg::new(&mut sink, 0);
    SocketFile::of(over).unwrap().recv(&mut msg).unwrap();
    msg.files
}

#[test]
fn files_arrive_and_lost_ones_are_closed() {
    let (a, b) = file_pair();
    let (sent, other) = file_pair();
    let weak = Arc::downgrade(&sent);
    send_files(&a, vec![sent.clone()]).unwrap();
    drop(sent);
    let got = recv_files(&b);
    assert_eq!(got.len(), 1);
    assert!(Arc::ptr_eq(&got[0], &weak.upgrade().unwrap()));
    send_files(&a, got).unwrap();
    // Read without room for files: the data comes, the file is closed.
    let mut buf = [0; 4];
    assert_eq!(b.read(&mut SliceSink::new(&mut buf)), Ok(1));
    assert!(weak.upgrade().is_none());
    assert!(other.poll(None).contains(PollEvents::HUP));
}

#[test]
fn a_user_has_a_bound_on_files_under_way() {
    let (a, b) = file_pair();
    let (c, _d) = file_pair();
    let send_as = |files, limit| {
        let mut source = SliceSource::new(b"f");
        let mut msg = SendMsg::new(&mut source, 0);
        msg.files = files;
        msg.files_of = Some((77_001, limit));
        SocketFile::of(&a).unwrap().send(&mut msg, None)
    };
    assert_eq!(send_as(vec![c.clone(), c.clone()], 1), Ok(1));
    assert_eq!(send_as(vec![c.clone()], 1), Err(Errno::ETOOMANYREFS));
    assert_eq!(recv_files(&b).len(), 2);
    assert_eq!(send_as(vec![c.clone()], 1), Ok(1));
}

#[test]
fn cycles_of_files_under_way_are_collected() {
    let (a, b) = file_pair();
    let (weak_a, weak_b) = (Arc::downgrade(&a), Arc::downgrade(&b));
    // Each is in the other's inbox, and one in its own as well.
    send_files(&a, vec![a.clone(), b.clone()]).unwrap();
    send_files(&b, vec![b.clone()]).unwrap();
    drop(a);
    gc::collect();
    assert!(weak_a.upgrade().is_some(), "b may still receive it");
    drop(b);
    // Another test's collection may be under way and do this one's work a little later.
    let begun = std::time::Instant::now();
    loop {
        gc::collect();
        if weak_a.strong_count() == 0 && weak_b.strong_count() == 0 {
            return;
        }
        assert!(begun.elapsed().as_secs() < 30, "the cycle is still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_long_chain_of_files_closes_without_recursion() {
    let (first, mut last) = file_pair();
    drop(first);
    for _ in 0..3000 {
        let (a, b) = file_pair();
        send_files(&a, vec![last]).unwrap();
        drop(a);
        last = b;
    }
    let weak = Arc::downgrade(&last);
    drop(last);
    assert!(weak.upgrade().is_none());
}

#[test]
fn queued_lengths_are_told() {
    struct Word(core::cell::Cell<i32>);
    impl UserMemory for Word {
        fn read(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Err(Errno::EFAULT)
        }
        fn write(&self, _: u64, bytes: &[u8]) -> Result<()> {
            self.0.set(i32::from_ne_bytes(bytes.try_into().unwrap()));
            Ok(())
        }
    }
    let word = Word(core::cell::Cell::new(0));
    let (a, b) = pair(SocketType::Stream);
    send(&a, b"12345").unwrap();
    b.ioctl(FIONREAD, 0, &word).unwrap();
    assert_eq!(word.0.get(), 5);
    a.ioctl(TIOCOUTQ, 0, &word).unwrap();
    assert_eq!(word.0.get(), 5);
    assert_eq!(a.ioctl(0x1234, 0, &word), Err(Errno::ENOTTY));
}

proptest! {
    #[test]
    fn a_stream_delivers_every_byte_once(steps in prop::collection::vec((0..4_u8, 1..60_000_usize), 1..60)) {
        let (a, b) = pair(SocketType::Stream);
        let mut ends = [(&a, 0_usize, 0_usize), (&b, 0, 0)];
        let byte = |at: usize| (at % 253) as u8;
        for (step, len) in steps {
            let (from, to) = (usize::from(step & 1), usize::from(step & 1 ^ 1));
            if step & 2 == 0 {
                let data: Vec<u8> = (0..len).map(|i| byte(ends[from].1 + i)).collect();
                match send(ends[from].0, &data) {
                    Ok(sent) => ends[from].1 += sent,
                    Err(error) => prop_assert_eq!(error, Errno::EAGAIN),
                }
            } else if let Ok(got) = recv(ends[to].0, len) {
                for (i, got) in got.iter().enumerate() {
                    prop_assert_eq!(*got, byte(ends[from].2 + i));
                }
                ends[from].2 += got.len();
            }
            prop_assert_eq!(ends[from].0.out.used(), ends[from].1 - ends[from].2);
        }
    }
}
