//! The terminal that results are printed on.

use rustix::termios::tcgetwinsize;
use std::env;
use std::io::{self, IsTerminal};

/// How many columns stdout has, when it is a terminal that shows UTF-8.
pub fn utf8_columns() -> Option<usize> {
    let stdout = io::stdout();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| env::var(name).unwrap_or_default());
    let usable = stdout.is_terminal() && is_utf8(locale);
    let size = usable.then(|| tcgetwinsize(&stdout).ok()).flatten()?;
    Some(size.ws_col.into())
}

/// Whether the first of these that says anything says UTF-8.
///
/// # Source
/// locale(7).
fn is_utf8(variables: [String; 3]) -> bool {
    let locale = variables.into_iter().find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_tells_the_encoding() {
        let check = |variables: [&str; 3], utf8| {
            assert_eq!(is_utf8(variables.map(str::to_owned)), utf8, "{variables:?}");
        };
        check(["", "", ""], false);
        check(["", "", "C.UTF-8"], true);
        check(["", "de_DE.utf8", "C"], true);
        check(["C", "", "en_US.UTF-8"], false);
    }
}
