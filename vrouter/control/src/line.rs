//! Framing: lines of bounded length out of a byte stream.

use std::io::{self, BufRead};

/// The longest request in bytes, without its newline.
pub const REQUEST_LIMIT: usize = 1 << 20;

/// The longest response a client accepts, in bytes: lists that can grow without bound are paged,
/// so only a daemon that has gone wrong exceeds it.
pub const RESPONSE_LIMIT: usize = 64 << 20;

/// What [`read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A line, now in the buffer without its newline. The last one may lack the newline.
    Full,
    /// A line longer than the limit; it was skipped to its end, the buffer is empty.
    TooLong,
    /// The stream has ended.
    End,
}

/// Reads one line into `buffer`, which never grows beyond `limit`.
///
/// # Errors
/// Those of the stream; `Interrupted` is retried.
pub fn read(stream: &mut impl BufRead, buffer: &mut Vec<u8>, limit: usize) -> io::Result<Line> {
    buffer.clear();
    let mut too_long = false;
    loop {
        let available = match stream.fill_buf() {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if available.is_empty() {
            return Ok(match (too_long, buffer.is_empty()) {
                (true, _) => Line::TooLong,
                (false, true) => Line::End,
                (false, false) => Line::Full,
            });
        }
        let newline = available.iter().position(|&b| b == b'\n');
        let part = &available[..newline.unwrap_or(available.len())];
        if too_long || buffer.len() + part.len() > limit {
            too_long = true;
            // Not `clear`: an attacker's megabyte is given back at once.
            *buffer = Vec::new();
        } else {
            buffer.extend_from_slice(part);
        }
        let consumed = part.len() + usize::from(newline.is_some());
        stream.consume(consumed);
        if newline.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Full });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_of_every_kind() {
        let bytes: &[u8] = b"one\n\n12345678\n123456789\nlast";
        for capacity in [1, 2, 3, 7, 64] {
            let mut stream = BufReader::with_capacity(capacity, bytes);
            let mut buffer = Vec::new();
            let mut next = || {
                let line = read(&mut stream, &mut buffer, 8).unwrap();
                (line, String::from_utf8(buffer.clone()).unwrap())
            };
            assert_eq!(next(), (Line::Full, "one".into()));
            assert_eq!(next(), (Line::Full, String::new()));
            assert_eq!(next(), (Line::Full, "12345678".into()));
            assert_eq!(next(), (Line::TooLong, String::new()));
            assert_eq!(next(), (Line::Full, "last".into()));
            assert_eq!(next(), (Line::End, String::new()));
        }
    }

    #[test]
    fn an_endless_line_ends_with_the_stream() {
        let mut stream = BufReader::new(io::Read::take(io::repeat(b'x'), 1000));
        let mut buffer = Vec::new();
        assert_eq!(read(&mut stream, &mut buffer, 8).unwrap(), Line::TooLong);
        assert_eq!(read(&mut stream, &mut buffer, 8).unwrap(), Line::End);
    }
}
