//! What somebody may have meant by a name that there is not.

/// Names of more bytes are like no other.
const LONGEST_NAME: usize = 512;

/// The names most like `name`, best first, at most `most` of them. Of names
/// that are equally like it, the one that begins like it for longer comes
/// first: people err at the end of `espeak/vi` and not at its start.
#[must_use]
pub fn nearest(name: &str, among: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    // Nothing is so long, and comparing costs the product of both lengths.
    if name.len() > LONGEST_NAME {
        return Vec::new();
    }
    let name = name.to_lowercase();
    let mut near: Vec<(f64, usize, String)> = among
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let alike = name
                .chars()
                .zip(lower.chars())
                .take_while(|(a, b)| a == b)
                .count();
            (
                strsim::normalized_damerau_levenshtein(&name, &lower),
                alike,
                candidate,
            )
        })
        .filter(|(likeness, ..)| *likeness >= 0.5)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    near.into_iter()
        .take(most)
        .map(|(.., candidate)| candidate)
        .collect()
}
