//! What contexts of traces say, from the values of their fields: B3 in one field and in several
//! (https://github.com/openzipkin/b3-propagation), `traceparent` and `tracestate` of W3C (https://www.w3.org/TR/trace-context-2/).
//! It imports nothing, so that it is fuzzed alone.

/// What a request said of the trace that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// `None`: the sender has only decided whether there is to be a trace.
    pub ids: Option<Ids>,
    /// `None`: the sender leaves it to this side.
    pub sampled: Option<bool>,
    /// It is to be traced all the way, whatever the share of requests that are (B3).
    pub debug: bool,
    /// The trace's id is known to be random (W3C, level 2).
    pub random: bool,
}

/// Where in a trace a request was sent. No id is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub trace: u128,
    /// The sender's span.
    pub span: u64,
    /// Its parent, where that is said (B3).
    pub parent: Option<u64>,
}

/// The context of a request came broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// `b3: {trace}-{span}[-{sampled}[-{parent}]]`, or the decision alone.
pub fn parse_single(value: &[u8]) -> Option<Context> {
    if let [decision] = value {
        return parse_decision(*decision).map(|(sampled, debug)| Context { sampled, debug, ..Context::default() });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    let mut context = Context::default();
    let mut parent = None;
    match parts.next() {
        Some([decision]) => {
            (context.sampled, context.debug) = parse_decision(*decision)?;
            parent = parts.next().map(|part| span_id(part).ok_or(())).transpose().ok()?;
        }
        // A parent may follow without a decision.
        Some(part) => parent = Some(span_id(part)?),
        None => {}
    }
    if parts.next().is_some() {
        return None;
    }
    context.ids = Some(Ids { trace, span, parent });
    Some(context)
}

fn parse_decision(decision: u8) -> Option<(Option<bool>, bool)> {
    match decision {
        b'0' => Some((Some(false), false)),
        b'1' => Some((Some(true), false)),
        b'd' => Some((Some(true), true)),
        _ => None,
    }
}

/// `x-b3-traceid`, `x-b3-spanid`, `x-b3-parentspanid`, `x-b3-sampled` and `x-b3-flags`, in this order.
pub fn parse_multi([trace, span, parent, sampled, flags]: [Option<&[u8]>; 5]) -> Option<Context> {
    let ids = match (trace, span) {
        (Some(trace), Some(span)) => {
            let parent = match parent {
                Some(parent) => Some(span_id(parent)?),
                None => None,
            };
            Some(Ids { trace: trace_id(trace)?, span: span_id(span)?, parent })
        }
        (None, None) if parent.is_none() => None,
        _ => return None,
    };
    let sampled = match sampled {
        None => None,
        // Early senders wrote words.
        Some(b"1" | b"true" | b"True") => Some(true),
        Some(b"0" | b"false" | b"False") => Some(false),
        Some(_) => return None,
    };
    let debug = match flags {
        None | Some(b"0") => false,
        Some(b"1") => true,
        Some(_) => return None,
    };
    Some(Context { ids, sampled: if debug { Some(true) } else { sampled }, debug, random: false })
}

fn trace_id(text: &[u8]) -> Option<u128> {
    let id = match text.len() {
        32 => hex_of_32(text.first_chunk()?)?,
        16 => u128::from(hex(text)?),
        _ => return None,
    };
    (id != 0).then_some(id)
}

fn span_id(text: &[u8]) -> Option<u64> {
    let id = if text.len() == 16 { hex(text) } else { None };
    id.filter(|id| *id != 0)
}

/// Length of what version 00 writes: `00-{trace}-{parent}-{flags}`.
pub const LENGTH: usize = 55;
const SAMPLED: u64 = 1;
const RANDOM: u64 = 2;

/// `traceparent`.
pub fn parse_traceparent(value: &[u8]) -> Option<Context> {
    let (known, more) = value.split_first_chunk::<LENGTH>()?;
    let version = lower(&known[..2])?;
    // A later version may add parts, version 00 has none; 255 is none.
    let ends_well = if version == 0 { more.is_empty() } else { matches!(more.first(), None | Some(b'-')) };
    let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
    if version == 255 || !ends_well || !dashes || known.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let trace = hex_of_32(known[3..].first_chunk()?)?;
    let (span, flags) = (hex(&known[36..52])?, hex(&known[53..])?);
    let ids = Ids { trace, span, parent: None };
    let (sampled, random) = (flags & SAMPLED != 0, flags & RANDOM != 0);
    (trace != 0 && span != 0).then_some(Context { ids: Some(ids), sampled: Some(sampled), debug: false, random })
}

fn lower(digits: &[u8]) -> Option<u64> {
    if digits.iter().any(u8::is_ascii_uppercase) { None } else { hex(digits) }
}

/// Entries of a `tracestate` at most (section 3.3.1.1).
const ENTRIES_MAX: usize = 32;

/// Whether all lines of a `tracestate` together are a list of entries (section 3.3.1).
pub fn is_tracestate<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut count = 0;
    for entry in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let entry = entry.trim_ascii();
        if entry.is_empty() {
            continue;
        }
        count += 1;
        let Some(at) = entry.iter().position(|byte| *byte == b'=') else { return false };
        if count > ENTRIES_MAX || !is_key(&entry[..at]) || !is_value(&entry[at + 1..]) {
            return false;
        }
    }
    true
}

/// As level 2 wants it, which is wider than level 1's.
fn is_key(key: &[u8]) -> bool {
    let starts = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let goes_on = |byte: &u8| starts(byte) || b"_-*/@".contains(byte);
    key.len() <= 256 && key.first().is_some_and(starts) && key.iter().all(goes_on)
}

fn is_value(value: &[u8]) -> bool {
    let is_character = |byte: &u8| matches!(byte, b' '..=b'~') && !b",=".contains(byte);
    !value.is_empty() && value.len() <= 256 && value.iter().all(is_character)
}

/// The number that 16 or fewer hexadecimal digits write, in either case.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

/// The number that 32 digits write.
fn hex_of_32(digits: &[u8; 32]) -> Option<u128> {
    let (high, low) = digits.split_at(16);
    Some(u128::from(hex(high)?) << 64 | u128::from(hex(low)?))
}
