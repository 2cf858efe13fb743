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

/// Differences between the models of the README's table, whose first column is headed `model`, and
/// the models that there are, in order.
pub fn model_table(readme: &str, models: &[&str]) -> Vec<String> {
    let rows = readme.lines().map(first_cell);
    let mut rows = rows.skip_while(|cell| !cell.is_some_and(is_model_head));
    if rows.next().is_none() {
        return vec!["README.md: no table whose first column is headed `model`".to_string()];
    }
    let cells = rows.skip(1).map_while(|cell| cell);
    let names: Vec<&str> = cells.map(|cell| cell.trim_matches('`')).collect();
    if names == models {
        return Vec::new();
    }
    vec![format!(
        "README.md: its model table has {names:?}, the code {models:?}"
    )]
}

fn is_model_head(cell: &str) -> bool {
    cell.eq_ignore_ascii_case("model")
}

/// The first cell of a row of a table, trimmed.
fn first_cell(line: &str) -> Option<&str> {
    let row = line.trim().strip_prefix('|')?;
    row.split('|').next().map(str::trim)
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
    fn a_model_table_that_differs_is_a_breach() {
        let table = "| other |\n|---|\n| `x` |\n\n| Model | for |\n|---|---|\n\
                     | `poll` | some |\n| `epoll` | many |\n\nafter\n| `uring` | x |\n";
        assert_eq!(model_table(table, &["poll", "epoll"]), [""; 0]);
        for models in [
            &["poll"][..],
            &["epoll", "poll"],
            &["poll", "epoll", "scan"],
        ] {
            assert_eq!(model_table(table, models).len(), 1, "{models:?}");
        }
        assert_eq!(model_table("# kettle\n", &[]).len(), 1);
    }

    #[test]
    fn a_file_without_limits_is_a_breach() {
        assert_eq!(limits("fn main() {}", "").len(), 1);
    }
}
