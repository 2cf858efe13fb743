//! The blocking client of a service, a module inside the client's.

use crate::client::method_name;
use crate::service::{MODULE_ATTRIBUTES, deprecation, docs, full_name, kind, type_path};
use prost_build::{Method, Service};

/// Where the messages are, seen from this module.
const PACKAGE: &str = "super::super";

/// The client's channel, its own or borrowed.
const CHANNEL: &str =
    "::core::borrow::Borrow::<::kettle::blocking::Channel>::borrow(&self.channel)";

/// Writes `pub mod blocking`.
pub(crate) fn write(service: &Service) -> String {
    let name = full_name(service);
    let client = format!("{}Client", service.name);
    let client_docs = docs(
        &service.comments,
        &format!("Calls the service `{name}` on the caller's own thread."),
    );
    let methods = service.methods.iter().map(|method| call(service, method));
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

fn call(service: &Service, method: &Method) -> String {
    let path = format!("/{}/{}", full_name(service), method.proto_name);
    let docs = docs(&method.comments, &format!("Calls `{path}`."));
    let deprecation = deprecation(method);
    let types = [
        type_path(&method.input_type, &method.input_proto_type, PACKAGE),
        type_path(&method.output_type, &method.output_proto_type, PACKAGE),
    ];
    let name = method_name(method);
    let methods = match (method.client_streaming, method.server_streaming) {
        (false, _) => vec![with_one_message(&name, &path, kind(method), &types)],
        (true, false) => vec![
            with_iterator(&name, &path, &types),
            one_by_one(&sender_name(service, &name), &path, "Sender", &types),
        ],
        (true, true) => vec![one_by_one(&name, &path, "Bidi", &types)],
    };
    let documented = |method| format!("{docs}{deprecation}{method}");
    methods.into_iter().map(documented).collect()
}

fn with_one_message(name: &str, path: &str, kind: &str, [input, output]: &[String; 2]) -> String {
    let reply = match kind {
        "unary" => output.clone(),
        _ => format!("::kettle::blocking::Streaming<'_, {output}>"),
    };
    format!(
        r#"
            pub fn {name}(
                &self,
                request: impl ::kettle::IntoRequest<{input}>,
            ) -> ::core::result::Result<::kettle::Response<{reply}>, ::kettle::Status> {{
                let request: ::kettle::Request<{input}> = request.into_request();
                {CHANNEL}.{kind}("{path}", request)
            }}
"#
    )
}

fn with_iterator(name: &str, path: &str, [input, output]: &[String; 2]) -> String {
    format!(
        r#"
            pub fn {name}(
                &self,
                request: impl ::kettle::blocking::IntoStreamingRequest<Message = {input}>,
            ) -> ::core::result::Result<::kettle::Response<{output}>, ::kettle::Status> {{
                let request = request.into_streaming_request();
                {CHANNEL}.client_streaming("{path}", request)
            }}
"#
    )
}

/// A method that gives a handle, through which messages are sent.
fn one_by_one(name: &str, path: &str, handle: &str, [input, output]: &[String; 2]) -> String {
    let kind = handle.to_lowercase();
    format!(
        r#"
            ///
            /// Messages are sent through what this gives. `request` has no message, but metadata and time-out.
            pub fn {name}(
                &self,
                request: impl ::kettle::IntoRequest<()>,
            ) -> ::core::result::Result<::kettle::blocking::{handle}<'_, {input}, {output}>, ::kettle::Status> {{
                let request: ::kettle::Request<()> = request.into_request();
                {CHANNEL}.{kind}("{path}", request)
            }}
"#
    )
}

/// The name of the method that gives a handle beside one that takes an iterator. No other may have it.
fn sender_name(service: &Service, method: &str) -> String {
    let mut name = format!("{}_sender", method.trim_start_matches("r#"));
    while service
        .methods
        .iter()
        .any(|other| method_name(other) == name)
    {
        name.push('_');
    }
    name
}
