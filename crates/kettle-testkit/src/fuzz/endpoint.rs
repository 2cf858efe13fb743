//! URLs of servers, as users write them.

use kettle::Endpoint;
use std::net::Ipv6Addr;

/// A URL is refused with a reason, or means a host and a port that, written out, mean the same.
pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let endpoint: Endpoint = match text.parse() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let shown = format!("{error}");
            assert!(shown.contains("is not a server's URL: "), "{shown}");
            return;
        }
    };
    let shown = endpoint.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&endpoint), "{shown}");
    let host = endpoint.host();
    let is_address = host.parse::<Ipv6Addr>().is_ok();
    assert!(!host.is_empty(), "{text:?} has a host");
    assert!(is_address || !host.contains(':'), "{host:?}");
    assert!(
        text.starts_with("kettle://") && text.contains(host),
        "{text:?}: {host:?}"
    );
    assert!(shown.ends_with(&format!(":{}", endpoint.port())), "{shown}");
}
