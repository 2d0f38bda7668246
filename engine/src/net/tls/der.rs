//! A reader of DER, for what the libraries do not give. It is bounded by its input, and takes nothing from the heap.

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One element: its tag and its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub tag: u8,
    pub value: &'a [u8],
    /// With tag and length.
    pub whole: &'a [u8],
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag of a constructed element with this number in its context.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub fn peek(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element. `None`: there is none, or it is broken.
    pub fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // Tags of several bytes are in no certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                // The shortest form is the only one.
                let is_shortest = bytes[0] != 0 && length > 0x7f;
                (Some(length).filter(|_| is_shortest)?, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag, value, whole })
    }

    /// The content of the next element, if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_one_after_the_other() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        let bytes = [&[0x02, 1, 5][..], &long, &[0x05, 0]].concat();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.take(SEQUENCE), None);
        assert_eq!(reader.take(INTEGER), Some(&[5][..]));
        let element = reader.next().expect("the long one");
        assert_eq!((element.tag, element.value.len(), element.whole), (OCTET_STRING, 128, &long[..]));
        assert_eq!(reader.peek(), Some(5));
        assert!(reader.next().is_some_and(|element| element.value.is_empty()));
        assert!(reader.is_empty() && reader.next().is_none());
    }

    #[test]
    fn what_is_broken_is_no_element() {
        let cases: [&[u8]; 9] = [
            &[],
            &[2],
            &[2, 1],
            &[2, 0x80, 0, 0],
            &[2, 0x81, 1, 0],
            &[2, 0x82, 0, 0x80],
            &[2, 0x85, 0, 0, 0, 0, 0],
            &[0x1f, 1, 0],
            &[2, 0x84, 0xff, 0xff, 0xff, 0xff],
        ];
        for bytes in cases {
            assert!(Reader::new(bytes).next().is_none(), "{bytes:?}");
        }
    }
}
