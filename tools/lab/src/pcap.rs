//! Reads classic pcap files of Ethernet frames (libpcap's savefile format; tshark's `editcap -F
//! pcap` makes one of a pcapng file).

use crate::error::LabError;

/// Ethernet, in the file header's link type.
const ETHERNET: u32 = 1;
/// No frame is longer: a sane bound for a damaged file.
const LONGEST: usize = 256 * 1024;

/// The frames of a capture file, in order.
///
/// # Errors
/// [`LabError::Invalid`] when it is no pcap file of Ethernet frames, or ends inside a frame.
pub fn frames(bytes: &[u8]) -> Result<Vec<&[u8]>, LabError> {
    let invalid = |text: String| LabError::Invalid(format!("not a usable pcap file: {text}"));
    let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    let magic = word(0).ok_or_else(|| invalid("it is too short".to_owned()))?;
    let read: fn([u8; 4]) -> u32 = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => u32::from_le_bytes,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => u32::from_be_bytes,
        [0x0a, 0x0d, 0x0d, 0x0a] => {
            return Err(invalid(
                "it is pcapng; convert it with `editcap -F pcap`".to_owned(),
            ));
        }
        other => return Err(invalid(format!("its magic number is {other:02x?}"))),
    };
    let link = word(20)
        .map(read)
        .ok_or_else(|| invalid("its header is cut".to_owned()))?
        & 0xffff;
    if link != ETHERNET {
        return Err(invalid(format!(
            "its link type is {link}, Ethernet is {ETHERNET}"
        )));
    }
    let mut frames = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let length = word(at + 8)
            .map(read)
            .and_then(|length| usize::try_from(length).ok());
        let frame = length
            .filter(|length| *length <= LONGEST)
            .and_then(|length| bytes.get(at + 16..at + 16 + length))
            .ok_or_else(|| invalid(format!("frame {} is cut", frames.len() + 1)))?;
        frames.push(frame);
        at += 16 + frame.len();
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(big_endian: bool, frames: &[&[u8]]) -> Vec<u8> {
        let word = |value: u32| {
            if big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let mut bytes = Vec::new();
        for value in [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65535, ETHERNET] {
            bytes.extend(word(value));
        }
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap();
            for value in [1, 2, length, length] {
                bytes.extend(word(value));
            }
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_are_read() {
        for big_endian in [false, true] {
            let bytes = file(big_endian, &[b"one", b"", b"three"]);
            assert_eq!(frames(&bytes).unwrap(), [&b"one"[..], b"", b"three"]);
        }
    }

    #[test]
    fn any_cut_is_an_error_or_whole_frames_and_never_a_panic() {
        let bytes = file(false, &[b"one", b"two"]);
        for cut in 0..bytes.len() {
            match frames(&bytes[..cut]) {
                Ok(frames) => assert!(frames.len() < 2),
                Err(error) => assert!(error.to_string().contains("pcap")),
            }
        }
    }
}
