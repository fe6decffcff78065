//! From the bytes of a file to resources, errors and notices.
//!
//! A file may hold several YAML documents and `List`s of resources. Each resource stands or
//! falls alone: the good ones of a file with a fault are returned beside the errors.

use crate::error::{Notice, ParseError, one_line};
use crate::key::{Key, Kind, WrongKind, kinds_table};
use crate::kinds;
use crate::metadata::Metadata;
use crate::object::{Object, Read};
use crate::place::{Fields, Place, Report};
use crate::resource::{Other, Resource};
use crate::similar::similar;
use crate::tree::{Tree, Value, documents};

/// Files larger than this are refused unread, 32 MiB: some 50,000 endpoints.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// Something read at a line of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// Line at which it starts, from 1.
    pub line: u32,
    pub value: T,
}

/// All that a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The resources without fault, in the order of the file.
    pub resources: Vec<Located<Resource>>,
    /// Every problem of the others. An error without a [`key`](ParseError::key) means that the
    /// file may hold resources that could not even be named.
    pub errors: Vec<ParseError>,
    /// What is understood and kept but has no effect.
    pub notices: Vec<Notice>,
}

/// Reads every resource in the bytes of a file; `file` is its name in messages.
///
/// Never panics and never reads anything else, whatever the bytes are.
#[must_use]
pub fn parse(bytes: &[u8], file: &str) -> Parsed {
    read(bytes, file, How::default())
}

/// The same for what a user of calicoctl wrote: a resource of a namespaced kind that names no
/// namespace is in `namespace`, and one that is there twice is written twice.
#[must_use]
pub fn parse_in(bytes: &[u8], file: &str, namespace: &str) -> Parsed {
    let how = How {
        namespace: Some(namespace),
        repeated: true,
        ..How::default()
    };
    read(bytes, file, how)
}

/// The same for what a store holds and something newer than we may have written: unknown fields
/// are notices, not errors.
#[must_use]
pub fn parse_stored(bytes: &[u8], file: &str) -> Parsed {
    let how = How {
        lenient: true,
        ..How::default()
    };
    read(bytes, file, how)
}

/// How strictly a file is read.
#[derive(Clone, Copy, Default)]
struct How<'a> {
    /// Unknown fields are notices.
    lenient: bool,
    /// Of resources that name none.
    namespace: Option<&'a str>,
    /// A resource may be there twice.
    repeated: bool,
}

fn read(bytes: &[u8], file: &str, how: How<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let whole = |line, reason: String| ParseError {
        file: file.to_owned(),
        line,
        resource: String::new(),
        key: None,
        field: String::new(),
        value: String::new(),
        reason,
    };
    if bytes.len() > MAX_FILE_BYTES {
        let reason = format!(
            "larger than {} MiB, not read: split it",
            MAX_FILE_BYTES >> 20
        );
        parsed.errors.push(whole(0, reason));
        return parsed;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let lines = 1 + good.iter().filter(|b| **b == b'\n').count();
            let line = u32::try_from(lines).unwrap_or(u32::MAX);
            parsed.errors.push(whole(line, "not UTF-8".to_owned()));
            return parsed;
        }
    };
    let (trees, fault) = documents(text);
    for tree in &trees {
        if !tree.is_null() {
            document(tree, file, how, &mut parsed);
        }
    }
    if let Some(fault) = fault {
        parsed
            .errors
            .push(whole(fault.line, one_line(&fault.reason, 400)));
    }
    if !how.repeated {
        refuse_repeated(file, &mut parsed);
    }
    parsed
}

/// One document: a resource, or a List of them.
fn document(tree: &Tree, file: &str, how: How<'_>, parsed: &mut Parsed) {
    if let Value::Mapping(entries) = &tree.value {
        let text = |name: &str| {
            entries
                .iter()
                .find(|e| &*e.key == name)
                .map(|e| &e.value.value)
        };
        if let Some(Value::Scalar { text: kind, .. }) = text("kind")
            && is_list(kind)
            && let Some(Value::Sequence(items)) = text("items")
        {
            for item in items {
                resource(item, file, how, parsed);
            }
            return;
        }
    }
    resource(tree, file, how, parsed);
}

/// `List`, or a kind's own list such as `IPPoolList`.
fn is_list(kind: &str) -> bool {
    kind.strip_suffix("List")
        .is_some_and(|of| of.is_empty() || Kind::ALL.iter().any(|kind| kind.name() == of))
}

fn resource(tree: &Tree, file: &str, how: How<'_>, parsed: &mut Parsed) {
    let report = Report::new(file, how.lenient);
    let read = read_resource(tree, how.namespace, &report);
    let failed = report.failed();
    let (errors, notices) = report.into_parts();
    parsed.errors.extend(errors);
    if let Some(value) = read.filter(|_| !failed) {
        parsed.notices.extend(notices);
        parsed.resources.push(Located {
            line: tree.line,
            value,
        });
    }
}

fn read_resource(
    tree: &Tree,
    default_namespace: Option<&str>,
    report: &Report<'_>,
) -> Option<Resource> {
    let top = Place::root(report, tree).fields()?;
    let api_version = top.required("apiVersion");
    let kind_place = top.required("kind");
    let kind_name = kind_place.as_ref()?.text()?;
    report.identify(kind_name, None);
    let api_version = api_version?;
    let kind = match Kind::find(kind_name, api_version.text()?) {
        Ok(kind) => kind,
        Err(WrongKind::Name) => {
            let names = Kind::ALL.iter().map(|kind| kind.name());
            kind_place?.error(match similar(kind_name, names) {
                Some(meant) => format!("unknown kind: did you mean {meant}?"),
                None => "unknown kind".to_owned(),
            });
            return None;
        }
        Err(WrongKind::Version(kind)) => {
            api_version.error(format!("must be {} for {kind}", kind.api_version()));
            return None;
        }
    };
    let metadata_place = top.required("metadata");
    let metadata_fields = metadata_place.and_then(|place| place.fields())?;
    let default_namespace = default_namespace.filter(|_| kind.namespaced());
    let (name, namespace) = Metadata::identity(kind, &metadata_fields);
    let namespace = namespace.or(default_namespace.map(str::to_owned));
    identify(report, kind, name.as_deref(), namespace.as_deref());
    let mut metadata = Metadata::read(kind, default_namespace, &metadata_fields);
    metadata_fields.finish();
    let resource = read_kind(kind, &top, &mut metadata, report, tree.line);
    // A WorkloadEndpoint's name may only be known now.
    if name.is_none()
        && let Some(resource) = &resource
    {
        let name = Some(resource.metadata().name.as_str()).filter(|name| !name.is_empty());
        identify(report, kind, name, namespace.as_deref());
    }
    // What the policy model refuses beyond the checks here; it names one problem at a time, so
    // it is asked only when nothing else is wrong.
    if !report.failed()
        && let Some(resource) = &resource
        && let Err(invalid) = resource.update()
    {
        let line = tree.line_at(&invalid.field);
        report.error(line, &invalid.field, &invalid.value, invalid.reason);
    }
    resource
}

/// Names the resource in its report as far as it can be named.
fn identify(report: &Report<'_>, kind: Kind, name: Option<&str>, namespace: Option<&str>) {
    let Some(name) = name else {
        report.identify(kind.name(), None);
        return;
    };
    let key = Key::namespaced(kind, namespace.unwrap_or_default(), name);
    let complete = namespace.is_some() || !kind.namespaced();
    report.identify(&key.to_string(), complete.then_some(&key));
}

macro_rules! read_kind {
    (
        typed { $($(#[$doc:meta])* $kind:ident $name:literal $plural:literal $api:ident $scope:ident;)* }
        stored { $($(#[$stored_doc:meta])* $stored:ident $n:literal $p:literal $a:ident $s:ident;)* }
    ) => {
        fn read_kind(
            kind: Kind,
            top: &Fields<'_>,
            metadata: &mut Metadata,
            report: &Report<'_>,
            line: u32,
        ) -> Option<Resource> {
            match kind {
                $(Kind::$kind => {
                    read_object(top, metadata, report, line).map(Resource::$kind)
                })*
                $(Kind::$stored)|* => {
                    Some(Resource::Other(read_other(kind, top, metadata, report)))
                }
            }
        }
    };
}

kinds_table!(read_kind);

fn read_object<S: Read>(
    top: &Fields<'_>,
    metadata: &mut Metadata,
    report: &Report<'_>,
    line: u32,
) -> Option<Object<S>> {
    let spec = read_spec(top, metadata, report, line);
    Some(Object {
        metadata: std::mem::take(metadata),
        spec: spec?,
    })
}

fn read_spec<S: Read>(
    top: &Fields<'_>,
    metadata: &mut Metadata,
    report: &Report<'_>,
    line: u32,
) -> Option<S> {
    let fields = match top.optional("spec") {
        Some(place) => place.fields()?,
        None => Fields::empty(report, "spec", line),
    };
    let spec = S::read(&fields, metadata);
    fields.finish();
    // What controllers wrote back is not asked for by anybody, and not kept.
    top.ignore("status");
    top.finish();
    spec
}

fn read_other(kind: Kind, top: &Fields<'_>, metadata: &mut Metadata, report: &Report<'_>) -> Other {
    let mut content = serde_json::Map::new();
    let rest = top.rest();
    let line = rest.first().map_or(0, |(_, place)| place.line());
    for (name, place) in rest {
        if name == "spec" {
            kinds::stored::check(kind, metadata, top, &place);
        }
        content.insert(name.to_owned(), place.tree().to_json());
    }
    let read = [
        Kind::IpamConfiguration,
        Kind::IpReservation,
        Kind::IpamBlock,
        Kind::IpamHandle,
        Kind::CalicoNodeStatus,
        Kind::BgpConfiguration,
        Kind::BgpPeer,
        Kind::BgpFilter,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Secret,
    ];
    // What IPAM keeps or is told, what is asked of a node, and what BIRD's configuration is made of, is
    // nothing to the packet path, and not without effect.
    if !read.contains(&kind) {
        let text = format!("stored, not acted on: nothing reads a {kind} yet");
        report.notice(line, "", "", text);
    }
    Other {
        kind,
        metadata: std::mem::take(metadata),
        content,
    }
}

/// The same key twice in a file: the first stays, the others are errors.
fn refuse_repeated(file: &str, parsed: &mut Parsed) {
    let mut seen = std::collections::HashMap::new();
    let mut errors = Vec::new();
    parsed.resources.retain(|located| {
        let key = located.value.key();
        if let Some(first) = seen.get(&key) {
            errors.push(ParseError {
                file: file.to_owned(),
                line: located.line,
                resource: key.to_string(),
                key: Some(key),
                field: String::new(),
                value: String::new(),
                reason: format!("already defined at line {first}; this one is ignored"),
            });
            return false;
        }
        seen.insert(key, located.line);
        true
    });
    parsed.errors.extend(errors);
}
