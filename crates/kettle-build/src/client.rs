//! The client's module of a service.

use crate::blocking;
use crate::service::{
    MODULE_ATTRIBUTES, deprecation, docs, full_name, kind, module_name, type_path,
};
use prost_build::{Method, Service};

/// Writes `pub mod SERVICE_client`. All paths are absolute, so that no name in a .proto shadows them.
pub(crate) fn write(service: &Service, blocking: bool, code: &mut String) {
    let name = full_name(service);
    let module = module_name(service, "client");
    let client = format!("{}Client", service.name);
    let client_docs = docs(&service.comments, &format!("Calls the service `{name}`."));
    let methods: String = service
        .methods
        .iter()
        .map(|method| call(&name, method))
        .collect();
    let blocking = match blocking {
        true => blocking::write(service),
        false => String::new(),
    };
    code.push_str(&format!(
        r#"
/// The client of the service `{name}`.
pub mod {module} {{
    {MODULE_ATTRIBUTES}

    {client_docs}
    #[derive(Clone, Debug)]
    pub struct {client} {{
        channel: ::kettle::Channel,
    }}

    impl {client} {{
        /// Connects to a server, such as `kettle://127.0.0.1:50051`.
        ///
        /// # Errors
        /// When the URL is wrong or no connection can be made.
        pub async fn connect(
            url: impl ::core::convert::AsRef<str>,
        ) -> ::core::result::Result<Self, ::kettle::Error> {{
            let channel = ::kettle::Channel::connect(url.as_ref()).await?;
            ::core::result::Result::Ok(Self::new(channel))
        }}

        /// A client that calls over this channel. Clones share it.
        pub fn new(channel: ::kettle::Channel) -> Self {{
            Self {{ channel }}
        }}

        {methods}
    }}

    {blocking}
}}
"#
    ));
}

fn call(service: &str, method: &Method) -> String {
    let path = format!("/{service}/{}", method.proto_name);
    let docs = docs(&method.comments, &format!("Calls `{path}`."));
    let deprecation = deprecation(method);
    let name = method_name(method);
    let input = type_path(&method.input_type, &method.input_proto_type, "super");
    let output = type_path(&method.output_type, &method.output_proto_type, "super");
    let kind = kind(method);
    let (argument, conversion) = match method.client_streaming {
        false => (
            format!("::kettle::IntoRequest<{input}>"),
            format!("let request: ::kettle::Request<{input}> = request.into_request();"),
        ),
        true => (
            format!("::kettle::IntoStreamingRequest<Message = {input}>"),
            "let request = request.into_streaming_request();".to_owned(),
        ),
    };
    let reply = match method.server_streaming {
        false => output,
        true => format!("::kettle::Streaming<{output}>"),
    };
    format!(
        r#"
        {docs}
        {deprecation}
        pub async fn {name}(
            &self,
            request: impl {argument},
        ) -> ::core::result::Result<::kettle::Response<{reply}>, ::kettle::Status> {{
            {conversion}
            self.channel.{kind}("{path}", request).await
        }}
"#
    )
}

/// The method's name, with an underscore where it would be one of the client's own.
pub(crate) fn method_name(method: &Method) -> String {
    match method.name.as_str() {
        name @ ("new" | "connect") => format!("{name}_"),
        name => name.to_owned(),
    }
}
