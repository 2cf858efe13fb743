//! `kettle call`: makes one call.

use crate::args::CallArgs;
use crate::call::{self, Call};
use crate::failure::Failure;
use crate::log;
use crate::schema::Schema;
use kettle::{Endpoint, InvalidEndpoint};
use std::io::Write;
use std::process::ExitCode;

/// Makes the call and prints the replies.
pub fn run(args: &CallArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    log::init(0)?;
    let parsed = args.url.parse();
    let endpoint: Endpoint =
        parsed.map_err(|invalid: InvalidEndpoint| Failure::Text(invalid.to_string()))?;
    let method = Schema::load(&args.protos)?.method(&args.method)?;
    let messages = call::messages(args.data.as_ref(), &method)?;
    Call::new(args, endpoint, method)?.make(messages, out)?;
    Ok(ExitCode::SUCCESS)
}
