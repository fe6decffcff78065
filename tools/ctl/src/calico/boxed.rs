//! calicoctl's tables with lines around their cells.

/// Headings in the middle of their columns, numbers on the right, the rest on the left.
pub(super) fn boxed(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let cells = cells.map(|cell| cell.chars().count());
            cells.fold(name.len(), usize::max)
        })
        .collect();
    let mut line = String::new();
    for width in &widths {
        line += &format!("+{}", "-".repeat(width + 2));
    }
    line += "+\n";
    let mut text = line.clone();
    for (name, &width) in header.iter().zip(&widths) {
        let blanks = width.saturating_sub(name.len());
        let (before, after) = (blanks / 2, blanks - blanks / 2);
        text += &format!("| {}{name}{} ", " ".repeat(before), " ".repeat(after));
    }
    text += "|\n";
    text += &line;
    for row in rows {
        for (cell, &width) in row.iter().zip(&widths) {
            // Nothing but text reaches a terminal.
            let cell: String = cell
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect();
            // Not by a width of `format!`, which is 65,535 at most.
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            text += &if cell.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("| {blanks}{cell} ")
            } else {
                format!("| {cell}{blanks} ")
            };
        }
        text += "|\n";
    }
    text + &line
}
