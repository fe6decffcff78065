//! Numbers as Go writes them: 100, not 100.0.

use serde::{Serialize, Serializer};

/// From here on, Go writes exponents.
const LARGEST_WHOLE: f64 = 1e15;

/// A number that may be absent.
#[allow(clippy::ref_option, reason = "serde asks for it")]
pub(crate) fn optional<S: Serializer>(
    number: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) if number.fract() == 0.0 && number.abs() < LARGEST_WHOLE => {
            serializer.serialize_i64(*number as i64)
        }
        other => other.serialize(serializer),
    }
}
