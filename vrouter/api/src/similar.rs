//! The word that was probably meant.

/// The candidate that is most like a word, if one is like it at all: as it is but for the case of
/// letters, or with few of them changed, added, left out or swapped.
///
/// ```
/// use vrouter_api::similar;
/// assert_eq!(similar("selctor", ["order", "selector"]), Some("selector"));
/// assert_eq!(similar("zone", ["order", "selector"]), None);
/// ```
pub fn similar<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    among
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters are to be changed, added, left out or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, letter) in one.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, &against) in other.iter().enumerate() {
            let changed = last[column] + usize::from(letter != against);
            let mut least = changed.min(last[column + 1] + 1).min(line[column] + 1);
            if column > 0 && previous == Some(against) && letter == other[column - 1] {
                least = least.min(before_last[column - 1] + 1);
            }
            line.push(least);
        }
        before_last = std::mem::replace(&mut last, line);
        previous = Some(letter);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ippol", "ippool", 1),
            ("ndoe", "node", 1),
            ("nodes", "node", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn what_is_like_nothing_is_like_nothing() {
        assert_eq!(similar("po", ["pod"]), None);
        assert_eq!(similar("IPPool", ["ippool"]), Some("ippool"));
    }
}
