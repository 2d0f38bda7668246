//! Heads and bodies as they come over the wire.

/// What a load generator sends.
pub const SMALL_REQUEST: &str =
    "GET /api/7/items/42 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n";

/// What nginx answers, with a body of 46 bytes.
pub const SMALL_RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 46\r\nConnection: keep-alive\r\n\r\n\
    The quick brown fox jumps over the lazy dog...";

/// The head of a message.
pub fn head_of(message: &str) -> &str {
    let end = message.find("\r\n\r\n").map_or(message.len(), |at| at + 4);
    &message[..end]
}

/// What a browser sends for a script of a page.
pub const BROWSER_REQUEST: &str = "GET /api/7/assets/app.js?v=8d3f HTTP/1.1\r\nHost: www.example.com\r\n\
    Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
    Safari/537.36\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n\
    Referer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nIf-None-Match: W/\"5f3e-18c2a9b7d10\"\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1; _ga=GA1.2.1234567890.1700000000\r\n\r\n";

/// That request as the first header block of an HTTP/2 connection, in hexadecimal: each field becomes an entry of the
/// dynamic table, in the Huffman code, and the cookie comes in crumbs.
pub const BROWSER_BLOCK: &str = "\
    82418cf1e3c2e5f23a6ba0ab90f4ff87449460759987581a1054a181d75afd11fe7781e9199740874148b1275ad1ffa3fe6f4f61e935\
    b4ff3f7de0fe42d03f9fa53f9d274c10ff976c1d527f3f7de0fe44d7f3408b4148b1275ad1ad49e3350582ff017aced07f66a281b0da\
    e053fafc087ed4ce6aadf2a7979c89c6bfb521aeba0bc8b1e632586d975765c53facd8f7e8cff4a506ea5531149d4ffda97a7b0f4958\
    0b405c0b817029b8728ec330db2eaecb9f408d4148b1275ad1ad5d034ca7b29f87fe739aab7cff3f53c0497ca589d34d1f43aeba0c41\
    a4c7a98f33a69a3fdf9a68fa1d75d0620d263d4c79a68fbed00177fe8d48e62b03ee697e8d48e62b1e0b1d7f5f2c7cfdf6800bbd408a\
    4148b4a549275906497f8840e92ac7b0d31aaf408a4148b4a549275a93c85f85a8eb10f623408a4148b4a549275a42a13f84412c3569\
    73929d29ad171863c78f0b97c8e9ae82ae43d2c750929bd9abfa5242cb40d25fa523b3e94f684c9f51932d4b62bbf45abefb4005dffa\
    90bf7da002ef7f6990e4c7f2dcac9560bc410df8dd9020fe7f609c4150831ea8001132d36e3af3e38c921650044cb4db8ebcf8e32485\
    9760884ce5a4b0483b3aff608621ea416a4c0160968a61c18a10ae25c2265a6dc75e7c0b85d0000000000f";

/// The same request once more: an index for each field.
pub const BROWSER_BLOCK_REPEATED: &str = "82cf87cecdcccbcac9c8c7c6c5c4c3c2c1c0bfbe";

/// The head of an answer to it.
pub const BROWSER_RESPONSE_HEAD: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: application/javascript; charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\
    Vary: Accept-Encoding\r\nETag: W/\"5f3e-18c2a9b7d10\"\r\nLast-Modified: Wed, 31 Dec 2025 12:00:00 GMT\r\n\
    Cache-Control: public, max-age=31536000, immutable\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
    Strict-Transport-Security: max-age=63072000; includeSubDomains; preload\r\n\
    Content-Security-Policy: default-src 'self'; img-src 'self' data: https://cdn.example.com\r\n\
    Set-Cookie: session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\
    Access-Control-Allow-Origin: https://www.example.com\r\n\r\n";

/// The whole answer: four chunks of 1 KiB.
pub fn browser_response() -> Vec<u8> {
    let mut bytes = BROWSER_RESPONSE_HEAD.as_bytes().to_vec();
    bytes.extend_from_slice(&chunked(4, 1024));
    bytes
}

/// A request with 30 fields that have no meaning to a proxy, as services send among themselves.
pub fn request_30_fields() -> String {
    format!("GET /api/7/items/42 HTTP/1.1\r\nHost: www.example.com\r\n{}\r\n", plain_fields(29))
}

/// A response of the same kind, without a body.
pub fn response_30_fields() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", plain_fields(29))
}

fn plain_fields(count: usize) -> String {
    (0..count).map(|i| format!("X-Service-Field-{i}: value of field number {i}\r\n")).collect()
}

/// A chunked body of `chunks` chunks with `size` bytes each, no trailers.
pub fn chunked(chunks: usize, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..chunks {
        bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        bytes.resize(bytes.len() + size, b'x');
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
