//! Changing one resource in the text of a file and leaving the rest as its author wrote it.
//!
//! A line that starts with `---` ends a document wherever it stands, so a file can be cut into
//! documents without understanding them. Only the document that holds the resource is touched: in
//! one of a single resource only what differs is written, any other is written anew.

use super::patch;
use vrouter_api::{Key, ParseError, Resource, parse, to_json, to_yaml};

/// What is to become of a resource.
pub(super) enum Edit<'a> {
    /// It is to be this.
    Replace(&'a Resource),
    Remove,
}

/// The text of the file after the edit; `None` when nothing is left of it.
///
/// # Errors
/// What is wrong with the document that holds the resource: it cannot be printed anew without
/// losing that.
pub(super) fn edit(
    text: &str,
    file: &str,
    key: &Key,
    edit: &Edit<'_>,
) -> Result<Option<String>, Vec<ParseError>> {
    let documents = cut(text);
    let mut out = String::new();
    let mut resources = 0;
    let mut found = false;
    for (start, document) in documents {
        let parsed = parse(document.as_bytes(), file);
        let here = parsed.resources.iter().any(|it| it.value.key() == *key);
        if found || !here {
            out.push_str(document);
            resources += parsed.resources.len() + parsed.errors.len();
            continue;
        }
        found = true;
        if !parsed.errors.is_empty() {
            let below = parsed.errors.into_iter().map(|mut error| {
                error.line += start;
                error
            });
            return Err(below.collect());
        }
        if let ([located], Edit::Replace(new)) = (&parsed.resources[..], edit)
            && let Some(text) = patch::patched(document, &located.value, new)
        {
            resources += 1;
            out.push_str(&text);
            continue;
        }
        for located in &parsed.resources {
            let resource = match edit {
                Edit::Replace(new) if located.value.key() == *key => new,
                Edit::Remove if located.value.key() == *key => continue,
                Edit::Replace(_) | Edit::Remove => &located.value,
            };
            resources += 1;
            if document.starts_with("---") || !out.is_empty() || resources > 1 {
                out.push_str("---\n");
            }
            out.push_str(&print(resource, file));
        }
    }
    Ok((resources > 0).then_some(out))
}

/// The resource in the language of the file.
pub(super) fn print(resource: &Resource, file: &str) -> String {
    if file.to_ascii_lowercase().ends_with(".json") {
        to_json(resource)
    } else {
        to_yaml(resource)
    }
}

/// The documents of a text, separators in front, and how many lines stand before each.
fn cut(text: &str) -> Vec<(u32, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut at, mut line) = (0, 0, 0, 0);
    for text_line in text.split_inclusive('\n') {
        let separator = text_line.strip_prefix("---");
        if separator.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
            && at > start
        {
            documents.push((start_line, &text[start..at]));
            (start, start_line) = (at, line);
        }
        at += text_line.len();
        line += 1;
    }
    documents.push((start_line, &text[start..]));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_api::Kind;

    const FILE: &str = "# ours\n---\n# first\napiVersion: projectcalico.org/v3\nkind: Tier\n\
        metadata: {name: a}\n---\napiVersion: projectcalico.org/v3\nkind: Tier\n\
        metadata: {name: b} # kept\n";

    fn key(name: &str) -> Key {
        Key::global(Kind::Tier, name)
    }

    #[test]
    fn other_documents_keep_their_comments() {
        let left = edit(FILE, "f.yaml", &key("a"), &Edit::Remove);
        let left = left.expect("the file has no fault").expect("b is left");
        assert!(left.starts_with("# ours\n---\napi"), "{left}");
        assert!(left.contains("{name: b} # kept"), "{left}");
        assert!(!left.contains("{name: a}"), "{left}");
        let gone = edit(&left, "f.yaml", &key("b"), &Edit::Remove);
        assert_eq!(gone, Ok(None));
    }

    #[test]
    fn a_replaced_resource_stands_where_it_stood() {
        let new = parse(
            b"apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\nspec: {order: 7}",
            "",
        );
        let new = &new.resources[0].value;
        let text = edit(FILE, "f.yaml", &key("a"), &Edit::Replace(new));
        let text = text.expect("no fault").expect("two are left");
        let parsed = parse(text.as_bytes(), "f.yaml");
        assert_eq!(parsed.errors, []);
        assert_eq!(parsed.resources.len(), 2);
        assert_eq!(parsed.resources[0].value, *new);
    }

    #[test]
    fn a_faulty_neighbour_in_a_list_is_not_lost() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: projectcalico.org/v3\n  kind: Tier\n  metadata: {name: a}\n- apiVersion: projectcalico.org/v3\n  kind: Tier\n  metadata: {name: B}\n";
        let errors = edit(list, "f.yaml", &key("a"), &Edit::Remove).expect_err("B is no name");
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}
