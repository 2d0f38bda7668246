//! The second wire's frames as its peers in tests write and read them: strict, slow and independent of the engine's codec.

pub const HEAD: u8 = 1;
pub const DATA: u8 = 2;
pub const END: u8 = 3;
pub const RESET: u8 = 4;
pub const REFUSED: u8 = 5;
pub const GOAWAY: u8 = 6;
pub const CREDIT: u8 = 7;

/// Bytes of DATA that a receiver takes without having given credit, and bytes in one DATA frame.
pub const WINDOW: usize = 64 * 1024;
pub const DATA_MAX: usize = 16 * 1024;

pub type Fields = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a test is short");
    [&[kind][..], &id.to_be_bytes(), &length.to_be_bytes(), payload].concat()
}

pub fn number(kind: u8, id: u32, value: u32) -> Vec<u8> {
    frame(kind, id, &value.to_be_bytes())
}

/// The frame at the front of `bytes`, if it is whole; it is taken out.
pub fn take(bytes: &mut Vec<u8>) -> Option<Frame> {
    let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (id, length) = (long(1)?, long(5)? as usize);
    let kind = bytes[0];
    assert!((HEAD..=CREDIT).contains(&kind), "no frame has the kind {kind}");
    assert!(kind != DATA || (1..=DATA_MAX).contains(&length), "a DATA frame of {length} bytes");
    let payload = bytes.get(9..9 + length)?.to_vec();
    bytes.drain(..9 + length);
    Some(Frame { kind, id, payload })
}

pub fn value(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().expect("four bytes"))
}

/// A request's or a response's head. `ends`: nothing follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub ends: bool,
    pub method: String,
    pub target: String,
    pub authority: String,
    pub status: u16,
    pub fields: Fields,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    pub fn request_payload(&self) -> Vec<u8> {
        let texts = [&self.method, &self.target, &self.authority].map(|part| text(part)).concat();
        [&[u8::from(self.ends)][..], &texts, &fields_payload(&self.fields)].concat()
    }

    pub fn response_payload(&self) -> Vec<u8> {
        [&[u8::from(self.ends)][..], &self.status.to_be_bytes(), &fields_payload(&self.fields)].concat()
    }

    pub fn request(payload: &[u8]) -> Self {
        let mut rest = payload;
        let ends = bytes(&mut rest, 1)[0] == 1;
        let [method, target, authority] = std::array::from_fn(|_| read_text(&mut rest));
        Self { ends, method, target, authority, status: 0, fields: read_fields(rest) }
    }

    pub fn response(payload: &[u8]) -> Self {
        let mut rest = payload;
        let ends = bytes(&mut rest, 1)[0] == 1;
        let status = u16::from_be_bytes(bytes(&mut rest, 2).try_into().expect("two bytes"));
        Self { ends, status, fields: read_fields(rest), ..Self::default() }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn fields_payload(fields: &Fields) -> Vec<u8> {
    let mut payload = (fields.len() as u16).to_be_bytes().to_vec();
    for (name, value) in fields {
        payload.extend(text(name));
        payload.extend(text(value));
    }
    payload
}

fn bytes<'p>(rest: &mut &'p [u8], len: usize) -> &'p [u8] {
    let (first, after) = rest.split_at_checked(len).expect("the payload goes on");
    *rest = after;
    first
}

fn read_text(rest: &mut &[u8]) -> String {
    let len = value(bytes(rest, 4)) as usize;
    String::from_utf8(bytes(rest, len).to_vec()).expect("a text of the tests is UTF-8")
}

/// Fields to the end of the payload. Their names are in lower case, and none of them concerns a connection.
pub fn read_fields(payload: &[u8]) -> Fields {
    let mut rest = payload;
    let count = u16::from_be_bytes(bytes(&mut rest, 2).try_into().expect("two bytes"));
    let fields: Fields = (0..count).map(|_| (read_text(&mut rest), read_text(&mut rest))).collect();
    assert!(rest.is_empty(), "bytes behind the fields: {rest:?}");
    for (name, _) in &fields {
        let is_hop_by_hop = ["connection", "keep-alive", "transfer-encoding", "upgrade", "te", "host"];
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name} is not in lower case");
        assert!(!is_hop_by_hop.contains(&name.as_str()), "{name} is no field of this wire");
    }
    fields
}
