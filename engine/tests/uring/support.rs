//! What the tests share: a reactor with a deadline, socket pairs, bytes that know their place, and child processes.

use ringway::ring::{Buf, Facts, PoolSize, Reactor, ReactorOptions, Socket, Timer};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// A test that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A reactor whose tasks are dropped at the end of the test.
pub struct Ring(pub Rc<Reactor>);

impl Ring {
    pub fn new() -> Self {
        Self::with(&ReactorOptions::default())
    }

    /// With `count` receive buffers of 4 KiB.
    pub fn with_buffers(count: u16) -> Self {
        Self::with(&ReactorOptions { buffers: PoolSize { count, size: 4096 }, ..ReactorOptions::default() })
    }

    pub fn with(options: &ReactorOptions) -> Self {
        Self(Reactor::new(options).expect("these tests need io_uring"))
    }

    /// Run `future` to its end; a hang is a failure.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let reactor = self.0.clone();
        self.0.block_on(async move {
            let timer = Timer::new(&reactor);
            timer.arm_in(PATIENCE);
            let mut future = pin!(future);
            poll_fn(|context| match future.as_mut().poll(context) {
                Poll::Pending if timer.fired() => panic!("the test hangs: {:?}", reactor.facts()),
                polled => polled,
            })
            .await
        })
    }

    pub fn sleep(&self, millis: u64) {
        let reactor = self.0.clone();
        self.run(async move { reactor.sleep(Duration::from_millis(millis)).await });
    }

    /// Turn until the facts are as `expected`.
    pub fn settle(&self, expected: impl Fn(&Facts) -> bool + 'static) {
        let reactor = self.0.clone();
        self.run(async move {
            while !expected(&reactor.facts()) {
                reactor.sleep(Duration::from_millis(1)).await;
            }
        });
    }

    /// Turn until `done` has counted to `count`, with every task sound.
    pub fn finish(&self, done: &Rc<Cell<usize>>, count: usize) {
        let (reactor, done) = (self.0.clone(), done.clone());
        self.run(async move {
            while done.get() < count {
                assert_eq!(reactor.facts().panics, 0, "a task failed");
                reactor.sleep(Duration::from_millis(1)).await;
            }
        });
    }

    /// A socket on this ring and its peer.
    pub fn pair(&self) -> (Socket, TcpStream) {
        let (ours, peer) = pair();
        (Socket::new(&self.0, ours), peer)
    }
}

impl Deref for Ring {
    type Target = Rc<Reactor>;

    fn deref(&self) -> &Rc<Reactor> {
        &self.0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

/// A listener on a port of the kernel's choice.
pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")
}

/// Both ends of a TCP connection. Blocking; the peer gives up after `PATIENCE`.
pub fn pair() -> (OwnedFd, TcpStream) {
    let listener = listener();
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("the listener listens");
    let address = peer.local_addr().expect("connected");
    loop {
        let (ours, from) = listener.accept().expect("a connection waits");
        // A connection of another process to a port used again is not ours.
        if from == address {
            ours.set_nodelay(true).expect("a TCP socket");
            patient(&peer);
            return (ours.into(), peer);
        }
    }
}

pub fn patient(stream: &TcpStream) {
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
}

/// Close with RST.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
}

pub async fn recv(socket: &Socket) -> io::Result<Option<Buf>> {
    poll_fn(|_| socket.poll_recv()).await
}

pub async fn flushed(socket: &Socket, limit: usize) -> io::Result<()> {
    poll_fn(|_| socket.poll_flushed(limit)).await
}

/// Receive `len` bytes of `pattern` from its start, dropping buffers at once.
pub async fn expect(socket: &Socket, pattern: &Pattern, len: usize) {
    let mut at = 0;
    while at < len {
        let buf = recv(socket).await.expect("no error").expect("no end before the last byte");
        assert!(!buf.is_empty(), "an empty buffer came out");
        pattern.check(at, &buf);
        at += buf.len();
    }
    assert_eq!(at, len, "more bytes than were sent");
}

/// Bytes of which each one's value follows from its place, with a period that is no multiple of any buffer's size.
#[derive(Clone)]
pub struct Pattern(std::sync::Arc<Vec<u8>>);

const PERIOD: usize = 65_521;

impl Pattern {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self(std::sync::Arc::new((0..PERIOD).map(|_| random.next() as u8).collect()))
    }

    pub fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let start = (at + bytes.len()) % PERIOD;
            bytes.extend_from_slice(&self.0[start..(start + len - bytes.len()).min(PERIOD)]);
        }
        bytes
    }

    /// Panics where `bytes` are not those that belong at `at`.
    pub fn check(&self, at: usize, bytes: &[u8]) {
        let mut at = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = at % PERIOD;
            let len = rest.len().min(PERIOD - start);
            assert!(rest[..len] == self.0[start..start + len], "wrong bytes between {at} and {}", at + len);
            at += len;
            rest = &rest[len..];
        }
    }

    /// Read to the end or to a reset; what comes must be a prefix. Returns its length.
    pub fn check_prefix(&self, stream: &mut TcpStream) -> usize {
        let mut at = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return at,
                Ok(n) => {
                    self.check(at, &buffer[..n]);
                    at += n;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return at,
                Err(error) => panic!("after {at} bytes: {error}"),
            }
        }
    }
}

/// A small deterministic generator (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

const CHILD: &str = "RINGWAY_URING_TEST_CHILD";

/// Run `body` in a process of its own: this test binary again, with only the test named `test` (its full path) and
/// `environment`. For what concerns the whole process: limits, signals, the allocator.
pub fn in_child(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        // SAFETY: no pointers are passed. A child that hangs or whose parent died ends itself.
        unsafe {
            libc::alarm(PATIENCE.as_secs() as u32 * 2);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        return body();
    }
    let output = Command::new(std::env::current_exe().expect("/proc is mounted"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("this binary starts again");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{printed}\n{errors}", output.status);
    assert!(printed.contains("1 passed"), "the child ran no test: {printed}");
}

/// Descriptors that this process has open.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count() - 1
}

/// For the whole process: call it in a child.
pub fn set_descriptor_limit(limit: u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limits` is a valid rlimit to fill and to read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits), 0);
        limits.rlim_cur = limit.min(limits.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
    }
}
