//! A range of bytes in a buffer that someone else owns, and the two buffers of a head that has been edited.

/// Offsets in bytes, `start..end`, into the buffer that a head was parsed from.
///
/// 32 bits are enough because a head is limited to far less (`codec::h1::Limits`), and they keep a field at 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// A span of nothing.
    pub const EMPTY: Span = Span { start: 0, end: 0 };

    #[inline]
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span { start: start as u32, end: end as u32 }
    }

    /// The span that `part` takes in `whole`. `part` must be a sub-slice of `whole`: only the addresses are compared.
    #[inline]
    pub fn within(part: &[u8], whole: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(start + part.len() <= whole.len());
        Span::new(start, start + part.len())
    }

    /// The bytes it names. Panics when `bytes` is shorter than the buffer that the span was made from.
    #[inline]
    pub fn of<'a>(self, bytes: impl SpanBytes<'a>) -> &'a [u8] {
        bytes.slice(self)
    }

    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What a span can name bytes of.
pub trait SpanBytes<'a>: Copy {
    fn slice(self, span: Span) -> &'a [u8];
}

impl<'a> SpanBytes<'a> for &'a [u8] {
    #[inline]
    fn slice(self, span: Span) -> &'a [u8] {
        &self[span.start as usize..span.end as usize]
    }
}

impl<'a, const N: usize> SpanBytes<'a> for &'a [u8; N] {
    #[inline]
    fn slice(self, span: Span) -> &'a [u8] {
        &self[span.start as usize..span.end as usize]
    }
}

impl<'a> SpanBytes<'a> for &'a Vec<u8> {
    #[inline]
    fn slice(self, span: Span) -> &'a [u8] {
        &self[span.start as usize..span.end as usize]
    }
}

/// Spans from here on name bytes of edits. No head is as long: `Limits::head_bytes` is at most 16 MiB.
const EDITS: u32 = 1 << 31;

/// The bytes of a head: as they were received, and those that edits put in their place.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadView<'a> {
    pub received: &'a [u8],
    pub edits: &'a [u8],
}

impl<'a> HeadView<'a> {
    /// A head without edits.
    pub fn new(received: &'a [u8]) -> Self {
        Self { received, edits: &[] }
    }
}

impl<'a> SpanBytes<'a> for HeadView<'a> {
    #[inline]
    fn slice(self, span: Span) -> &'a [u8] {
        if span.start < EDITS {
            &self.received[span.start as usize..span.end as usize]
        } else {
            &self.edits[(span.start - EDITS) as usize..(span.end - EDITS) as usize]
        }
    }
}

/// Bytes that edits of a head need. They live as long as the head.
#[derive(Debug, Default)]
pub struct EditBytes(Vec<u8>);

impl EditBytes {
    /// Write bytes with `write`; the span names them in a [`HeadView`].
    #[inline]
    pub fn store(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.0.len() as u32 + EDITS;
        write(&mut self.0);
        Span { start, end: self.0.len() as u32 + EDITS }
    }

    /// Write `name: value CRLF`, the value with `write`; the spans name the name and the value.
    #[inline]
    pub fn store_line(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> (Span, Span) {
        const SEPARATOR: &[u8] = b": ";
        let bytes = &mut self.0;
        let start = bytes.len();
        // Most values are short: one look at the capacity serves for the whole line.
        bytes.reserve(name.len() + 64);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(SEPARATOR);
        let value_start = bytes.len();
        write(bytes);
        let value_end = bytes.len();
        bytes.extend_from_slice(b"\r\n");
        let place = |at: usize| at as u32 + EDITS;
        let name = Span { start: place(start), end: place(start + name.len()) };
        (name, Span { start: place(value_start), end: place(value_end) })
    }

    /// The same for a line that is whole, with its end.
    #[inline]
    pub fn store_whole_line(&mut self, name_len: usize, line: &[u8]) -> (Span, Span) {
        let start = self.0.len() as u32 + EDITS;
        self.0.extend_from_slice(line);
        let (name_end, end) = (start + name_len as u32, start + line.len() as u32);
        (Span { start, end: name_end }, Span { start: name_end + 2, end: end - 2 })
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Write `bytes` over as many that are stored, from the beginning of `span`.
    pub fn overwrite(&mut self, span: Span, bytes: &[u8]) {
        let start = (span.start - EDITS) as usize;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Forget the bytes; the capacity stays, within reason.
    #[inline]
    pub fn clear(&mut self) {
        const KEPT: usize = 8 * 1024;
        self.0.clear();
        if self.0.capacity() > KEPT {
            self.0 = Vec::new();
        }
    }

    /// `last` was stored last: the bytes of `more` follow it.
    pub fn extend_span(&mut self, last: Span, received: &[u8], more: Span) -> Span {
        debug_assert_eq!(last.end, self.0.len() as u32 + EDITS);
        let more = self.extend(received, more, |_| {});
        Span { start: last.start, end: more.end }
    }

    /// `last` was stored last: change its bytes in place, which begin at the index that `edit` gets.
    pub fn edit_last<R>(&mut self, last: Span, edit: impl FnOnce(&mut Vec<u8>, usize) -> R) -> (Span, R) {
        debug_assert_eq!(last.end, self.0.len() as u32 + EDITS);
        let result = edit(&mut self.0, (last.start - EDITS) as usize);
        (Span { start: last.start, end: self.0.len() as u32 + EDITS }, result)
    }

    /// A span's bytes once more at the end, followed by what `write` adds: `span` may name received bytes or edits.
    pub fn extend(&mut self, received: &[u8], span: Span, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.0.len() as u32 + EDITS;
        if span.start < EDITS {
            self.0.extend_from_slice(&received[span.start as usize..span.end as usize]);
        } else {
            self.0.extend_from_within((span.start - EDITS) as usize..(span.end - EDITS) as usize);
        }
        write(&mut self.0);
        Span { start, end: self.0.len() as u32 + EDITS }
    }
}
