//! Names: what Calico and Kubernetes allow, and the two names derived from a pod.

use sha1::{Digest, Sha1};

/// The name of a pod's WorkloadEndpoint, `<node>-k8s-<pod>-<endpoint>`; every dash inside a
/// part is doubled, so that the parts can be told apart.
///
/// ```
/// use vrouter_api::names::workload_endpoint_name;
/// assert_eq!(workload_endpoint_name("node-1", "web-0", "eth0"), "node--1-k8s-web--0-eth0");
/// ```
#[must_use]
pub fn workload_endpoint_name(node: &str, pod: &str, endpoint: &str) -> String {
    joined(&[node, "k8s", pod, endpoint])
}

/// Parts joined by single dashes, dashes inside doubled.
pub(crate) fn joined(parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| part.replace('-', "--")).collect();
    parts.join("-")
}

/// The host side name of a pod's interface: `cali` and the first 11 hexadecimal digits of the
/// SHA-1 of `<namespace>.<pod>`.
///
/// ```
/// use vrouter_api::names::host_interface_name;
/// assert_eq!(host_interface_name("default", "web").len(), 15);
/// ```
#[must_use]
pub fn host_interface_name(namespace: &str, pod: &str) -> String {
    let digest = Sha1::digest(format!("{namespace}.{pod}").as_bytes());
    let mut name = String::from("cali");
    for byte in digest.iter().take(6) {
        name.push_str(&format!("{byte:02x}"));
    }
    name.truncate(4 + 11);
    name
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    bytes.iter().all(inner)
        && bytes.first().is_some_and(|b| *b != b'-')
        && bytes.last().is_some_and(|b| *b != b'-')
}

/// An RFC 1123 subdomain of at most 253 characters: labels of `a-z 0-9 -` joined by dots.
///
/// # Errors
/// The sentence to show.
pub fn check_subdomain(text: &str) -> Result<(), String> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(());
    }
    Err(
        "must be a lower case RFC 1123 subdomain: a-z, 0-9, '-' and '.', each part starting and \
         ending with a letter or digit, at most 253 characters"
            .to_owned(),
    )
}

/// An RFC 1123 label of at most 63 characters: `a-z 0-9 -`.
///
/// # Errors
/// The sentence to show.
pub fn check_label(text: &str) -> Result<(), String> {
    if text.len() <= 63 && is_label(text) {
        return Ok(());
    }
    Err(
        "must be a lower case RFC 1123 label: a-z, 0-9 and '-', starting and ending with a \
         letter or digit, at most 63 characters"
            .to_owned(),
    )
}

/// A policy's name: one or two labels, or what comes from Kubernetes or OpenStack.
///
/// # Errors
/// The sentence to show.
pub fn check_policy(text: &str, namespaced: bool) -> Result<(), String> {
    let mut parts = text.split('.');
    let short = parts.by_ref().take(2).all(is_label) && parts.next().is_none();
    let of_others = namespaced
        && ["knp.default.", "ossg.default."].iter().any(|prefix| {
            let rest = text.strip_prefix(prefix);
            rest.is_some_and(|rest| check_subdomain(rest).is_ok())
        });
    if text.len() <= 253 && (short || of_others) {
        return Ok(());
    }
    Err(
        "must be a policy's name: a-z, 0-9 and '-', with one '.' at most, each part starting and \
         ending with a letter or digit, at most 253 characters"
            .to_owned(),
    )
}

/// A Linux interface name: 1–15 characters of `a-z A-Z 0-9 : . _ + -`, not `.` or `..`.
///
/// # Errors
/// The sentence to show.
pub fn check_interface(text: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":._+-".contains(&b);
    if (1..=15).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".." {
        return Ok(());
    }
    Err(
        "must be an interface name: 1–15 characters of a-z, A-Z, 0-9, ':', '.', '_', '+', '-'"
            .to_owned(),
    )
}

/// At most 63 characters that start and end with a letter or digit; nothing is fine.
fn is_label_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 63 && text.bytes().all(inner) && edge(bytes.first()) && edge(bytes.last())
}

/// A label's key and value as Calico takes them.
///
/// # Errors
/// The sentence to show.
pub fn check_label_pair(key: &str, value: &str) -> Result<(), String> {
    let (prefix, name) = match key.rsplit_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.is_empty()
        || !is_label_value(name)
        || prefix.is_some_and(|prefix| check_subdomain(prefix).is_err())
    {
        return Err(
            "a label's key must be at most 63 characters of a-z, A-Z, 0-9, '_', '.', '-', starting \
             and ending with a letter or digit, after a DNS subdomain and '/' or alone"
                .to_owned(),
        );
    }
    if !is_label_value(value) {
        return Err(
            "a label's value must be at most 63 characters of a-z, A-Z, 0-9, '_', '.', \
                    '-', starting and ending with a letter or digit"
                .to_owned(),
        );
    }
    Ok(())
}

/// A port's name, as Calico takes it: an IANA service name of at most 15 characters, or longer
/// (Calico allows 128) of the same characters.
///
/// # Errors
/// The sentence to show.
pub fn check_port_name(text: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let number = text.bytes().all(|b| b.is_ascii_digit());
    if (1..=128).contains(&text.len()) && text.bytes().all(allowed) && !number {
        return Ok(());
    }
    Err(
        "must be a port name: 1–128 characters of a-z, A-Z, 0-9, '_', '.', '-', not all digits"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_name_is_calicos() {
        // sha1("default.web") by coreutils' sha1sum.
        assert_eq!(host_interface_name("default", "web"), "cali68caf03a5f4");
    }

    #[test]
    fn labels_and_subdomains() {
        assert!(check_label("a-1").is_ok());
        assert!(check_label("").is_err());
        assert!(check_label("a.b").is_err());
        assert!(check_label("-a").is_err());
        assert!(check_subdomain("a-1.b").is_ok());
        assert!(check_subdomain("a..b").is_err());
        assert!(check_subdomain("A").is_err());
        assert!(check_subdomain(&"a".repeat(254)).is_err());
        assert!(check_interface("eth0").is_ok());
        assert!(check_interface("a-name-too-long-for-linux").is_err());
        assert!(check_label_pair("projectcalico.org/orchestrator", "k8s").is_ok());
        assert!(check_label_pair("a", "").is_ok());
        assert!(check_label_pair("a b", "").is_err());
        assert!(check_label_pair("a", "-b").is_err());
    }
}
