//! An OCSP response (RFC 6960 section 4.2), read from its bytes. Nothing vouches for them: its signature is the client's
//! business.

use super::der::{INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, context};
use crate::base::date::unix_from;

/// What an authority says of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub id: CertificateId<'a>,
    pub status: Status,
    /// From when and until when it holds, in seconds since the epoch.
    pub this_update: i64,
    pub next_update: Option<i64>,
}

/// Which certificate that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateId<'a> {
    /// The content of the object identifier.
    pub hash: &'a [u8],
    /// The hash of the issuer's name.
    pub issuer_name: &'a [u8],
    /// The hash of the issuer's key.
    pub issuer_key: &'a [u8],
    /// The content of the serial number.
    pub serial: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

/// Why there are no answers in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Broken,
    /// It is the responder's word that there is no answer, with its number.
    Refusal(u8),
    /// It is of a kind other than id-pkix-ocsp-basic.
    Kind,
}

const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];

/// All answers in a response: at least one.
///
/// # Errors
/// It is no response, or one without answers.
pub fn read(der: &[u8]) -> Result<Vec<Answer<'_>>, Flaw> {
    let mut outer = Reader::new(der);
    let mut response = Reader::new(outer.take(SEQUENCE).filter(|_| outer.is_empty()).ok_or(Flaw::Broken)?);
    match response.take(ENUMERATED).ok_or(Flaw::Broken)? {
        [0] => {}
        [refusal] => return Err(Flaw::Refusal(*refusal)),
        _ => return Err(Flaw::Broken),
    }
    let mut bytes = Reader::new(response.take(context(0)).filter(|_| response.is_empty()).ok_or(Flaw::Broken)?);
    let mut bytes = Reader::new(bytes.take(SEQUENCE).filter(|_| bytes.is_empty()).ok_or(Flaw::Broken)?);
    if bytes.take(OBJECT_IDENTIFIER).ok_or(Flaw::Broken)? != BASIC {
        return Err(Flaw::Kind);
    }
    let basic = bytes.take(OCTET_STRING).filter(|_| bytes.is_empty()).ok_or(Flaw::Broken)?;
    answers(basic).filter(|answers| !answers.is_empty()).ok_or(Flaw::Broken)
}

/// Those of a BasicOCSPResponse.
fn answers(basic: &[u8]) -> Option<Vec<Answer<'_>>> {
    let mut outer = Reader::new(basic);
    let mut signed = Reader::new(outer.take(SEQUENCE).filter(|_| outer.is_empty())?);
    let mut data = Reader::new(signed.take(SEQUENCE)?);
    // Algorithm and signature, which must be there.
    signed.take(SEQUENCE)?;
    signed.next()?;
    let _version = data.take(context(0));
    // The responder, by its name or the hash of its key.
    data.next().filter(|responder| [context(1), context(2)].contains(&responder.tag))?;
    let _produced_at = time(data.take(GENERALIZED_TIME)?)?;
    let mut list = Reader::new(data.take(SEQUENCE)?);
    let mut answers = Vec::new();
    while !list.is_empty() {
        answers.push(answer(Reader::new(list.take(SEQUENCE)?))?);
    }
    Some(answers)
}

/// A SingleResponse.
fn answer(mut parts: Reader<'_>) -> Option<Answer<'_>> {
    let mut id = Reader::new(parts.take(SEQUENCE)?);
    let hash = Reader::new(id.take(SEQUENCE)?).take(OBJECT_IDENTIFIER)?;
    let (issuer_name, issuer_key) = (id.take(OCTET_STRING)?, id.take(OCTET_STRING)?);
    let serial = id.take(INTEGER).filter(|_| id.is_empty())?;
    let status = match parts.next()?.tag {
        0x80 => Status::Good,
        0xa1 => Status::Revoked,
        0x82 => Status::Unknown,
        _ => return None,
    };
    let this_update = time(parts.take(GENERALIZED_TIME)?)?;
    let next_update = match parts.take(context(0)) {
        Some(inner) => Some(time(Reader::new(inner).take(GENERALIZED_TIME)?)?),
        None => None,
    };
    let id = CertificateId { hash, issuer_name, issuer_key, serial };
    Some(Answer { id, status, this_update, next_update })
}

/// Seconds since the epoch from `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5.2).
fn time(text: &[u8]) -> Option<i64> {
    let digits =
        text.strip_suffix(b"Z").filter(|digits| digits.len() == 14 && digits.iter().all(u8::is_ascii_digit))?;
    let number = |range: std::ops::Range<usize>| {
        digits[range].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    };
    let time = [number(8..10), number(10..12), number(12..14)];
    // It has no leap seconds.
    if time[2] > 59 { None } else { unix_from([number(0..4), number(4..6), number(6..8)], time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let cases = [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("20260101000000Z", Some(1_767_225_600)),
            ("20261128232000Z", Some(1_795_908_000)),
            ("20260229000000Z", None),
            ("20261301000000Z", None),
            ("20260100000000Z", None),
            ("20260101240000Z", None),
            ("20260101000000", None),
            ("202601010000Z", None),
            ("20260101000000.5Z", None),
            ("2026 101000000Z", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(time(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_said() {
        assert_eq!(read(&[]), Err(Flaw::Broken));
        assert_eq!(read(&[0x30, 3, 0x0a, 1, 6]), Err(Flaw::Refusal(6)));
        assert_eq!(read(&[0x30, 3, 0x0a, 1, 0]), Err(Flaw::Broken));
        let other = [0x30, 0x0e, 0x0a, 1, 0, 0xa0, 9, 0x30, 7, 6, 1, 0x2b, 4, 2, 0x30, 0];
        assert_eq!(read(&other), Err(Flaw::Kind));
    }
}
