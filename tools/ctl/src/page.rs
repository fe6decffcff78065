//! Lists that come in pages.

use std::io::Write;

use serde::Serialize;
use vrouter_control::model::Page;
use vrouter_control::params::MAX_LIMIT;
use vrouter_control::{Call, Client};

use crate::args::show::PageArgs;
use crate::failure::{Failure, nonsense};
use crate::output::Output;

/// Asks for pages until `args.limit` rows have come and prints them as they come: `each` prints
/// one page as a table. `call` makes the parameters of the page after a cursor.
pub(crate) fn print<W: Write, T: Serialize, P: Call<Output = Page<T>>>(
    client: &mut Client,
    out: &mut Output<W>,
    args: &PageArgs,
    call: impl Fn(Option<String>, u32) -> P,
    mut each: impl FnMut(&mut Output<W>, &[T]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = (args.limit > 0).then_some(args.limit);
    let mut after = args.after.clone();
    let mut all = Page {
        items: Vec::new(),
        next: None,
        total: None,
    };
    let mut json = JsonList::default();
    loop {
        let rows = left.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        let page = client.call(&call(after.clone(), rows))?;
        let came = u32::try_from(page.items.len()).unwrap_or(u32::MAX);
        // A page without rows is in order: the daemon looked at many and none matched. One that
        // leads to itself would never end.
        if came > rows || (page.next.is_some() && page.next == after) {
            return Err(nonsense(
                "a page has more rows than asked for, or leads to itself",
            ));
        }
        left = left.map(|left| left - came);
        (all.next, all.total) = (page.next, page.total);
        if out.is_table() {
            each(out, &page.items)?;
        } else if out.is_json() {
            json.append(out, &page.items)?;
        } else {
            all.items.extend(page.items);
        }
        match &all.next {
            Some(next) if left != Some(0) => after = Some(next.clone()),
            Some(_) | None => break,
        }
    }
    if out.is_table() {
        if let Some(next) = &all.next {
            out.flush()?;
            let of = all
                .total
                .map(|total| format!(" of {total}"))
                .unwrap_or_default();
            eprintln!(
                "vrouterctl: {} rows{of}; go on with --after '{next}' or take all with --limit 0",
                args.limit
            );
        }
        Ok(())
    } else if out.is_json() {
        json.end(out, &all)
    } else {
        out.structured(&all).map(|_| ())
    }
}

/// Writes a page of any length as serde_json would, without having it in memory.
#[derive(Default)]
struct JsonList {
    rows: u64,
}

impl JsonList {
    fn append<W: Write, T: Serialize>(
        &mut self,
        out: &mut Output<W>,
        items: &[T],
    ) -> Result<(), Failure> {
        for item in items {
            let text = serde_json::to_string_pretty(item).map_err(std::io::Error::from)?;
            out.text(if self.rows == 0 {
                "{\n  \"items\": ["
            } else {
                ","
            })?;
            // No newline of the text is inside a string: JSON escapes those.
            out.text("\n    ")?;
            out.text(&text.replace('\n', "\n    "))?;
            self.rows += 1;
        }
        Ok(())
    }

    fn end<W: Write, T: Serialize>(
        &mut self,
        out: &mut Output<W>,
        rest: &Page<T>,
    ) -> Result<(), Failure> {
        out.text(if self.rows == 0 {
            "{\n  \"items\": []"
        } else {
            "\n  ]"
        })?;
        if let Some(next) = &rest.next {
            let next = serde_json::to_string(next).map_err(std::io::Error::from)?;
            out.text(&format!(",\n  \"next\": {next}"))?;
        }
        if let Some(total) = rest.total {
            out.text(&format!(",\n  \"total\": {total}"))?;
        }
        out.text("\n}\n")
    }
}
