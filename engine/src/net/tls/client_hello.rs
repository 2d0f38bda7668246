//! A client's first message, read without answering it: which name it asks for, and which protocols it offers.
//!
//! ```text
//! bytes so far ── HelloReader: the message, joined out of its records ── ClientHello: its fields
//! ```
//!
//! What is read here decides which filter chain serves the connection, so it is at least as strict as the library that
//! makes the handshake: a message that the library takes is refused here, or says the same. It depends on nothing else
//! in the proxy.

use std::net::IpAddr;

/// Bytes of the message at most, with its records: the library keeps no more of it.
pub const HELLO_MAX: usize = 0xffff;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// Plain bytes in one record at most (RFC 8446 section 5.1).
const RECORD_MAX: usize = 1 << 14;

/// ContentType and HandshakeType.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// ExtensionType.
const SERVER_NAME: u16 = 0;
const STATUS_REQUEST: u16 = 5;
const ALPN: u16 = 16;
/// CertificateStatusType.
const OCSP: u8 = 1;

/// Why a client's first bytes are none of its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The first byte begins no handshake: the connection speaks something else.
    NotTls,
    TooLarge,
    /// A rule of TLS is broken.
    Broken,
}

use HelloError::{Broken, NotTls, TooLarge};

/// Finds the end of a message that comes in pieces. Each byte is looked at once, however many pieces there are.
#[derive(Clone, Debug, Default)]
pub struct HelloReader {
    /// Where the first record begins that has not come as a whole.
    at: usize,
    records: usize,
    /// Bytes of the message in the records before it.
    len: usize,
    /// The beginning of the message, which says how long it is.
    header: [u8; MESSAGE_HEADER],
}

impl HelloReader {
    /// Whether the message is whole. `bytes`: all that has come so far.
    ///
    /// # Errors
    /// More bytes will not make a message of it.
    pub fn is_whole(&mut self, bytes: &[u8]) -> Result<bool, HelloError> {
        if bytes.first().is_some_and(|first| *first != HANDSHAKE) {
            return Err(NotTls);
        }
        loop {
            let payload = match record(&bytes[self.at..])? {
                Some(payload) => payload,
                None if bytes.len() >= HELLO_MAX => return Err(TooLarge),
                None => return Ok(false),
            };
            for (to, byte) in self.header.iter_mut().skip(self.len).zip(payload) {
                *to = *byte;
            }
            self.at += RECORD_HEADER + payload.len();
            self.records += 1;
            self.len += payload.len();
            if self.header[0] != CLIENT_HELLO {
                return Err(Broken);
            }
            if self.at > HELLO_MAX {
                return Err(TooLarge);
            }
            if self.len >= MESSAGE_HEADER {
                match self.size() {
                    size if size > HELLO_MAX => return Err(TooLarge),
                    // Nothing may stand behind it before the answer to it.
                    size if MESSAGE_HEADER + size < self.len => return Err(Broken),
                    size if MESSAGE_HEADER + size == self.len => return Ok(true),
                    _ => {}
                }
            }
        }
    }

    /// What the message says, once it is whole. `bytes`: the same as before. `joined`: memory to put a message of
    /// several records into.
    ///
    /// # Errors
    /// The message cannot be read.
    pub fn hello<'a>(&self, bytes: &'a [u8], joined: &'a mut Vec<u8>) -> Result<ClientHello<'a>, HelloError> {
        let end = self.at.min(bytes.len());
        if self.records == 1 {
            return ClientHello::parse(bytes.get(RECORD_HEADER + MESSAGE_HEADER..end).ok_or(Broken)?);
        }
        joined.clear();
        joined.reserve_exact(self.len);
        let mut rest = &bytes[..end];
        while let Some(payload) = record(rest)? {
            joined.extend_from_slice(payload);
            rest = &rest[RECORD_HEADER + payload.len()..];
        }
        ClientHello::parse(joined.get(MESSAGE_HEADER..).ok_or(Broken)?)
    }

    fn size(&self) -> usize {
        let [_, high, middle, low] = self.header;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }
}

/// What the record at the front carries, if all of it is there.
fn record(bytes: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    // What can be seen of the header must be right.
    if bytes.first().is_some_and(|kind| *kind != HANDSHAKE) || bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(Broken);
    }
    let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if len == 0 || len > RECORD_MAX {
        return Err(Broken);
    }
    Ok(rest.get(..len))
}

/// What a client says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The name that it asks for, as it was written, without a dot at its end. IP addresses are no names.
    pub server_name: Option<&'a str>,
    /// The list of protocols, each with its length before it.
    protocols: Option<&'a [u8]>,
    /// It wants to know what the authority says of the certificate (OCSP).
    pub asks_for_status: bool,
    /// What clients of TLS 1.2 and newer put as 0x0303; 1.3 is offered elsewhere.
    pub legacy_version: u16,
    suites: &'a [u8],
    /// All of them, each with its kind and its length.
    extensions: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// The message without its header.
    fn parse(message: &'a [u8]) -> Result<Self, HelloError> {
        let mut input = Input(message);
        let mut hello = Self { legacy_version: input.u16()?, ..Self::default() };
        // Random bytes.
        input.take(32)?;
        if input.short()?.len() > 32 {
            return Err(Broken);
        }
        hello.suites = input.long()?;
        let compressions = input.short()?;
        if hello.suites.is_empty() || !hello.suites.len().is_multiple_of(2) || compressions.is_empty() {
            return Err(Broken);
        }
        // A client of TLS 1.2 without extensions leaves their length out.
        if input.is_empty() {
            return Ok(hello);
        }
        hello.extensions = input.long()?;
        input.end()?;
        let mut extensions = Input(hello.extensions);
        let mut has_name = false;
        while !extensions.is_empty() {
            let (kind, body) = (extensions.u16()?, extensions.long()?);
            match kind {
                SERVER_NAME if has_name => return Err(Broken),
                SERVER_NAME => {
                    hello.server_name = server_name(body)?;
                    has_name = true;
                }
                ALPN if hello.protocols.is_some() => return Err(Broken),
                ALPN => hello.protocols = Some(protocol_list(body)?),
                STATUS_REQUEST => hello.asks_for_status = body.first() == Some(&OCSP),
                _ => {}
            }
        }
        Ok(hello)
    }

    /// Bytes of what it offers.
    pub fn offer_length(&self) -> usize {
        self.suites.len() + self.extensions.len()
    }

    /// Whether the client takes part in the choice of a protocol.
    pub fn has_protocols(&self) -> bool {
        self.protocols.is_some()
    }

    /// The protocols that it offers, its favourite first.
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> {
        members(self.protocols.unwrap_or_default())
    }

    /// The cipher suites that it offers, its favourite first.
    pub fn suites(&self) -> impl Iterator<Item = u16> {
        let (suites, _) = self.suites.as_chunks();
        suites.iter().map(|suite| u16::from_be_bytes(*suite))
    }

    /// Its extensions in their order: the kind of each, and what it says.
    pub fn extensions(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = Input(self.extensions);
        std::iter::from_fn(move || Some((rest.u16().ok()?, rest.long().ok()?)))
    }

    /// What the first extension of this kind says.
    pub fn extension(&self, kind: u16) -> Option<&'a [u8]> {
        self.extensions().find(|(other, _)| *other == kind).map(|(_, body)| body)
    }
}

/// What a client asks for, kept for longer than its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// In lower case.
    pub server_name: Option<Box<str>>,
    protocols: Option<Box<[u8]>>,
}

impl Asked {
    pub fn of(hello: &ClientHello<'_>) -> Self {
        let server_name = hello.server_name.map(|name| name.to_ascii_lowercase().into());
        Self { server_name, protocols: hello.protocols.map(Box::from) }
    }

    /// As a client that asks for this name, in lower case, and offers these protocols.
    pub fn new(server_name: Option<&str>, protocols: &[&str]) -> Self {
        let one = |name: &&str| name.len().try_into().ok().map(|len| [&[len][..], name.as_bytes()].concat());
        let list: Vec<u8> = protocols.iter().filter_map(one).flatten().collect();
        Self { server_name: server_name.map(Box::from), protocols: Some(list.into()).filter(|_| !protocols.is_empty()) }
    }

    /// The protocols that it offers, its favourite first.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        members(self.protocols.as_deref().unwrap_or_default())
    }
}

/// The members of a list, each behind its length.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Input(list);
    std::iter::from_fn(move || rest.short().ok())
}

/// The name in the extension (RFC 6066 section 3): there is exactly one kind of names.
fn server_name(body: &[u8]) -> Result<Option<&str>, HelloError> {
    const HOST_NAME: u8 = 0;
    let mut body = Input(body);
    let mut list = Input(body.long()?);
    body.end()?;
    // A name of another kind cannot be skipped, since its length is unknown.
    if list.u8()? != HOST_NAME {
        return Err(Broken);
    }
    let name = std::str::from_utf8(list.long()?).map_err(|_| Broken)?;
    if list.u8() == Ok(HOST_NAME) {
        return Err(Broken);
    }
    match name.strip_suffix('.').unwrap_or(name) {
        short if is_host_name(short) => Ok(Some(short)),
        // Some clients put an address there, which asks for nothing.
        _ if name.parse::<IpAddr>().is_ok() => Ok(None),
        _ => Err(Broken),
    }
}

/// Labels of letters, digits, hyphens and underscores, as hosts have them. The last one is no number, or it would be an
/// address.
pub fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_text = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (1..=63).contains(&label.len()) && is_text && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_number = |label: &str| {
        let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
        label.bytes().all(|byte| byte.is_ascii_digit())
            || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    name.len() <= 253 && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

/// The list in the extension (RFC 7301 section 3.1).
fn protocol_list(body: &[u8]) -> Result<&[u8], HelloError> {
    let mut body = Input(body);
    let list = body.long()?;
    body.end()?;
    let mut rest = Input(list);
    if rest.is_empty() {
        return Err(Broken);
    }
    while !rest.is_empty() {
        if rest.short()?.is_empty() {
            return Err(Broken);
        }
    }
    Ok(list)
}

/// Bytes still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn end(&self) -> Result<(), HelloError> {
        if self.is_empty() { Ok(()) } else { Err(Broken) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes behind their length, which is one byte.
    fn short(&mut self) -> Result<&'a [u8], HelloError> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// The same with a length of two bytes.
    fn long(&mut self) -> Result<&'a [u8], HelloError> {
        let len = self.u16()?;
        self.take(len.into())
    }
}
