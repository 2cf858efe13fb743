//! Settings of a server from its environment: the I/O model, the number of loops, how files are sent, the
//! address.
//!
//! Whoever runs a program chooses them so without changing it; `kettle lab --server` does. All other
//! settings are the program's own, in `server.rs`.

use super::{LOOPS_MAX, ServerBuilder, listen_address};
use crate::{FileStrategy, Model};
use std::ffi::OsString;

const MODEL: &str = "KETTLE_MODEL";
const LOOPS: &str = "KETTLE_LOOPS";
const FILE_STRATEGY: &str = "KETTLE_FILE_STRATEGY";
pub(super) const LISTEN: &str = "KETTLE_LISTEN";

/// What the environment said.
#[derive(Clone, Debug, Default)]
pub(super) struct Env {
    /// Where to listen, in place of the address in the program.
    pub(super) listen: Option<String>,
    /// Why the first value that could not be read could not.
    pub(super) wrong: Option<String>,
    /// The variables whose values were taken.
    taken: Vec<&'static str>,
}

impl ServerBuilder {
    /// Takes these variables from the environment where they are set; what is not set leaves the
    /// builder as it is.
    ///
    /// | variable | value | in place of |
    /// |---|---|---|
    /// | `KETTLE_MODEL` | a name of [`Model::name`], such as `epoll` | [`ServerBuilder::model`] |
    /// | `KETTLE_LOOPS` | 1 to 1,024; 1 for `blocking` and `threads` | [`ServerBuilder::loops`] |
    /// | `KETTLE_FILE_STRATEGY` | a name of [`FileStrategy::name`], such as `splice` | [`ServerBuilder::file_strategy`] |
    /// | `KETTLE_LISTEN` | `ADDRESS:PORT`, `NAME:PORT` or `unix:///PATH` | the address given to [`ServerBuilder::serve`] and its kin |
    ///
    /// A setting that is made after this call goes before the environment, except for the address.
    /// [`ServerBuilder::driver`] goes before `KETTLE_MODEL`. A value that cannot be read, also an
    /// empty one, is an error that names its variable when the server starts
    /// ([`Error::is_config`](crate::Error::is_config)).
    pub fn from_env(self) -> Self {
        self.with_env(|name| std::env::var_os(name))
    }

    fn with_env(mut self, value_of: impl Fn(&str) -> Option<OsString>) -> Self {
        for (name, take) in VARIABLES {
            let Some(value) = value_of(name) else {
                continue;
            };
            // A character that is lost here belongs to no model, number or address.
            let value = value.to_string_lossy();
            match take(&mut self, &value) {
                Ok(()) => self.env.taken.push(name),
                Err(reason) => {
                    self.env
                        .wrong
                        .get_or_insert_with(|| format!("{name}={value}: {reason}"));
                }
            }
        }
        self
    }
}

impl Env {
    /// For the end of a text about settings that do not fit together: where they may come from.
    pub(super) fn origin(&self) -> String {
        match self.taken.is_empty() {
            true => String::new(),
            false => format!(" (the environment sets {})", self.taken.join(", ")),
        }
    }
}

/// Puts a value into a builder, or says why it is none.
type Take = fn(&mut ServerBuilder, &str) -> Result<(), String>;

const VARIABLES: [(&str, Take); 4] = [
    (MODEL, take_model),
    (LOOPS, take_loops),
    (FILE_STRATEGY, take_file_strategy),
    (LISTEN, take_listen),
];

fn take_model(builder: &mut ServerBuilder, name: &str) -> Result<(), String> {
    builder.model = name
        .parse::<Model>()
        .map_err(|unknown| unknown.to_string())?;
    Ok(())
}

fn take_loops(builder: &mut ServerBuilder, number: &str) -> Result<(), String> {
    let loops = number.parse().ok();
    builder.loops = loops
        .filter(|loops| (1..=LOOPS_MAX).contains(loops))
        .ok_or_else(|| format!("it is not a number of loops, 1 to {LOOPS_MAX}"))?;
    Ok(())
}

fn take_file_strategy(builder: &mut ServerBuilder, name: &str) -> Result<(), String> {
    builder.driver.file_strategy = name
        .parse::<FileStrategy>()
        .map_err(|unknown| unknown.to_string())?;
    Ok(())
}

/// Looked up when the server starts.
fn take_listen(builder: &mut ServerBuilder, address: &str) -> Result<(), String> {
    if address.starts_with("unix:") {
        listen_address::unix(address)?;
        builder.env.listen = Some(address.to_owned());
        return Ok(());
    }
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !has_port {
        return Err(
            "it is neither ADDRESS:PORT, such as 127.0.0.1:50051, nor unix:///PATH".to_owned(),
        );
    }
    builder.env.listen = Some(address.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Server};
    use std::os::unix::ffi::OsStringExt;

    fn with(variables: &[(&str, &str)]) -> ServerBuilder {
        Server::builder().loops(3).with_env(|name| {
            let found = variables.iter().find(|(have, _)| *have == name);
            found.map(|(_, value)| value.into())
        })
    }

    /// Why a server with these does not start. None would listen here: the address is nobody's.
    fn refused(variables: &[(&str, &str)]) -> Error {
        with(variables).spawn("127.0.0.1:0").map(drop).unwrap_err()
    }

    #[test]
    fn what_is_set_is_taken() {
        let builder = with(&[
            (MODEL, "poll"),
            (LOOPS, "2"),
            (FILE_STRATEGY, "mmap"),
            (LISTEN, "127.0.0.2:0"),
        ]);
        assert_eq!((builder.model, builder.loops), (Model::Poll, 2));
        assert_eq!(builder.driver.file_strategy, FileStrategy::Mmap);
        let server = builder.spawn("127.0.0.1:0").unwrap();
        assert_eq!(server.local_addr().ip().to_string(), "127.0.0.2");
    }

    #[test]
    fn what_is_not_set_stays() {
        let builder = with(&[]).model(Model::Scan);
        assert_eq!((builder.model, builder.loops), (Model::Scan, 3));
        let server = builder.spawn("127.0.0.1:0").unwrap();
        assert_eq!(server.local_addr().ip().to_string(), "127.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let loops = "not a number of loops, 1 to 1024";
        let listen = "neither ADDRESS:PORT, such as 127.0.0.1:50051, nor unix:///PATH";
        for (name, value, reason) in [
            (MODEL, "nio", "it is one of blocking, threads"),
            (MODEL, "", "it is one of blocking, threads"),
            (LOOPS, "0", loops),
            (LOOPS, "1025", loops),
            (LOOPS, "two", loops),
            (FILE_STRATEGY, "tee", "it is one of splice, sendfile"),
            (LISTEN, "", listen),
            (LISTEN, "127.0.0.1", listen),
            (LISTEN, "127.0.0.1:65536", listen),
            (LISTEN, ":50051", listen),
            (LISTEN, "unix://x.sock", "begins with /"),
        ] {
            let error = refused(&[(name, value)]);
            let text = error.to_string();
            assert!(error.is_config(), "{text}");
            assert!(text.starts_with(&format!("{name}={value}: ")), "{text}");
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn the_first_wrong_value_is_told() {
        let text = refused(&[(LISTEN, "x"), (MODEL, "nio")]).to_string();
        assert!(text.starts_with("KETTLE_MODEL=nio: "), "{text}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let builder = Server::builder()
            .with_env(|name| (name == MODEL).then(|| OsString::from_vec(b"ep\xffoll".to_vec())));
        let wrong = builder.env.wrong.unwrap();
        assert!(wrong.starts_with("KETTLE_MODEL=ep\u{fffd}oll: "), "{wrong}");
    }

    #[test]
    fn an_address_that_nobody_has_is_named() {
        let error = refused(&[(LISTEN, "a b:1")]);
        assert!(error.is_config(), "{error}");
        assert_eq!(error.to_string(), "cannot look up KETTLE_LISTEN=a b:1");
    }

    #[test]
    fn settings_that_do_not_fit_together_say_where_they_come_from() {
        let text = refused(&[(MODEL, "threads")]).to_string();
        assert_eq!(
            text,
            "model threads has no event loops: loops must be 1 (the environment sets KETTLE_MODEL)"
        );
    }
}
