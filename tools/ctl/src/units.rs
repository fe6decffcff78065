//! Sizes and times for people.

/// Bytes with three digits at least: `999`, `1.5K`, `12M`; units are powers of 1024.
pub(crate) fn bytes(n: u64) -> String {
    let mut unit = 0;
    let mut whole = n;
    let mut rest = 0;
    while whole >= 1024 && unit < UNITS.len() - 1 {
        (whole, rest) = (whole / 1024, whole % 1024);
        unit += 1;
    }
    match (unit, whole) {
        (0, _) => whole.to_string(),
        (_, 0..10) => format!("{whole}.{}{}", rest * 10 / 1024, UNITS[unit]),
        (_, _) => format!("{whole}{}", UNITS[unit]),
    }
}

const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// A span of time by its two largest units, as kubectl prints ages: `0.25s`, `59s`, `3m20s`,
/// `2h5m`, `3d4h`.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        0 => match millis {
            0 => "0s".to_owned(),
            _ => format!("0.{:02}s", millis / 10),
        },
        1..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// A part of a whole in percent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    // A counter read a moment later may be ahead.
    match u128::from(part.min(whole)) * 1000 / u128::from(whole.max(1)) {
        _ if whole == 0 => String::new(),
        permille => format!("{}.{}%", permille / 10, permille % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (n, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (10_239, "9.9K"),
            (10_240, "10K"),
            (1 << 20, "1.0M"),
            ((1 << 30) - 1, "1023M"),
            (u64::MAX, "15E"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn spans() {
        for (millis, text) in [
            (0, "0s"),
            (250, "0.25s"),
            (1999, "1s"),
            (60_000, "1m"),
            (200_000, "3m20s"),
            (7_500_000, "2h5m"),
            (273_600_000, "3d4h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }

    #[test]
    fn percents() {
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(5, 3), "100.0%");
        assert_eq!(percent(0, 0), "");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0%");
    }
}
