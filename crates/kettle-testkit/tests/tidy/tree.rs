//! The files of the repository.

use std::fs;
use std::path::{Component, Path};

const SKIPPED_DIRS: [&str; 4] = [".git", "target", "results", "__pycache__"];
const TEXT_SUFFIXES: [&str; 11] = [
    ".rs", ".toml", ".md", ".py", ".sh", ".proto", ".thrift", ".cc", ".java", ".yml", "Makefile",
];
const VAGUE_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// One text file: `path` is relative to the root, with `/` between its parts.
pub struct File {
    pub path: String,
    pub text: String,
}

/// Every text file that the project keeps.
pub struct Tree {
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the repository that this crate lies in.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = Vec::new();
        collect(&root, &root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// The breaches of a check in every file whose path ends so.
    pub fn each(&self, suffix: &str, check: impl Fn(&File) -> Vec<String>) -> Vec<String> {
        let files = self.files.iter();
        let wanted = files.filter(|file| file.path.ends_with(suffix));
        wanted.flat_map(check).collect()
    }

    /// The text of one file; panics when the project does not have it.
    pub fn text(&self, path: &str) -> &str {
        let file = self.files.iter().find(|file| file.path == path);
        &file.unwrap_or_else(|| panic!("{path} is missing")).text
    }

    /// The texts under `docs`, joined.
    pub fn docs(&self) -> String {
        let files = self.files.iter();
        let docs = files.filter(|file| file.path.starts_with("docs/"));
        docs.map(|file| file.text.as_str()).collect()
    }
}

/// A name that says nothing about what a file holds.
pub fn vague_name(file: &File) -> Vec<String> {
    let parts = file.path.split('/').map(|part| part.split('.').next());
    let vague = parts.flatten().find(|part| VAGUE_NAMES.contains(part));
    let breach = |name| format!("{}: `{name}` names no noun", file.path);
    vague.map(breach).into_iter().collect()
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type().expect("the type of an entry");
        if kind.is_dir() && !SKIPPED_DIRS.contains(&name.as_ref()) {
            collect(root, &path, files);
        } else if kind.is_file() && is_text(root, &path, &name) {
            // Another process may be saving the file under a temporary name.
            if let Ok(text) = fs::read_to_string(&path) {
                let path = relative(root, &path);
                files.push(File { path, text });
            }
        }
    }
}

fn is_text(root: &Path, path: &Path, name: &str) -> bool {
    let suffix = TEXT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    suffix || path.starts_with(root.join(".ci"))
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).expect("a path under the root");
    let parts = path.components().map(|part| match part {
        Component::Normal(name) => name.to_string_lossy(),
        other => panic!("{other:?} in {}", path.display()),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_holds_manifests_sources_and_documents() {
        let tree = Tree::read();
        for path in [
            "Cargo.toml",
            "crates/kettle-buf/src/chain.rs",
            "docs/benchmarking.md",
        ] {
            assert!(!tree.text(path).is_empty(), "{path}");
        }
        assert!(tree.files.iter().all(|file| !file.path.contains("target/")));
    }

    #[test]
    fn a_vague_name_is_a_breach_as_file_and_as_folder() {
        let file = |path: &str| File {
            path: path.to_string(),
            text: String::new(),
        };
        for path in ["src/utils.rs", "src/common/mod.rs", "src/helpers.rs"] {
            assert_eq!(vague_name(&file(path)).len(), 1, "{path}");
        }
        assert_eq!(vague_name(&file("src/commonplace.rs")), [""; 0]);
    }
}
