//! Help, wrong arguments, and output that nobody reads.

use crate::process::{kettle, run};

const COMMANDS: [&str; 6] = ["serve", "call", "bench", "lab", "models", "completions"];

#[test]
fn without_arguments_it_shows_help() {
    let run = run("");
    for command in COMMANDS.into_iter().chain(["Examples:"]) {
        assert!(run.stderr.contains(command), "{run:?}");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        let run = run(&format!("{command} --help"));
        assert_eq!(run.code, Some(0));
        assert!(run.stdout.contains("Examples:\n  kettle "), "{run:?}");
        assert!(!run.stdout.contains("--stats"), "{run:?}");
        assert!(
            run.stdout.lines().all(|line| line.chars().count() <= 100),
            "{run:?}"
        );
    }
}

#[test]
fn help_says_how_it_ends_and_how_durations_are_written() {
    for command in ["bench", "lab"] {
        assert!(
            run(&format!("{command} --help"))
                .stdout
                .contains("Exit codes: 0 fine")
        );
    }
    for command in ["bench", "serve", "lab", "call"] {
        let run = run(&format!("{command} --help"));
        assert!(run.stdout.contains("Durations are numbers"), "{run:?}");
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    for arguments in [
        "bench",
        "bench kettle://h:1 -c 0",
        "serve --model urging",
        "lab --rounds x",
        "lab --server x",
        "lab --call x",
        "lab --data {}",
        "lab --server x --call y --payload 5",
        "call kettle://h:1",
        "call kettle://h:1 a/b --deadline 0",
        "call kettle://h:1 a/b -I x",
        "completions nush",
    ] {
        let run = run(arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(2), ""),
            "{arguments}: {run:?}"
        );
    }
}

#[test]
fn an_unknown_model_is_answered_with_the_names() {
    let run = run("serve --model nio");
    assert!(
        run.stderr.contains("'nio'") && run.stderr.contains("blocking, threads"),
        "{run:?}"
    );
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    for arguments in [
        "models",
        "models --json",
        "models -v",
        "completions zsh",
        "--help",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = kettle(arguments).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), stderr.as_ref()),
            (Some(0), ""),
            "{arguments}"
        );
    }
}
