//! What is checked about responses of authorities (OCSP).

use crate::net::tls::ocsp::{Answer, Flaw, Status, read};

/// A response is all of its bytes, and what it says is read back from one that is made of it.
pub fn ocsp(data: &[u8]) {
    let Ok(answers) = read(data) else { return };
    assert!(!answers.is_empty());
    assert_eq!(read(&data[..data.len() - 1]), Err(Flaw::Broken));
    assert_eq!(read(&[data, &[0]].concat()), Err(Flaw::Broken));
    for answer in answers {
        // From the year 0 to the year 9999.
        let times = -62_167_219_200..253_402_300_800;
        assert!(times.contains(&answer.this_update) && answer.next_update.is_none_or(|it| times.contains(&it)));
        if answer.this_update == 0 && answer.next_update.is_none() {
            let again = response_of(&answer);
            assert_eq!(read(&again).as_deref(), Ok(&[answer][..]));
        }
    }
}

/// A response with nothing but this answer.
fn response_of(answer: &Answer<'_>) -> Vec<u8> {
    let id = &answer.id;
    let algorithm = der(0x30, &der(6, id.hash));
    let id = [algorithm, der(4, id.issuer_name), der(4, id.issuer_key), der(2, id.serial)].concat();
    let status = match answer.status {
        Status::Good => 0x80,
        Status::Revoked => 0xa1,
        Status::Unknown => 0x82,
    };
    let time = der(0x18, b"19700101000000Z");
    let single = der(0x30, &[der(0x30, &id), der(status, &[]), time.clone()].concat());
    let data = [der(0xa1, &[]), time, der(0x30, &single)].concat();
    let basic = der(0x30, &[der(0x30, &data), der(0x30, &[]), der(3, &[0])].concat());
    let bytes = der(0x30, &[der(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]), der(4, &basic)].concat());
    der(0x30, &[der(0x0a, &[0]), der(0xa0, &bytes)].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        len @ 0..=0x7f => vec![len as u8],
        len @ 0x80..=0xff => vec![0x81, len as u8],
        len @ 0x100..=0xffff => vec![0x82, (len >> 8) as u8, len as u8],
        len => vec![0x83, (len >> 16) as u8, (len >> 8) as u8, len as u8],
    };
    [&[tag][..], &length, content].concat()
}
