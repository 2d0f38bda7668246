//! What parsing costs, as figures to look at. Not run by default: `cargo test --release -- --ignored --nocapture cost`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

const SMALL: &str = "GET /index.html HTTP/1.1\r\nHost: example.com\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n";

const BROWSER: &str = "GET /assets/app.js?v=8d3f HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nsec-ch-ua-platform: \"Linux\"\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: \
    same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\nReferer: https://www.example.com/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\r\n";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: \
    text/plain\r\nContent-Length: 46\r\nConnection: keep-alive\r\n\r\n";

/// Nanoseconds per call, the best of five rounds.
fn measure(name: &str, mut call: impl FnMut()) {
    const CALLS: u32 = 200_000;
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    let best = (0..5).map(|_| round(&mut call)).fold(f64::MAX, f64::min);
    println!("{name:<28} {best:7.1} ns");
}

#[test]
#[ignore = "a measurement, not a check"]
fn cost() {
    let limits = Limits::default();
    let mut head = RequestHead::default();
    for (name, text) in [("request, small", SMALL), ("request, browser", BROWSER)] {
        measure(name, || {
            assert!(matches!(parse_request(black_box(text.as_bytes()), &limits, &mut head), Ok(Parse::Complete(_))));
        });
        measure("  of which httparse", || {
            let mut lines = [const { std::mem::MaybeUninit::uninit() }; 100];
            let mut request = httparse::Request::new(&mut []);
            assert!(request.parse_with_uninit_headers(black_box(text.as_bytes()), &mut lines).is_ok());
        });
    }
    let mut head = ResponseHead::default();
    measure("response, small", || {
        let parse = parse_response(black_box(RESPONSE.as_bytes()), &limits, Method::Get, &mut head);
        assert!(matches!(parse, Ok(Parse::Complete(_))));
    });
    let mut out = Vec::with_capacity(4096);
    measure("encode, response", || {
        out.clear();
        encode::status(&mut out, 200);
        for field in &head.fields {
            encode::field(&mut out, field.name.of(RESPONSE.as_bytes()), field.value.of(RESPONSE.as_bytes()));
        }
        encode::field_u64(&mut out, b"x-envoy-upstream-service-time", black_box(3));
        encode::end(&mut out);
        black_box(&out);
    });
    let body = [b"400\r\n", &[b'x'; 1024][..], b"\r\n0\r\n\r\n"].concat();
    measure("chunked, one of 1 KiB", || {
        let decoded = BodyDecoder::new(BodyKind::Chunked).decode(black_box(&body));
        assert!(decoded.is_ok_and(|decoded| decoded.done));
    });
    measure("chunk header", || {
        black_box(encode::ChunkHeader::after_data(black_box(16_384)).as_slice());
    });
}
