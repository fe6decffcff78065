//! Reading protobuf's wire format: tags, varints, lengths. Nothing is copied.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// Why bytes are not a message, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The bytes end inside a field.
    #[error("truncated: {missing} more bytes are announced than there are")]
    Truncated {
        /// How many are missing.
        missing: u64,
    },
    /// The bytes end inside a number.
    #[error("truncated inside a number")]
    TruncatedNumber,
    /// A number has more than ten bytes.
    #[error("damaged: a number does not end")]
    Endless,
    /// A tag with field number 0 or a wire type that does not exist.
    #[error("damaged: {0:#x} is no field of a message")]
    Tag(u64),
}

/// One value, as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl Value<'_> {
    /// What it is called in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Value::Varint(_) => "a number",
            Value::Fixed64(_) => "eight bytes",
            Value::Bytes(_) => "a string or message",
            Value::Fixed32(_) => "four bytes",
        }
    }
}

/// The fields of one message, in the order of the wire.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| WireError::Tag(tag))?;
        if number == 0 {
            return Err(WireError::Tag(tag));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::Tag(tag)),
        };
        Ok(Some((number, value)))
    }

    /// A number without a tag, as packed lists have them; `None` at the end.
    pub(crate) fn packed(&mut self) -> Result<Option<u64>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.varint().map(Some)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            WireError::TruncatedNumber
        } else {
            WireError::Endless
        })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let there = self.rest.len();
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(WireError::Truncated {
                missing: length.saturating_sub(there as u64),
            })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order() {
        let mut fields = Fields::new(&[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 0, 0, 0]);
        assert_eq!(fields.next(), Ok(Some((1, Value::Varint(150)))));
        assert_eq!(fields.next(), Ok(Some((2, Value::Bytes(b"hi")))));
        assert_eq!(fields.next(), Ok(Some((3, Value::Fixed32(1)))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn what_is_damaged_is_said() {
        let fault = |bytes: &[u8]| Fields::new(bytes).next().unwrap_err();
        assert_eq!(fault(&[0x0a, 5, 1]), WireError::Truncated { missing: 4 });
        assert_eq!(fault(&[0x08, 0x80]), WireError::TruncatedNumber);
        assert_eq!(fault(&[0xff; 11]), WireError::Endless);
        assert_eq!(fault(&[0x00]), WireError::Tag(0));
        assert_eq!(fault(&[0x0b]), WireError::Tag(0x0b));
        assert_eq!(
            fault(&[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
            ]),
            WireError::Truncated { missing: u64::MAX }
        );
    }
}
