//! Checks of documents and of words.

use crate::tree::File;

/// Put together here, so that this file has none of them. The last is banned in any case.
const BANNED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("ha", "ck"),
];

/// Words that leave work for later without saying what or why.
pub fn banned_words(file: &File) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in words(line).filter(|word| is_banned(word)) {
            breaches.push(format!("{}:{}: `{word}`", file.path, index + 1));
        }
    }
    breaches
}

/// Public fields of `limits.rs` that no document names.
pub fn limits(source: &str, docs: &str) -> Vec<String> {
    let names: Vec<&str> = source.lines().filter_map(public_field).collect();
    if names.is_empty() {
        return vec!["limits.rs has no public field: nothing was checked".to_string()];
    }
    let documented = |name: &&str| words(docs).any(|word| word == *name);
    let missing = names.into_iter().filter(|name| !documented(name));
    missing
        .map(|name| format!("no document names the limit `{name}`"))
        .collect()
}

/// The name of a public field that a line declares.
fn public_field(line: &str) -> Option<&str> {
    let declared = line.trim_start().strip_prefix("pub ")?;
    let (name, rest) = declared.split_once(':')?;
    let is_name = name.chars().all(is_word) && !rest.starts_with(':');
    is_name.then_some(name)
}

fn is_banned(word: &str) -> bool {
    BANNED[..3].contains(&word) || word.eq_ignore_ascii_case(BANNED[3])
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> File {
        File {
            path: "docs/sample.md".to_string(),
            text: text.to_string(),
        }
    }

    #[test]
    fn every_banned_word_is_a_breach() {
        for word in BANNED {
            let text = format!("fine\n// {word}: later\n");
            let breaches = banned_words(&document(&text));
            assert_eq!(breaches, [format!("docs/sample.md:2: `{word}`")]);
        }
        let capital = format!("A H{} here", &BANNED[3][1..]);
        assert_eq!(banned_words(&document(&capital)).len(), 1);
    }

    #[test]
    fn words_that_only_contain_one_are_free() {
        let text = "todo = \"deny\"\nthe shackle of XXXX\n";
        assert_eq!(banned_words(&document(text)), [""; 0]);
    }

    const SOURCE: &str = "pub struct Limits {\n    pub calls_max: u32,\n    pub frame_max: u32,\n}\n\
                          impl Limits {\n    pub fn new() -> Self::Out {}\n}\n\
                          pub const REST_BYTES: usize = 4;\n";

    #[test]
    fn an_undocumented_limit_is_a_breach() {
        let docs = "`calls_max` and frame_max_bytes.";
        assert_eq!(
            limits(SOURCE, docs),
            ["no document names the limit `frame_max`"]
        );
        assert_eq!(limits(SOURCE, "calls_max, `frame_max`"), [""; 0]);
    }

    #[test]
    fn a_file_without_limits_is_a_breach() {
        assert_eq!(limits("fn main() {}", "").len(), 1);
    }
}
