//! One call of the plugin: what the runtime says in the environment.

use std::path::PathBuf;

use crate::error::CniError;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Put a container on the network.
    Add,
    /// Take it off.
    Del,
    /// See that it still is as ADD left it.
    Check,
    /// Remove everything that belongs to no container.
    Gc,
    /// Say whether an ADD would work.
    Status,
    /// Print the versions.
    Version,
}

impl Operation {
    const ALL: [Operation; 6] = [
        Operation::Add,
        Operation::Del,
        Operation::Check,
        Operation::Gc,
        Operation::Status,
        Operation::Version,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Add => "ADD",
            Operation::Del => "DEL",
            Operation::Check => "CHECK",
            Operation::Gc => "GC",
            Operation::Status => "STATUS",
            Operation::Version => "VERSION",
        }
    }

    /// The variables it cannot do without.
    fn required(self) -> &'static [&'static str] {
        match self {
            Operation::Add | Operation::Check => {
                &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            }
            Operation::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Operation::Gc | Operation::Status => &["CNI_PATH"],
            Operation::Version => &[],
        }
    }
}

/// The environment of a call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    /// Empty where the operation has none; so are the next two.
    pub(crate) container_id: String,
    pub(crate) netns: String,
    pub(crate) interface: String,
    pub(crate) arguments: String,
    pub(crate) path: Vec<PathBuf>,
    /// The plugin's own namespace may be the container's.
    pub(crate) any_netns: bool,
}

impl Call {
    /// Reads the environment through `variable`.
    pub(crate) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Call, CniError> {
        let text = |name: &str| variable(name).unwrap_or_default();
        let command = text("CNI_COMMAND");
        if command.is_empty() {
            return Err(CniError::environment(
                "required env variables [CNI_COMMAND] missing",
            ));
        }
        let found = Operation::ALL.into_iter().find(|it| it.name() == command);
        let Some(operation) = found else {
            let known = Operation::ALL.map(Operation::name).join(", ");
            return Err(
                CniError::environment(format!("unknown CNI_COMMAND: {command}"))
                    .with_details(format!("it must be one of {known}")),
            );
        };
        let required = operation.required().iter();
        let missing: Vec<&str> = required
            .copied()
            .filter(|name| text(name).is_empty())
            .collect();
        if !missing.is_empty() {
            return Err(CniError::environment(format!(
                "required env variables [{}] missing",
                missing.join(",")
            )));
        }
        let call = Call {
            operation,
            container_id: text("CNI_CONTAINERID"),
            netns: text("CNI_NETNS"),
            interface: text("CNI_IFNAME"),
            arguments: text("CNI_ARGS"),
            path: std::env::split_paths(&text("CNI_PATH")).collect(),
            any_netns: ["1", "true", "TRUE", "True", "t", "T"]
                .contains(&text("CNI_NETNS_OVERRIDE").as_str()),
        };
        // Runtimes ask for versions with any words in the other variables.
        match operation {
            Operation::Add | Operation::Del | Operation::Check => {
                check_container_id(&call.container_id)?;
                check_interface(&call.interface)?;
            }
            Operation::Gc | Operation::Status | Operation::Version => {}
        }
        Ok(call)
    }
}

fn check_container_id(text: &str) -> Result<(), CniError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let first = text.bytes().next();
    if first.is_some_and(|it| it.is_ascii_alphanumeric()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(
        CniError::environment("invalid CNI_CONTAINERID").with_details(format!(
            "{text:?} must be letters, digits, '_', '.' and '-', a letter or digit first"
        )),
    )
}

fn check_interface(text: &str) -> Result<(), CniError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if (1..=15).contains(&text.len()) && text != "." && text != ".." && !text.contains(bad) {
        return Ok(());
    }
    Err(
        CniError::environment("invalid CNI_IFNAME").with_details(format!(
            "{text:?} must be 1-15 characters without '/', ':' and white space, not '.' or '..'"
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(pairs: &[(&str, &str)]) -> Result<Call, CniError> {
        Call::read(&|name| {
            let found = pairs.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn all_missing_variables_are_named() {
        for (command, missing) in [
            ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
            ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
            ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
            ("GC", "CNI_PATH"),
            ("STATUS", "CNI_PATH"),
        ] {
            let error = call(&[("CNI_COMMAND", command)]).expect_err(command);
            assert_eq!(error.code, 4);
            assert_eq!(
                error.message,
                format!("required env variables [{missing}] missing")
            );
        }
        assert!(call(&[("CNI_COMMAND", "VERSION")]).is_ok());
        assert!(
            call(&[])
                .expect_err("nothing")
                .message
                .contains("CNI_COMMAND")
        );
        assert!(call(&[("CNI_COMMAND", "add")]).is_err());
    }

    #[test]
    fn names_are_checked() {
        let with = |id: &str, interface: &str| {
            call(&[
                ("CNI_COMMAND", "DEL"),
                ("CNI_CONTAINERID", id),
                ("CNI_IFNAME", interface),
                ("CNI_PATH", "/a:/b"),
            ])
        };
        let good = with("a_b.c-1", "eth0").expect("both are names");
        assert_eq!(good.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
        for (id, interface) in [
            ("-a", "eth0"),
            ("a/b", "eth0"),
            ("a", "."),
            ("a", ".."),
            ("a", "eth0/1"),
            ("a", "et h0"),
            ("a", "sixteen-letters-"),
        ] {
            assert_eq!(
                with(id, interface).expect_err(id).code,
                4,
                "{id} {interface}"
            );
        }
    }
}
