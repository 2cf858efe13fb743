//! `kettle completions`.

use crate::process::run;
use std::fs;
use std::io::ErrorKind;
use std::process::Command;

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[test]
fn every_shell_gets_every_command() {
    for shell in SHELLS {
        let run = run(&format!("completions {shell}"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in [
            "serve",
            "call",
            "bench",
            "lab",
            "models",
            "completions",
            "deadline",
            "epoll-edge",
            "uring",
        ] {
            assert!(run.stdout.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn shells_that_are_here_can_read_theirs() {
    let folder = tempfile::tempdir().unwrap();
    for shell in SHELLS {
        let file = folder.path().join(shell);
        fs::write(&file, run(&format!("completions {shell}")).stdout).unwrap();
        let checked = Command::new(shell).arg("-n").arg(&file).output();
        match checked {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("{shell} is not installed: its script was not tried");
            }
            Err(error) => panic!("{shell}: {error}"),
        }
    }
}

/// What bash offers behind this line.
fn offered(line: &str) -> Vec<String> {
    let script = run("completions bash").stdout;
    let words: Vec<_> = line.split(' ').collect();
    let (word, before) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{script}\nCOMP_WORDS=({}{}); COMP_CWORD={}; _kettle kettle '{word}' '{before}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        if word.is_empty() { "''" } else { "" },
        words.len() - 1,
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).output();
    let output = output.expect("bash is needed for this test");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(offered("kettle la"), ["lab"]);
    assert_eq!(offered("kettle call --dead"), ["--deadline"]);
    assert_eq!(offered("kettle completions z"), ["zsh"]);
    let lab = offered("kettle lab --");
    assert!(
        lab.contains(&"--server".to_owned()) && lab.contains(&"--call".to_owned()),
        "{lab:?}"
    );
}
