//! The rules of the house that no lint checks, held against the files of the repository.
//!
//! A check takes text and returns its breaches, a line each; its unit tests show it bad samples.
//! The tests of this file run the checks over the whole tree. An exception stands in a list beside
//! its check, with its reason, and fails when nothing needs it any more.

mod documents;
mod manifest;
mod source;
mod tree;

use kettle_io::Model;
use tree::Tree;

#[test]
fn arrows_between_crates_point_down() {
    check(|tree| tree.each("Cargo.toml", manifest::arrows));
}

#[test]
fn siblings_do_not_name_each_other() {
    check(|tree| tree.each(".rs", source::siblings));
}

#[test]
fn dependencies_have_reasons() {
    check(|tree| tree.each("Cargo.toml", manifest::reasons));
}

#[test]
fn crates_forbid_unsafe_code() {
    check(|tree| tree.each(".rs", source::forbids_unsafe));
}

#[test]
fn unsafe_stays_in_its_crate() {
    check(|tree| tree.each(".rs", source::unsafe_code));
}

#[test]
fn functions_are_short() {
    check(|tree| {
        let mut breaches = tree.each(".rs", source::long_functions);
        breaches.extend(source::stale_exceptions(&tree.files));
        breaches
    });
}

#[test]
fn files_are_short() {
    check(|tree| tree.each(".rs", source::long_file));
}

#[test]
fn files_are_named_by_nouns() {
    check(|tree| tree.each("", tree::vague_name));
}

#[test]
fn words_left_for_later_are_absent() {
    check(|tree| tree.each("", documents::banned_words));
}

#[test]
fn limits_are_documented() {
    check(|tree| documents::limits(tree.text("crates/kettle-proto/src/limits.rs"), &tree.docs()));
}

#[test]
fn readme_lists_the_models() {
    let models = Model::ALL.map(Model::name);
    check(|tree| documents::model_table(tree.text("README.md"), &models));
}

/// Runs a check over the repository, and shows all its breaches at once.
fn check(breaches_of: impl Fn(&Tree) -> Vec<String>) {
    let tree = Tree::read();
    assert!(!tree.files.is_empty(), "no file found: nothing was checked");
    let breaches = breaches_of(&tree);
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}
