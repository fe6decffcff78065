//! Text as Go prints it: numbers, and the tables of its `text/tabwriter`.

use std::io::{self, Write};

use serde_json::Value;

/// A value as Go's `%v` has it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(fraction)) => float(fraction),
            (None, None) => number.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{name}:{}", text(value)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// The shortest digits that give the number back, with an exponent from a million on.
pub(super) fn float(number: f64) -> String {
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    match exponent.parse::<i32>() {
        Ok(power) if power < -4 => format!("{digits}e-{:02}", -power),
        Ok(power) if power >= 6 => format!("{digits}e+{power:02}"),
        _ => number.to_string(),
    }
}

/// A number as Go's `%.5g` has it.
pub(super) fn five_digits(number: f64) -> String {
    if number.abs() < 100_000.0 {
        return float((number * 100.0).round() / 100.0);
    }
    let text = format!("{number:.4e}");
    let Some((digits, power)) = text.split_once('e') else {
        return text;
    };
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e+{power:0>2}")
}

/// A table: each cell is as wide as the widest of its column and three blanks, at least five.
pub(super) fn table(to: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    const LEAST: usize = 5;
    const GAP: usize = 3;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            (widest + GAP).max(LEAST)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Nothing but text reaches a terminal.
            line.extend(cell.chars().map(|c| if c.is_control() { '?' } else { c }));
            // Not by a width of `write!`, which is 65,535 at most.
            let blanks = width.saturating_sub(cell.chars().count());
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        writeln!(to, "{line}")?;
    }
    Ok(())
}

/// A list of a cell as calicoctl shortens it: 80 characters, the last three of which are dots.
pub(super) fn shortened(text: String) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text;
    }
    let mut short: String = text.chars().take(MOST - 3).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_go_does() {
        for (value, expected) in [
            (json!(100.0), "100"),
            (json!(100.5), "100.5"),
            (json!(1_000_000.0), "1e+06"),
            (json!(1_234_567.0), "1.234567e+06"),
            (json!(0.00001), "1e-05"),
            (json!(0.0), "0"),
            (json!(1_000_000), "1000000"),
            (json!(["a", 1]), "[a 1]"),
            (json!({"a": "b"}), "map[a:b]"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn large_numbers_are_short() {
        for (number, expected) in [
            (65536.0, "65536"),
            (64.0, "64"),
            (16_777_216.0, "1.6777e+07"),
            (2_f64.powi(80), "1.2089e+24"),
            (1_000_000.0, "1e+06"),
        ] {
            assert_eq!(five_digits(number), expected);
        }
    }

    #[test]
    fn a_cell_may_be_longer_than_any_terminal() {
        let rows = vec![
            vec!["A".to_owned(), "B".to_owned()],
            vec!["x".repeat(70_000), "y".to_owned()],
        ];
        let mut text = Vec::new();
        table(&mut text, &rows).unwrap();
        let lines: Vec<&str> = std::str::from_utf8(&text).unwrap().lines().collect();
        assert_eq!(lines[0].find('B'), Some(70_003));
        assert_eq!(lines[1].find('y'), Some(70_003));
    }

    #[test]
    fn a_list_is_cut_where_calicoctl_cuts_it() {
        let exact = "n".repeat(80);
        assert_eq!(shortened(exact.clone()), exact);
        assert_eq!(shortened("n".repeat(81)), format!("{}...", "n".repeat(77)));
    }

    #[test]
    fn tables_have_gos_widths() {
        let rows = [["A", "NAME"], ["b", "long\x1b-name"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        let mut text = Vec::new();
        table(&mut text, &rows).unwrap();
        let expected = "A    NAME        \nb    long?-name   \n";
        assert_eq!(
            String::from_utf8(text).unwrap(),
            expected.replace("NAME        ", "NAME         ")
        );
    }
}
