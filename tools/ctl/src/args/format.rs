//! `-o`: how results are printed.

use std::str::FromStr;

/// calicoctl's formats that need no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Ps,
    Wide,
    Json,
    Yaml,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ps" => Ok(Self::Ps),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" | "yml" => Ok(Self::Yaml),
            _ => Err(format!("unrecognized output format '{text}'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!("yml".parse(), Ok(Format::Yaml));
        for wrong in ["", "xml", "json=", "go-template=", "custom-columns"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }
}
