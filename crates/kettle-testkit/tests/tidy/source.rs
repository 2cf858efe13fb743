//! Checks of Rust sources, on their tokens: comments and strings cannot mislead them, and code
//! inside macros is seen too.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::tree::File;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// The crate that may hold `unsafe`.
const UNSAFE_CRATE: &str = "crates/kettle-io/";

/// (file, function, reason): functions that may be longer, as a flat `match` of a decoder.
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];

/// Crate → a crate that it never names, not even in tests.
const SIBLINGS: [(&str, &str); 2] = [
    ("crates/kettle-proto/", "kettle_io"),
    ("crates/kettle-io/", "kettle_proto"),
];

/// Crate roots outside the unsafe crate that do not begin with `#![forbid(unsafe_code)]`.
pub fn forbids_unsafe(file: &File) -> Vec<String> {
    let Some(("crates", rest)) = file.path.split_once('/') else {
        return Vec::new();
    };
    let in_crate = rest.split_once('/').map_or("", |(_, path)| path);
    let is_root = ["src/lib.rs", "src/main.rs"].contains(&in_crate)
        || (in_crate.starts_with("src/bin/") && in_crate.ends_with(".rs"));
    if !is_root || file.path.starts_with(UNSAFE_CRATE) || head_forbids_unsafe(tokens(file)) {
        return Vec::new();
    }
    vec![format!(
        "{}: no `#![forbid(unsafe_code)]` at its head",
        file.path
    )]
}

/// `unsafe` outside its crate, in tests and macros too.
pub fn unsafe_code(file: &File) -> Vec<String> {
    if !file.path.starts_with("crates/") || file.path.starts_with(UNSAFE_CRATE) {
        return Vec::new();
    }
    let lines = lines_of(tokens(file), "unsafe");
    let breach = |line| format!("{}:{line}: `unsafe` outside {UNSAFE_CRATE}", file.path);
    lines.into_iter().map(breach).collect()
}

/// The name of a crate that this one may not know.
pub fn siblings(file: &File) -> Vec<String> {
    let mut breaches = Vec::new();
    for (_, name) in SIBLINGS
        .iter()
        .filter(|(dir, _)| file.path.starts_with(dir))
    {
        for line in lines_of(tokens(file), name) {
            breaches.push(format!("{}:{line}: names its sibling `{name}`", file.path));
        }
    }
    breaches
}

/// Functions over the limit, from `fn` to the closing brace, that are no exception.
pub fn long_functions(file: &File) -> Vec<String> {
    let functions = functions(tokens(file)).into_iter();
    let long = functions.filter(|function| is_long(function) && !is_exception(file, function));
    let breach = |function: Function| {
        let (name, line) = (&function.name, function.lines.start());
        let (path, count) = (&file.path, function.lines.clone().count());
        format!("{path}:{line}: `{name}` has {count} lines, over {FUNCTION_LINES_MAX}")
    };
    long.map(breach).collect()
}

/// Exceptions that nothing needs.
pub fn stale_exceptions(files: &[File]) -> Vec<String> {
    let needed = |path: &str, name: &str| {
        let files = files.iter().filter(|file| file.path == path);
        let mut functions = files.flat_map(|file| functions(tokens(file)));
        functions.any(|function| function.name == name && is_long(&function))
    };
    let exceptions = LONG_FUNCTIONS.iter();
    let stale = exceptions.filter(|(path, name, _)| !needed(path, name));
    stale
        .map(|(path, name, _)| format!("{path}: `{name}` needs no exception"))
        .collect()
}

/// A file over the limit; tests, comments and empty lines do not count.
pub fn long_file(file: &File) -> Vec<String> {
    if file.path.contains("/tests/") || file.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let tests = test_items(tokens(file));
    let is_code = |(number, line): &(usize, &str)| {
        let line = line.trim_start();
        let in_test = tests.iter().any(|lines| lines.contains(number));
        !in_test && !line.is_empty() && !line.starts_with("//")
    };
    let count = (1..).zip(file.text.lines()).filter(is_code).count();
    if count <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![format!(
        "{}: {count} lines of code, over {FILE_LINES_MAX}",
        file.path
    )]
}

struct Function {
    name: String,
    lines: RangeInclusive<usize>,
}

fn is_long(function: &Function) -> bool {
    function.lines.clone().count() > FUNCTION_LINES_MAX
}

fn is_exception(file: &File, function: &Function) -> bool {
    let mut exceptions = LONG_FUNCTIONS.iter();
    exceptions.any(|(path, name, _)| *path == file.path && *name == function.name)
}

fn tokens(file: &File) -> TokenStream {
    let parsed = file.text.parse();
    parsed.unwrap_or_else(|error| panic!("{}: {error}", file.path))
}

/// Every function with a body, nested ones after the one around them.
fn functions(tokens: TokenStream) -> Vec<Function> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Ident(ident) if *ident == "fn" => {
                let name = trees[at + 1..].iter().find_map(ident_of);
                // Without a name it is a type: fn(u8).
                let is_type = matches!(trees.get(at + 1), Some(TokenTree::Group(_)));
                if let (false, Some(name), Some(body)) = (is_type, name, body(&trees[at..])) {
                    let lines = tree.span().start().line..=body.span_close().end().line;
                    found.push(Function { name, lines });
                }
            }
            TokenTree::Group(group) => found.extend(functions(group.stream())),
            _ => {}
        }
    }
    found
}

/// Lines of the items under `#[cfg(test)]`.
fn test_items(tokens: TokenStream) -> Vec<RangeInclusive<usize>> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        let TokenTree::Group(group) = tree else {
            continue;
        };
        if group.delimiter() == Delimiter::Bracket && is_cfg_test(group.stream()) {
            if let Some(body) = body(&trees[at..]) {
                found.push(tree.span().start().line..=body.span_close().end().line);
            }
        } else {
            found.extend(test_items(group.stream()));
        }
    }
    found
}

/// `cfg(test)` or `cfg(all(test, …))`.
fn is_cfg_test(attribute: TokenStream) -> bool {
    let idents = idents(attribute);
    let has = |name| idents.iter().any(|ident| ident == name);
    idents.first().is_some_and(|ident| ident == "cfg") && has("test") && !has("not") && !has("any")
}

/// The first group in braces before the item ends.
fn body(trees: &[TokenTree]) -> Option<&Group> {
    let is_end = |tree: &TokenTree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ';');
    let mut item = trees.iter().take_while(|tree| !is_end(tree));
    item.find_map(|tree| match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    })
}

/// Whether the attributes `#![…]` before the first item forbid unsafe code.
fn head_forbids_unsafe(tokens: TokenStream) -> bool {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut attributes = trees.chunks(3).map_while(|chunk| match chunk {
        [
            TokenTree::Punct(hash),
            TokenTree::Punct(bang),
            TokenTree::Group(group),
        ] => {
            let is_inner = hash.as_char() == '#' && bang.as_char() == '!';
            is_inner.then(|| group.stream())
        }
        _ => None,
    });
    attributes.any(|attribute| idents(attribute) == ["forbid", "unsafe_code"])
}

/// Lines on which an identifier stands.
fn lines_of(tokens: TokenStream, name: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) if ident == name => lines.push(ident.span().start().line),
            TokenTree::Group(group) => lines.extend(lines_of(group.stream(), name)),
            _ => {}
        }
    }
    lines
}

fn idents(tokens: TokenStream) -> Vec<String> {
    let names = tokens.into_iter().flat_map(|tree| match tree {
        TokenTree::Ident(ident) => vec![ident.to_string()],
        TokenTree::Group(group) => idents(group.stream()),
        _ => Vec::new(),
    });
    names.collect()
}

fn ident_of(tree: &TokenTree) -> Option<String> {
    match tree {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_string(),
            text: text.to_string(),
        }
    }

    fn lib(text: &str) -> File {
        file("crates/kettle/src/lib.rs", text)
    }

    #[test]
    fn a_crate_root_without_forbid_is_a_breach() {
        let good = "//! A crate.\n#![no_std]\n#![forbid(unsafe_code)]\nmod a;\n";
        assert_eq!(forbids_unsafe(&lib(good)), [""; 0]);
        let late = "mod a { #![forbid(unsafe_code)] }\n";
        let weaker = "#![deny(unsafe_code)]\n";
        let comment = "// #![forbid(unsafe_code)]\n";
        for text in ["", late, weaker, comment] {
            assert_eq!(forbids_unsafe(&lib(text)).len(), 1, "{text}");
        }
        for path in [
            "crates/kettle-cli/src/main.rs",
            "crates/kettle-cli/src/bin/one.rs",
        ] {
            assert_eq!(forbids_unsafe(&file(path, "")).len(), 1, "{path}");
        }
        for path in ["crates/kettle-io/src/lib.rs", "crates/kettle/src/peer.rs"] {
            assert_eq!(forbids_unsafe(&file(path, "")), [""; 0], "{path}");
        }
    }

    #[test]
    fn unsafe_outside_its_crate_is_a_breach() {
        let text = "fn f() {\n    m! { unsafe { g() } }\n}\n";
        let breaches = unsafe_code(&lib(text));
        assert!(
            breaches[0].starts_with("crates/kettle/src/lib.rs:2:"),
            "{breaches:?}"
        );
        assert_eq!(
            unsafe_code(&file("crates/kettle-io/src/sys.rs", text)),
            [""; 0]
        );
        let innocent = "#![forbid(unsafe_code)]\n// unsafe\nconst S: &str = \"unsafe\";\n";
        assert_eq!(unsafe_code(&lib(innocent)), [""; 0]);
    }

    #[test]
    fn naming_a_sibling_is_a_breach() {
        let text = "use kettle_io::Driver;\n";
        assert_eq!(
            siblings(&file("crates/kettle-proto/tests/it/main.rs", text)).len(),
            1
        );
        assert_eq!(siblings(&lib(text)), [""; 0]);
        let back = "fn f(_: kettle_proto::Event) {}\n";
        assert_eq!(
            siblings(&file("crates/kettle-io/src/ready.rs", back)).len(),
            1
        );
    }

    /// A function of so many lines, with its signature and closing brace.
    fn function(lines: usize) -> String {
        let body = "    step();\n".repeat(lines - 2);
        format!("fn walk(f: fn(u8), a: [u8; 4]) -> u8 {{\n{body}}}\n")
    }

    #[test]
    fn a_long_function_is_a_breach_wherever_it_hides() {
        assert_eq!(long_functions(&lib(&function(70))), [""; 0]);
        let breaches = long_functions(&lib(&function(71)));
        let want = "crates/kettle/src/lib.rs:1: `walk` has 71 lines, over 70";
        assert_eq!(breaches, [want]);
        for around in [
            "impl A",
            "macro_rules! m",
            "#[cfg(test)]\nmod tests",
            "trait T",
        ] {
            let text = format!("{around} {{\nfn short();\n{}}}\n", function(71));
            assert_eq!(long_functions(&lib(&text)).len(), 1, "{around}");
        }
    }

    #[test]
    fn a_long_file_is_a_breach() {
        let line = "const A: u8 = 1;\n";
        assert_eq!(long_file(&lib(&line.repeat(600))), [""; 0]);
        assert_eq!(long_file(&lib(&line.repeat(601))).len(), 1);
        let apart = "/// Doc.\n\n// Comment.\n".repeat(700);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(700));
        assert_eq!(long_file(&lib(&format!("{apart}{tests}{line}"))), [""; 0]);
        let other = format!("#[cfg(not(test))]\nmod real {{\n{}}}\n", line.repeat(700));
        assert_eq!(long_file(&lib(&other)).len(), 1);
    }
}
