//! Logs on stderr, when somebody asks for them.

use crate::failure::Failure;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Starts logging as RUST_LOG says, else as often as `-v` was given: info, debug, trace. Without
/// either nothing is set up, and a log statement costs one comparison.
pub fn init(verbose: u8) -> Result<(), Failure> {
    start(targets(rust_log().as_deref(), verbose)?);
    Ok(())
}

/// The same; without either the warnings of this target are logged.
pub fn init_with_warnings(verbose: u8, target: &str) -> Result<(), Failure> {
    let warnings = || Targets::new().with_target(target, LevelFilter::WARN);
    let targets = targets(rust_log().as_deref(), verbose)?;
    start(Some(targets.unwrap_or_else(warnings)));
    Ok(())
}

fn rust_log() -> Option<String> {
    std::env::var("RUST_LOG").ok()
}

fn start(targets: Option<Targets>) {
    let Some(targets) = targets else { return };
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_filter(targets);
    tracing_subscriber::registry().with(layer).init();
}

fn targets(rust_log: Option<&str>, verbose: u8) -> Result<Option<Targets>, Failure> {
    match (rust_log, verbose) {
        (Some(text), _) if !text.is_empty() => {
            let targets = text.parse();
            targets
                .map(Some)
                .map_err(|error| Failure::because(format!("RUST_LOG={text}"), &error))
        }
        (_, 0) => Ok(None),
        (_, 1) => Ok(Some(Targets::new().with_default(LevelFilter::INFO))),
        (_, 2) => Ok(Some(Targets::new().with_default(LevelFilter::DEBUG))),
        _ => Ok(Some(Targets::new().with_default(LevelFilter::TRACE))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_logged_unless_asked_for() {
        assert!(targets(None, 0).unwrap().is_none());
        assert!(targets(Some(""), 0).unwrap().is_none());
    }

    #[test]
    fn the_environment_goes_before_the_argument() {
        let level =
            |rust_log, verbose| targets(rust_log, verbose).unwrap().unwrap().default_level();
        assert_eq!(level(None, 1), Some(LevelFilter::INFO));
        assert_eq!(level(None, 9), Some(LevelFilter::TRACE));
        assert_eq!(level(Some("warn"), 2), Some(LevelFilter::WARN));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let failure = targets(Some("kettle=loud"), 0).unwrap_err();
        assert!(
            failure.to_string().contains("RUST_LOG=kettle=loud"),
            "{failure}"
        );
    }
}
