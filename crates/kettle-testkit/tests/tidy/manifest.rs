//! Checks of `Cargo.toml`: who may depend on whom, and why a dependency is there.

use toml::Table;

use crate::tree::File;

const SECTIONS: [&str; 2] = ["dependencies", "build-dependencies"];

/// A crate → the crates of ours that it may name; ARCHITECTURE.md draws the arrows.
const ARROWS: [(&str, &[&str]); 8] = [
    ("kettle-buf", &[]),
    ("kettle-proto", &["kettle-buf"]),
    ("kettle-io", &["kettle-buf"]),
    ("kettle", &["kettle-buf", "kettle-proto", "kettle-io"]),
    ("kettle-build", &["kettle-buf", "kettle-proto"]),
    ("kettle-file", &["kettle", "kettle-build"]),
    ("kettle-cli", &["kettle", "kettle-build", "kettle-file"]),
    // Test tools: they serve every crate below the command.
    (
        "kettle-testkit",
        &[
            "kettle-buf",
            "kettle-proto",
            "kettle-io",
            "kettle",
            "kettle-build",
        ],
    ),
];

/// Dependencies on a crate that does not lie below. Tests may reach anywhere, so `dev-dependencies`
/// are free.
pub fn arrows(file: &File) -> Vec<String> {
    if !file.path.starts_with("crates/") {
        return Vec::new();
    }
    let manifest: Table = file.text.parse().expect("a manifest that cargo reads");
    let name = manifest["package"]["name"].as_str().expect("a name");
    let Some((_, below)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!("{}: {name} has no place in the house", file.path)];
    };
    let named = dependencies(&manifest).into_iter();
    let ours = named.filter(|to| to == "kettle" || to.starts_with("kettle-"));
    let upward = ours.filter(|to| !below.contains(&to.as_str()));
    let breach = |to| format!("{}: {name} may not depend on {to}", file.path);
    upward.map(breach).collect()
}

/// Foreign dependencies without a comment on their line or the line above.
pub fn reasons(file: &File) -> Vec<String> {
    let mut breaches = Vec::new();
    let (mut inside, mut above, mut open) = (false, false, 0);
    for (index, line) in file.text.lines().enumerate() {
        let (code, comment) = split_comment(line);
        if open == 0 && code.starts_with('[') {
            inside = is_dependencies(code);
        } else if open == 0 && inside && needs_reason(code) && !comment && !above {
            let (path, number) = (&file.path, index + 1);
            breaches.push(format!(
                "{path}:{number}: no reason beside `{}`",
                code.trim()
            ));
        }
        open += depth(code);
        above = comment && code.trim().is_empty();
    }
    breaches
}

/// Names of all dependencies except those of tests, also the ones of a target or under a new name.
fn dependencies(manifest: &Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(|target| target.as_table());
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    let tables = targets.filter_map(|target| target.as_table());
    let sections = tables.chain([manifest]).flat_map(|table| {
        let sections = SECTIONS.iter().filter_map(|section| table.get(*section));
        sections.filter_map(|section| section.as_table())
    });
    let package = |(key, value): (&String, &toml::Value)| match value.get("package") {
        Some(package) => package.as_str().expect("a name").to_string(),
        None => key.clone(),
    };
    sections.flatten().map(package).collect()
}

fn is_dependencies(header: &str) -> bool {
    let name = header.trim().trim_matches(['[', ']']);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.ends_with("dependencies") && name != "workspace.dependencies"
}

/// Our own crates need none: the house gives the reason.
fn needs_reason(code: &str) -> bool {
    let key = code.trim();
    !key.is_empty() && !key.starts_with("kettle") && !key.contains("path = \"../")
}

/// A line without its comment, and whether it has one.
fn split_comment(line: &str) -> (&str, bool) {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return (&line[..at], true),
            _ => {}
        }
    }
    (line, false)
}

/// Brackets that a line opens and leaves open: a list of features may take several lines.
fn depth(code: &str) -> i32 {
    let step = |c| match c {
        '[' | '{' => 1,
        ']' | '}' => -1,
        _ => 0,
    };
    code.chars().map(step).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> File {
        File {
            path: "crates/sample/Cargo.toml".to_string(),
            text: text.to_string(),
        }
    }

    fn breaches_of_arrows(name: &str, rest: &str) -> usize {
        let text = format!("[package]\nname = \"{name}\"\n{rest}");
        arrows(&manifest(&text)).len()
    }

    #[test]
    fn an_arrow_up_is_a_breach() {
        let up = "[dependencies]\nkettle-io.workspace = true\nbytes = \"1\"\n";
        assert_eq!(breaches_of_arrows("kettle-proto", up), 1);
        assert_eq!(breaches_of_arrows("kettle-buf", up), 1);
        assert_eq!(breaches_of_arrows("kettle", up), 0);
    }

    #[test]
    fn an_arrow_up_does_not_hide() {
        let target = "[target.'cfg(unix)'.dependencies]\nkettle = \"1\"\n";
        let renamed = "[dependencies]\nio = { package = \"kettle-io\", version = \"1\" }\n";
        let build = "[build-dependencies]\nkettle = \"1\"\n";
        let own_table = "[dependencies.kettle]\nversion = \"1\"\n";
        for text in [target, renamed, build, own_table] {
            assert_eq!(breaches_of_arrows("kettle-proto", text), 1, "{text}");
        }
    }

    #[test]
    fn tests_may_reach_up() {
        let text = "[dev-dependencies]\nkettle-testkit.workspace = true\n";
        assert_eq!(breaches_of_arrows("kettle-proto", text), 0);
    }

    #[test]
    fn an_unknown_crate_is_a_breach() {
        assert_eq!(breaches_of_arrows("kettle-extra", ""), 1);
    }

    #[test]
    fn a_dependency_without_reason_is_a_breach() {
        let bad = "[dependencies]\nbytes = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n";
        assert_eq!(reasons(&manifest(bad)).len(), 2);
        let hidden = "[dependencies]\nodd = { version = \"1\", features = [\"#\"] }\n";
        assert_eq!(reasons(&manifest(hidden)).len(), 1);
        let own_table = "[target.'cfg(unix)'.dependencies]\nbytes = \"1\"\n";
        assert_eq!(reasons(&manifest(own_table)).len(), 1);
    }

    #[test]
    fn a_reason_stands_beside_or_above() {
        let good = "[dependencies]\nbytes = \"1\" # shared buffers\nkettle-buf = \"1\"\n\
                    # system calls\nrustix = { version = \"1\", features = [\n  \"net\",\n] }\n\
                    [features]\nodd = []\n";
        assert_eq!(reasons(&manifest(good)), [""; 0]);
    }
}
