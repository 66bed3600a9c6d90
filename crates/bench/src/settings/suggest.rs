//! What somebody may have meant.

/// The candidate nearest to `typed`, if one is near enough to have been meant.
pub fn nearest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let typed: Vec<char> = normalised(typed).take(LENGTH_MAX + 1).collect();
    if typed.len() > LENGTH_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&typed, &normalised(candidate).collect::<Vec<char>>()), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.len() / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Longer than any key or word there is.
const LENGTH_MAX: usize = 40;

fn normalised(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() })
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between two words (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["flows", "frame_size", "dst_port", "src_ports"];

    #[test]
    fn slips_are_recognised() {
        assert_eq!(nearest("flow", KEYS), Some("flows"));
        assert_eq!(nearest("folws", KEYS), Some("flows"));
        assert_eq!(nearest("Frame-Sizes", KEYS), Some("frame_size"));
        assert_eq!(nearest("src_port", KEYS), Some("src_ports"));
    }

    #[test]
    fn what_is_far_from_everything_stays_without_a_suggestion() {
        assert_eq!(nearest("colour", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(nearest(&"f".repeat(100_000), KEYS), None);
    }
}
