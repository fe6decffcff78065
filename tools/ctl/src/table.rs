//! Aligned columns without lines, as kubectl and calicoctl print them.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, Width};

/// A table that may be printed in parts: each part is at least as wide as the one before.
pub(crate) struct Table {
    header: Option<Vec<String>>,
    columns: usize,
    rows: Vec<Vec<String>>,
    widths: Vec<u16>,
}

/// Between columns.
const GAP: u16 = 2;

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            header: Some(header.iter().map(ToString::to_string).collect()),
            columns: header.len(),
            rows: Vec::new(),
            widths: Vec::new(),
        }
    }

    /// Adds a row; cells beyond the header are left out.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(
            cells
                .into_iter()
                .take(self.columns)
                .map(|cell| clean(&cell))
                .collect(),
        );
    }

    /// Prints the rows added since the last time; the header the first time.
    pub(crate) fn print(&mut self, to: &mut impl Write) -> io::Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        // The header is a row, so that its width counts as any other.
        let rows = self.header.take().into_iter().chain(self.rows.drain(..));
        table.add_rows(rows);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP));
            if let Some(&width) = self.widths.get(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
        }
        let widths = table.column_max_content_widths();
        self.widths.resize(self.widths.len().max(widths.len()), 0);
        for (known, width) in self.widths.iter_mut().zip(widths) {
            *known = (*known).max(width.saturating_add(GAP));
        }
        for line in table.lines() {
            writeln!(to, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A cell is one line, is never empty, and sends nothing to a terminal but text.
fn clean(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_align() {
        let mut table = Table::new(&["NAME", "VALUE", "X"]);
        let mut text = Vec::new();
        table.row(["a-long-name", "1", ""].map(String::from));
        table.print(&mut text).unwrap();
        table.row(["b", "2", "\x1b[2J"].map(String::from));
        table.print(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME         VALUE  X\na-long-name  1      -\nb            2      ?[2J\n"
        );
    }
}
