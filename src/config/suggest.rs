//! "did you mean": the nearest of the words that are legal at a place.

/// The legal word most like `word`, if one is like enough.
pub fn nearest<'a>(word: &str, legal: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    legal
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase()), known))
        .filter(|(distance, known)| {
            let begins_alike = lower.len() > 2 && known.len() > 2 && (known.starts_with(&lower) || lower.starts_with(known));
            begins_alike || *distance <= known.chars().count().max(3) / 3
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Help for a word that is none of the legal ones: the nearest, or all of them.
pub fn among<'a>(word: &str, legal: impl IntoIterator<Item = &'a str>) -> String {
    let legal: Vec<&str> = legal.into_iter().collect();
    match nearest(word, legal.iter().copied()) {
        Some(known) => format!("did you mean `{known}`?"),
        None if legal.is_empty() => "none is defined".to_owned(),
        None => format!("one of {}", legal.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_suggested_and_another_word_is_not() {
        assert_eq!(nearest("lisen", ["listen", "log"]), Some("listen"));
        assert_eq!(nearest("Upstreem", ["upstream", "upstreams"]), Some("upstream"));
        assert_eq!(nearest("ip_allow", ["ip_allowlist", "issuers"]), Some("ip_allowlist"));
        assert_eq!(nearest("warning", ["error", "warn", "info"]), Some("warn"));
        assert_eq!(nearest("banana", ["listen", "log"]), None);
        assert_eq!(among("banana", ["listen", "log"]), "one of `listen`, `log`");
    }
}
