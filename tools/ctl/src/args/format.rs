//! `-o`: how results are printed.

use std::path::PathBuf;
use std::str::FromStr;

use vrouter_api::similar;

/// The formats of calicoctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    Ps,
    Wide,
    Json,
    Yaml,
    /// The columns to show.
    Columns(Vec<String>),
    /// A template for what is printed.
    Template(String),
    /// The same in a file.
    TemplateFile(PathBuf),
}

/// What stands before `=`.
const NAMES: &[&str] = &[
    "ps",
    "wide",
    "json",
    "yaml",
    "custom-columns",
    "go-template",
    "go-template-file",
];

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, of) = match text.split_once('=') {
            Some((name, of)) => (name, Some(of)),
            None => (text, None),
        };
        match (name, of) {
            ("ps", None) => Ok(Self::Ps),
            ("wide", None) => Ok(Self::Wide),
            ("json", None) => Ok(Self::Json),
            ("yaml" | "yml", None) => Ok(Self::Yaml),
            ("custom-columns", Some(of)) if !of.is_empty() => {
                Ok(Self::Columns(of.split(',').map(str::to_owned).collect()))
            }
            ("custom-columns", _) => Err("need to specify at least one column".to_owned()),
            ("go-template", Some(of)) if !of.is_empty() => Ok(Self::Template(of.to_owned())),
            ("go-template-file", Some(of)) if !of.is_empty() => {
                Ok(Self::TemplateFile(PathBuf::from(of)))
            }
            ("go-template", _) => Err("need to specify a template".to_owned()),
            ("go-template-file", _) => Err("need to specify a template file".to_owned()),
            _ => {
                let meant = similar(name, NAMES.iter().copied());
                let meant = meant.map(|meant| format!("; did you mean '{meant}'?"));
                Err(format!(
                    "unrecognized output format '{text}'{}",
                    meant.unwrap_or_default()
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let columns = Format::Columns(vec!["NAME".into(), "CIDR".into()]);
        assert_eq!("custom-columns=NAME,CIDR".parse(), Ok(columns));
        let template = Format::Template("{{.a}}={{.b}}".into());
        assert_eq!("go-template={{.a}}={{.b}}".parse(), Ok(template));
        for wrong in ["", "xml", "json=", "go-template=", "custom-columns"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }
}
