//! Reading typed fields out of a located tree, collecting every problem on the way.
//!
//! A [`Place`] is one node with its path; a [`Fields`] is a mapping whose unread keys are
//! reported when it is finished. Readers return `None` after reporting, and go on with the next
//! field: the author of a file sees all of its faults at once.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use crate::error::{Notice, ParseError, one_line};
use crate::key::Key;
use crate::similar::similar;
use crate::tree::{Entry, Tree, Value, boolean, boolean_of_yaml_1_1, number};
use crate::written::Written;

/// How much of a value is shown.
const LONGEST_VALUE: usize = 80;
/// How much of a resource's name or a field's path: all of a legal one.
const LONGEST_NAME: usize = 400;
/// How much of a reason, which may repeat a name.
const LONGEST_REASON: usize = 1000;

/// Collects what is found while one resource is read.
pub(crate) struct Report<'a> {
    file: &'a str,
    resource: RefCell<String>,
    key: RefCell<Option<Key>>,
    errors: RefCell<Vec<ParseError>>,
    notices: RefCell<Vec<Notice>>,
    /// Unknown fields that were no errors.
    unknown: Cell<usize>,
    /// Unknown fields are no errors: whoever wrote them knows more than we.
    lenient: bool,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, lenient: bool) -> Report<'a> {
        Report {
            file,
            lenient,
            resource: RefCell::default(),
            key: RefCell::default(),
            errors: RefCell::default(),
            notices: RefCell::default(),
            unknown: Cell::default(),
        }
    }

    /// Names the resource; what was reported before takes the name too.
    pub(crate) fn identify(&self, resource: &str, key: Option<&Key>) {
        let resource = &one_line(resource, LONGEST_NAME);
        resource.clone_into(&mut self.resource.borrow_mut());
        *self.key.borrow_mut() = key.cloned();
        for error in self.errors.borrow_mut().iter_mut() {
            resource.clone_into(&mut error.resource);
            error.key = key.cloned();
        }
        for notice in self.notices.borrow_mut().iter_mut() {
            resource.clone_into(&mut notice.resource);
        }
    }

    pub(crate) fn error(&self, line: u32, field: &str, value: &str, reason: impl Into<String>) {
        self.errors.borrow_mut().push(ParseError {
            file: self.file.to_owned(),
            line,
            resource: self.resource.borrow().clone(),
            key: self.key.borrow().clone(),
            field: one_line(field, LONGEST_NAME),
            value: one_line(value, LONGEST_VALUE),
            reason: one_line(&reason.into(), LONGEST_REASON),
        });
    }

    pub(crate) fn notice(&self, line: u32, field: &str, value: &str, text: impl Into<String>) {
        self.notices.borrow_mut().push(Notice {
            file: self.file.to_owned(),
            line,
            resource: self.resource.borrow().clone(),
            field: one_line(field, LONGEST_NAME),
            value: one_line(value, LONGEST_VALUE),
            text: text.into(),
        });
    }

    pub(crate) fn failed(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    pub(crate) fn into_parts(self) -> (Vec<ParseError>, Vec<Notice>) {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.line);
        let mut notices = self.notices.into_inner();
        notices.sort_by_key(|notice| notice.line);
        (errors, notices)
    }
}

/// One node of a resource, with the way to it.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    report: &'a Report<'a>,
    path: String,
    line: u32,
    tree: &'a Tree,
}

impl<'a> Place<'a> {
    pub(crate) fn root(report: &'a Report<'a>, tree: &'a Tree) -> Place<'a> {
        Place {
            report,
            path: String::new(),
            line: tree.line,
            tree,
        }
    }

    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    pub(crate) fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// A scalar as written; empty for lists and maps.
    pub(crate) fn written(&self) -> &'a str {
        match &self.tree.value {
            Value::Scalar { text, .. } => text,
            Value::Sequence(_) | Value::Mapping(_) => "",
        }
    }

    /// Reports a problem of this node.
    pub(crate) fn error(&self, reason: impl Into<String>) {
        self.report
            .error(self.line, &self.path, self.written(), reason);
    }

    /// Reports a value that nothing here reads and Calico refuses: an error, or a notice of what a
    /// store holds already.
    pub(crate) fn fault(&self, reason: impl Into<String>) {
        if self.report.lenient {
            let text = format!("not as Calico takes it: {}", reason.into());
            self.report
                .notice(self.line, &self.path, self.written(), text);
        } else {
            self.error(reason);
        }
    }

    /// Whether it is true or false, without quotes.
    pub(crate) fn is_boolean(&self) -> bool {
        matches!(&self.tree.value, Value::Scalar { text, plain: true } if boolean(text).is_some())
    }

    /// Reports that this node has no effect, and why.
    pub(crate) fn not_acted_on(&self, why: &str) {
        let text = format!("stored, not acted on: {why}");
        self.report
            .notice(self.line, &self.path, self.written(), text);
    }

    /// Reports that this node has less effect than its author may think, and why.
    pub(crate) fn partly(&self, why: &str) {
        let text = format!("acted on in part: {why}");
        self.report
            .notice(self.line, &self.path, self.written(), text);
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Option<T> {
        self.error(reason);
        None
    }

    /// Any scalar as text.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.tree.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) => self.fail("must be a string, not a list"),
            Value::Mapping(_) => self.fail("must be a string, not a map"),
        }
    }

    pub(crate) fn string(&self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.tree.value {
            Value::Scalar { text, plain: true } if boolean(text).is_some() => boolean(text),
            _ => self.fail("must be true or false"),
        }
    }

    /// An unquoted integer in the range.
    pub(crate) fn integer<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let value = match &self.tree.value {
            Value::Scalar { text, plain: true } => text.parse::<i128>().ok(),
            _ => None,
        };
        match value.and_then(|value| T::try_from(value).ok()) {
            Some(value) if range.contains(&value) => Some(value),
            _ => self.fail(format!(
                "must be an integer in {}–{}",
                range.start(),
                range.end()
            )),
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        let value = match &self.tree.value {
            Value::Scalar { text, plain: true } => number(text),
            _ => None,
        };
        if value.is_none() {
            self.error("must be a number");
        }
        value
    }

    /// A word of a closed list; the list is the message.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.error(format!("must be one of {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// The same, whatever the case of the letters, as Felix takes its keys' values.
    pub(crate) fn word<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        match choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
        {
            Some((_, value)) => Some(*value),
            None => self.choice(choices),
        }
    }

    /// Whatever `FromStr` takes; `what` completes "must be …".
    pub(crate) fn parse<T: FromStr>(&self, what: &str) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(_) => self.fail(format!("must be {what}")),
        }
    }

    /// A string that passes one of the checks of [`names`](crate::names).
    pub(crate) fn checked(&self, check: fn(&str) -> Result<(), String>) -> Option<String> {
        let text = self.text()?;
        match check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(reason) => self.fail(reason),
        }
    }

    /// A prefix as in [`Place::prefix`], and how it is written.
    pub(crate) fn written_prefix(&self) -> Option<Written<IpNet>> {
        Some(Written::new(self.prefix()?, self.written()))
    }

    /// The same without its host bits, which stay in its text.
    pub(crate) fn written_net(&self) -> Option<Written<IpNet>> {
        Some(Written::new(self.prefix()?.trunc(), self.written()))
    }

    /// A prefix; a bare address means its full length. Host bits are kept.
    pub(crate) fn prefix(&self) -> Option<IpNet> {
        let text = self.text()?;
        let parsed = match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => text.parse::<IpNet>().ok(),
        };
        match parsed {
            Some(prefix) => Some(prefix),
            None => self.fail("must be an address or a CIDR such as 10.0.0.0/8 or fd00::/8"),
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Place<'a>> {
        match &self.tree.value {
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(index, tree)| Place {
                    report: self.report,
                    path: format!("{}[{index}]", self.path),
                    line: tree.line,
                    tree,
                })
                .collect(),
            Value::Scalar { .. } | Value::Mapping(_) => {
                self.error("must be a list");
                Vec::new()
            }
        }
    }

    /// Reads each item of a list; faulty items are reported and left out.
    pub(crate) fn list<T>(&self, read: impl Fn(&Place<'a>) -> Option<T>) -> Vec<T> {
        self.items().iter().filter_map(read).collect()
    }

    /// The fields of a map.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        let Value::Mapping(entries) = &self.tree.value else {
            return self.fail("must be a map of fields");
        };
        let fields = self.fields_of(entries);
        fields.refuse_duplicates();
        Some(fields)
    }

    /// The fields of a map; of anything else none, without a complaint.
    pub(crate) fn fields_if_map(&self) -> Option<Fields<'a>> {
        match &self.tree.value {
            Value::Mapping(entries) => Some(self.fields_of(entries)),
            Value::Scalar { .. } | Value::Sequence(_) => None,
        }
    }

    fn fields_of(&self, entries: &'a [Entry]) -> Fields<'a> {
        Fields {
            report: self.report,
            path: self.path.clone(),
            line: self.line,
            entries,
            read: entries.iter().map(|_| Cell::new(false)).collect(),
            absent: RefCell::default(),
        }
    }

    /// Whether there is more than an empty text or an empty list.
    pub(crate) fn tree_is_set(&self) -> bool {
        match &self.tree.value {
            Value::Scalar { text, .. } => !text.is_empty(),
            Value::Sequence(items) => !items.is_empty(),
            Value::Mapping(_) => true,
        }
    }

    /// The fields of a map that is null: none.
    pub(crate) fn no_fields(&self) -> Fields<'a> {
        Fields::empty(self.report, &self.path, self.line)
    }

    /// A map of strings; `check` sees each key and value. A value without quotes that is a boolean
    /// of YAML 1.1 is `true` or `false`, as Calico's tools read it.
    pub(crate) fn string_map(
        &self,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Option<std::collections::BTreeMap<String, String>> {
        let fields = self.fields()?;
        let mut map = std::collections::BTreeMap::new();
        for (key, place) in fields.rest() {
            let value = if place.tree.is_null() {
                Some("")
            } else {
                place.text()
            };
            let Some(mut value) = value else { continue };
            if let Value::Scalar { text, plain: true } = &place.tree.value
                && let Some(boolean) = boolean_of_yaml_1_1(text)
            {
                value = if boolean { "true" } else { "false" };
            }
            if let Err(reason) = check(key, value) {
                place.error(reason);
            }
            map.insert(key.to_owned(), value.to_owned());
        }
        Some(map)
    }
}

/// The fields of one map, each to be read once.
pub(crate) struct Fields<'a> {
    report: &'a Report<'a>,
    path: String,
    line: u32,
    entries: &'a [Entry],
    read: Vec<Cell<bool>>,
    /// The fields that were asked for and are not there: one of them may have been meant by an
    /// unknown one.
    absent: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// A map in which nothing is set, standing where `line` says.
    pub(crate) fn empty(report: &'a Report<'a>, path: &str, line: u32) -> Fields<'a> {
        Fields {
            report,
            path: path.to_owned(),
            line,
            entries: &[],
            read: Vec::new(),
            absent: RefCell::default(),
        }
    }

    fn refuse_duplicates(&self) {
        let mut seen = std::collections::HashSet::new();
        for entry in self.entries {
            if !seen.insert(&*entry.key) {
                let path = self.path_of(&entry.key);
                self.report
                    .error(entry.line, &path, "", "the field is there twice");
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn place(&self, entry: &'a Entry) -> Place<'a> {
        Place {
            report: self.report,
            path: self.path_of(&entry.key),
            // The value of a block collection starts a line below its name.
            line: entry.line,
            tree: &entry.value,
        }
    }

    /// Reports a problem that no field of this map stands for.
    pub(crate) fn error(&self, reason: impl Into<String>) {
        self.report.error(self.line, &self.path, "", reason);
    }

    /// Reports a problem of a field that may be absent.
    pub(crate) fn error_at(&self, name: &str, reason: impl Into<String>) {
        match self.entries.iter().find(|entry| &*entry.key == name) {
            Some(entry) => self.place(entry).error(reason),
            None => self
                .report
                .error(self.line, &self.path_of(name), "", reason),
        }
    }

    /// The field when it is there and not null.
    pub(crate) fn optional(&self, name: &'static str) -> Option<Place<'a>> {
        let index = self.entries.iter().position(|entry| &*entry.key == name);
        let Some(index) = index else {
            self.absent.borrow_mut().push(name);
            return None;
        };
        self.read[index].set(true);
        let entry = &self.entries[index];
        if entry.value.is_null() {
            None
        } else {
            Some(self.place(entry))
        }
    }

    /// Whether the field is there and not null; it still counts as unread.
    pub(crate) fn peek(&self, name: &str) -> bool {
        let mut named = self.entries.iter().filter(|entry| &*entry.key == name);
        named.any(|entry| !entry.value.is_null())
    }

    /// The field when it is there and not null; it still counts as unread.
    pub(crate) fn unread(&self, name: &str) -> Option<Place<'a>> {
        let entry = self.entries.iter().find(|entry| &*entry.key == name)?;
        (!entry.value.is_null()).then(|| self.place(entry))
    }

    /// The field; its absence is reported.
    pub(crate) fn required(&self, name: &'static str) -> Option<Place<'a>> {
        let place = self.optional(name);
        if place.is_none() {
            self.report
                .error(self.line, &self.path_of(name), "", "must be set");
        }
        place
    }

    /// A list field; absent means empty.
    pub(crate) fn list<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Place<'a>) -> Option<T>,
    ) -> Vec<T> {
        self.optional(name)
            .map(|place| place.list(read))
            .unwrap_or_default()
    }

    /// A string field that is kept as it is; absent, null or empty means none.
    pub(crate) fn string(&self, name: &'static str) -> Option<String> {
        self.optional(name)
            .and_then(|place| place.string())
            .filter(|text| !text.is_empty())
    }

    /// A boolean field; absent means `default`.
    pub(crate) fn boolean(&self, name: &'static str, default: bool) -> bool {
        self.optional(name)
            .and_then(|place| place.boolean())
            .unwrap_or(default)
    }

    /// A field nobody has read, kept verbatim, that has no effect.
    pub(crate) fn verbatim(&self, name: &'static str, why: &str) -> Option<serde_json::Value> {
        let index = self.entries.iter().position(|entry| &*entry.key == name);
        let Some(index) = index else {
            self.absent.borrow_mut().push(name);
            return None;
        };
        if self.read[index].get() {
            return None;
        }
        let place = self.optional(name)?;
        place.not_acted_on(why);
        Some(place.tree.to_json())
    }

    /// Whether a field was asked for already.
    pub(crate) fn was_read(&self, name: &str) -> bool {
        let index = self.entries.iter().position(|entry| &*entry.key == name);
        index.is_some_and(|index| self.read[index].get())
    }

    /// Reports that the whole map has no effect, and why.
    pub(crate) fn not_acted_on(&self, why: &str) {
        let text = format!("stored, not acted on: {why}");
        self.report.notice(self.line, &self.path, "", text);
    }

    /// Marks a field as known without looking at it.
    pub(crate) fn ignore(&self, name: &'static str) {
        let _ = self.optional(name);
    }

    /// Every field not read yet, in order; all count as read.
    pub(crate) fn rest(&self) -> Vec<(&'a str, Place<'a>)> {
        let unread = self
            .entries
            .iter()
            .zip(&self.read)
            .filter(|(_, read)| !read.replace(true));
        unread
            .map(|(entry, _)| (&*entry.key, self.place(entry)))
            .collect()
    }

    /// How many unknown fields of the resource were no errors so far.
    pub(crate) fn unknown_so_far(&self) -> usize {
        self.report.unknown.get()
    }

    /// Ends the reading: what nobody read is unknown.
    pub(crate) fn finish(&self) {
        for (_, place) in self.rest() {
            if self.report.lenient {
                self.report.unknown.update(|unknown| unknown + 1);
                let text = "not understood, not acted on: unknown field";
                self.report.notice(place.line, &place.path, "", text);
            } else {
                let absent = self.absent.borrow();
                let name = place.path.rsplit('.').next().unwrap_or_default();
                let reason = match similar(name, absent.iter().copied()) {
                    Some(meant) => format!("unknown field: did you mean {meant}?"),
                    None => "unknown field".to_owned(),
                };
                self.report.error(place.line, &place.path, "", reason);
            }
        }
    }
}
