//! The blocking client of a service, a module inside the client's.

use crate::client::method_name;
use crate::service::{MODULE_ATTRIBUTES, deprecation, docs, full_name, kind, type_path};
use prost_build::{Method, Service};

/// Where the messages are, seen from this module.
const PACKAGE: &str = "super::super";

/// Writes `pub mod blocking`.
pub(crate) fn write(service: &Service) -> String {
    let name = full_name(service);
    let client = format!("{}Client", service.name);
    let client_docs = docs(
        &service.comments,
        &format!("Calls the service `{name}` on the caller's own thread."),
    );
    let methods = service.methods.iter().map(|method| call(&name, method));
    let methods: String = methods.collect();
    format!(
        r#"
    /// The client of the service `{name}` for threads that wait.
    pub mod blocking {{
        {MODULE_ATTRIBUTES}

        {client_docs}
        #[derive(Clone, Debug)]
        pub struct {client}<C = ::kettle::blocking::Channel> {{
            channel: C,
        }}

        impl {client} {{
            /// Connects to a server, such as `kettle://127.0.0.1:50051`.
            ///
            /// # Errors
            /// When the URL is wrong or no connection can be made, and on the thread of a loop.
            pub fn connect(
                url: impl ::core::convert::AsRef<str>,
            ) -> ::core::result::Result<Self, ::kettle::Error> {{
                let channel = ::kettle::blocking::Channel::connect(url.as_ref())?;
                ::core::result::Result::Ok(Self::new(channel))
            }}
        }}

        impl<C: ::core::borrow::Borrow<::kettle::blocking::Channel>> {client}<C> {{
            /// A client that calls over this channel: its own, or one that it borrows.
            pub fn new(channel: C) -> Self {{
                Self {{ channel }}
            }}

            {methods}
        }}
    }}
"#
    )
}

fn call(service: &str, method: &Method) -> String {
    let path = format!("/{service}/{}", method.proto_name);
    let docs = docs(&method.comments, &format!("Calls `{path}`."));
    let deprecation = deprecation(method);
    let name = method_name(method);
    let input = type_path(&method.input_type, &method.input_proto_type, PACKAGE);
    let output = type_path(&method.output_type, &method.output_proto_type, PACKAGE);
    let kind = kind(method);
    if method.client_streaming {
        return String::new();
    }
    let reply = match method.server_streaming {
        false => output,
        true => format!("::kettle::blocking::Streaming<'_, {output}>"),
    };
    format!(
        r#"
            {docs}
            {deprecation}
            pub fn {name}(
                &self,
                request: impl ::kettle::IntoRequest<{input}>,
            ) -> ::core::result::Result<::kettle::Response<{reply}>, ::kettle::Status> {{
                let request: ::kettle::Request<{input}> = request.into_request();
                let channel = ::core::borrow::Borrow::<::kettle::blocking::Channel>::borrow(&self.channel);
                channel.{kind}("{path}", request)
            }}
"#
    )
}
