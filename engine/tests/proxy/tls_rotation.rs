//! A hundred certificates, one after the other, under load: none of the exchanges on connections that stay, and none of the
//! new connections, may notice more of it than the certificate.

use super::support::{Connection, Pki, Ringway, eventually};
use super::tls::{front, hello, rustls_trusting, rustls_with};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const RENEWALS: usize = 100;
/// Connections that stay.
const KEPT: usize = 4;
/// Threads that open one connection after the other; the first of them resumes its session.
const OPENING: usize = 2;

/// The number of the certificate that the proxy has shown on a connection, as it says itself in responses.
const TELLS: &str = "response_headers_to_add = [{ name = \"x-shown\", value = \"%DOWNSTREAM_LOCAL_SUBJECT%\" }]";

/// What the threads share.
#[derive(Default)]
struct Load {
    /// The number of the certificate that is known to be in use.
    in_use: AtomicUsize,
    ended: AtomicBool,
    /// Exchanges, or connections, of each thread.
    done: [AtomicUsize; KEPT + OPENING],
    resumed: AtomicUsize,
}

/// Ends the load when it goes, also where the test fails: the threads are waited for.
struct End<'a>(&'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, SeqCst);
    }
}

impl Load {
    /// Let `exchange` happen again and again.
    fn repeat(&self, thread: usize, mut exchange: impl FnMut()) {
        while !self.ended.load(SeqCst) {
            exchange();
            self.done[thread].fetch_add(1, SeqCst);
            // As many as the machine bears would only be in the way of other tests.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Wait until each thread has begun something from now on and ended it.
    fn wait_for_all(&self) {
        let so_far = self.done.each_ref().map(|done| done.load(SeqCst));
        eventually("the load goes on", || {
            self.done.iter().zip(so_far).all(|(done, so_far)| done.load(SeqCst) >= so_far + 2)
        });
    }
}

/// A certificate for a.example with this number, in the files that `to` names; the key is written after the certificate.
fn issue(pki: &Pki, number: usize, to: &str) {
    let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, number.to_string());
    pki.issue_params(to, params, &KeyPair::generate().expect("a key"));
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn open(proxy: &Ringway, config: &Arc<ClientConfig>) -> Connection<Stream> {
    Connection::new(rustls_with(proxy, config, "a.example"))
}

/// One exchange, and the number of the connection's certificate.
fn exchange(connection: &mut Connection<Stream>) -> usize {
    let response = connection.get("/");
    assert_eq!((response.status(), response.text()), (200, "https"));
    let subject = response.field("x-shown").expect("the subject");
    subject.strip_prefix("CN=").and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{subject}"))
}

#[test]
fn a_hundred_renewals_under_load_lose_nothing() {
    let origin = hello();
    let (proxy, pki) = front(origin.address, "", TELLS);
    issue(&pki, 0, "a");
    assert!(proxy.reload());
    let resuming = rustls_trusting(&pki, b"http/1.1");
    let mut config = (*resuming).clone();
    config.resumption = Resumption::disabled();
    let full = Arc::new(config);
    let load = Load::default();
    std::thread::scope(|threads| {
        let _end = End(&load);
        let (load, proxy) = (&load, &proxy);
        for thread in 0..KEPT {
            let mut connection = open(proxy, &full);
            threads.spawn(move || {
                load.repeat(thread, || assert_eq!(exchange(&mut connection), 0, "it stays with its certificate"));
            });
        }
        threads.spawn(|| {
            load.repeat(KEPT, || {
                let mut connection = open(proxy, &resuming);
                exchange(&mut connection);
                let is_resumed = connection.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
                load.resumed.fetch_add(usize::from(is_resumed), SeqCst);
            });
        });
        threads.spawn(|| {
            load.repeat(KEPT + 1, || {
                let at_least = load.in_use.load(SeqCst);
                let shown = exchange(&mut open(proxy, &full));
                assert!(shown >= at_least, "{shown} after {at_least}");
            });
        });
        load.wait_for_all();
        for number in 1..=RENEWALS {
            issue(&pki, number, "a");
            eventually("new connections have the new certificate", || exchange(&mut open(proxy, &full)) == number);
            load.in_use.store(number, SeqCst);
            load.wait_for_all();
        }
    });
    assert!(load.resumed.load(SeqCst) > 0);
    assert_eq!(proxy.stat("listener.main.ssl.connection_error"), 0);
    // A session goes on over a renewal.
    let resuming = rustls_trusting(&pki, b"http/1.1");
    exchange(&mut open(&proxy, &resuming));
    issue(&pki, RENEWALS + 1, "a");
    eventually("it is renewed", || exchange(&mut open(&proxy, &full)) == RENEWALS + 1);
    let mut connection = open(&proxy, &resuming);
    exchange(&mut connection);
    assert_eq!(connection.stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));
}
