//! A name server in this process: real DNS messages over UDP and TCP on a loopback port, with answers that a test
//! changes as it goes.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is said about a name.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Addresses of either family with this TTL; a family without one is answered with no data.
    Addresses(u32, Vec<IpAddr>),
    /// Another name, with this TTL, and what is said about that.
    Alias(u32, String, Box<Zone>),
    /// Over UDP nothing but "truncated", over TCP the whole of it.
    OverTcpOnly(Box<Zone>),
    /// NXDOMAIN; also the answer for names that were not set.
    NoSuchName,
    /// An error, such as SERVFAIL.
    Error(ResponseCode),
    /// IPv4 as the first says, IPv6 as the second.
    Families(Box<Zone>, Box<Zone>),
    /// No answer at all.
    Silent,
    /// The answer after this time.
    Late(Duration, Box<Zone>),
}

/// Addresses with a TTL of an hour: nothing but a change of mind of the proxy makes it ask again.
pub fn addresses(addresses: &[&str]) -> Zone {
    with_ttl(3600, addresses)
}

pub fn with_ttl(seconds: u32, addresses: &[&str]) -> Zone {
    Zone::Addresses(seconds, addresses.iter().map(|address| address.parse().expect("an address")).collect())
}

/// One question that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub name: String,
    pub kind: RecordType,
    pub tcp: bool,
}

pub struct NameServer {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    zones: Mutex<HashMap<String, Zone>>,
    asked: Mutex<Vec<Asked>>,
    stop: AtomicBool,
}

impl NameServer {
    pub fn start() -> Self {
        let (udp, tcp) = bind();
        let address = udp.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || serve_udp(&Arc::new(udp), &shared));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                if shared.stop.load(Ordering::Acquire) {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || serve_tcp(stream, &shared));
            }
        });
        Self { address, state }
    }

    /// A server that says this of `name`.
    pub fn with(name: &str, zone: Zone) -> Self {
        let server = Self::start();
        server.set(name, zone);
        server
    }

    /// From now on this is said of `name`.
    pub fn set(&self, name: &str, zone: Zone) {
        self.state.zones.lock().expect("no panic").insert(format!("{name}."), zone);
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().expect("no panic").clone()
    }

    /// Questions about `name`.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| asked.name == format!("{name}.")).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        // Each of them wakes a thread, which closes its socket.
        drop(TcpStream::connect(self.address));
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
    }
}

/// The same port for both protocols.
fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

fn serve_udp(socket: &Arc<UdpSocket>, state: &Arc<State>) {
    let mut buffer = [0; 4096];
    loop {
        let received = socket.recv_from(&mut buffer);
        if state.stop.load(Ordering::Acquire) {
            return;
        }
        let Ok((len, peer)) = received else { continue };
        let Some((late, reply)) = state.answer(&buffer[..len], false) else { continue };
        let socket = socket.clone();
        let send = move || drop(socket.send_to(&reply, peer));
        if late.is_zero() {
            send();
        } else {
            std::thread::spawn(move || {
                std::thread::sleep(late);
                send();
            });
        }
    }
}

/// RFC 1035 section 4.2.2: each message behind its length.
fn serve_tcp(mut stream: TcpStream, state: &State) {
    loop {
        let mut len = [0; 2];
        if stream.read_exact(&mut len).is_err() {
            return;
        }
        let mut message = vec![0; u16::from_be_bytes(len).into()];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        let Some((late, reply)) = state.answer(&message, true) else { continue };
        std::thread::sleep(late);
        let len = u16::try_from(reply.len()).expect("a short message").to_be_bytes();
        if stream.write_all(&[&len[..], &reply].concat()).is_err() {
            return;
        }
    }
}

impl State {
    /// The reply to a message, and how late it is to be sent.
    fn answer(&self, message: &[u8], tcp: bool) -> Option<(Duration, Vec<u8>)> {
        let request = Message::from_vec(message).ok()?;
        let query = request.queries.first()?.clone();
        let name = query.name.to_string().to_ascii_lowercase();
        self.asked.lock().expect("no panic").push(Asked { name: name.clone(), kind: query.query_type, tcp });
        let zone = self.zones.lock().expect("no panic").get(&name).cloned().unwrap_or(Zone::NoSuchName);
        let mut reply = Message::response(request.id, request.op_code);
        reply.metadata.recursion_desired = request.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        let late = fill(&mut reply, &query, &query.name, &zone, tcp)?;
        Some((late, reply.to_vec().expect("a message that can be written")))
    }
}

/// What `zone` says of `name`, put into the reply. `None`: nothing is sent.
fn fill(reply: &mut Message, query: &Query, name: &Name, zone: &Zone, tcp: bool) -> Option<Duration> {
    match zone {
        Zone::Addresses(ttl, addresses) => {
            let wanted = addresses.iter().filter(|address| match query.query_type {
                RecordType::A => address.is_ipv4(),
                RecordType::AAAA => address.is_ipv6(),
                _ => false,
            });
            reply.add_answers(wanted.map(|address| Record::from_rdata(name.clone(), *ttl, RData::from(*address))));
        }
        Zone::Alias(ttl, target, zone) => {
            let target = Name::from_ascii(format!("{target}.")).expect("a name");
            reply.add_answer(Record::from_rdata(name.clone(), *ttl, RData::CNAME(CNAME(target.clone()))));
            return fill(reply, query, &target, zone, tcp);
        }
        Zone::OverTcpOnly(_) if !tcp => reply.metadata.truncation = true,
        Zone::OverTcpOnly(zone) => return fill(reply, query, name, zone, tcp),
        Zone::NoSuchName => reply.metadata.response_code = ResponseCode::NXDomain,
        Zone::Error(code) => reply.metadata.response_code = *code,
        Zone::Families(v4, v6) => {
            let zone = if query.query_type == RecordType::AAAA { v6 } else { v4 };
            return fill(reply, query, name, zone, tcp);
        }
        Zone::Silent => return None,
        Zone::Late(late, zone) => return fill(reply, query, name, zone, tcp).map(|other| other + *late),
    }
    Some(Duration::ZERO)
}
