//! The server's module of a service.

use crate::service::{
    Generator, MODULE_ATTRIBUTES, deprecation, docs, full_name, kind, module_name, type_path,
};
use prost_build::{Method, Service};

/// Writes `pub mod SERVICE_server`. All paths are absolute, so that no name in a .proto shadows them.
pub(crate) fn write(service: &Service, generator: &Generator, code: &mut String) {
    let module = module_name(service, "server");
    let name = full_name(service);
    code.push_str(&format!(
        r#"
/// The server's side of the service `{name}`.
pub mod {module} {{
    {MODULE_ATTRIBUTES}

    /// The full name of the service.
    pub const SERVICE_NAME: &str = "{name}";
"#
    ));
    write_trait(service, &name, generator, code);
    write_server(service, code);
    write_service_impl(service, code);
    code.push_str("}\n");
}

fn write_trait(service: &Service, full_name: &str, generator: &Generator, code: &mut String) {
    let name = &service.name;
    let docs = docs(&service.comments, &format!("The service `{full_name}`."));
    let methods: String = service
        .methods
        .iter()
        .map(|method| trait_method(full_name, method, generator))
        .collect();
    code.push_str(&format!(
        r#"
    {docs}
    ///
    /// Implement it with `async fn`s, and host it with [`{name}Server`].
    pub trait {name}: ::core::marker::Send + ::core::marker::Sync + 'static {{
        {methods}
    }}
"#
    ));
}

fn trait_method(service: &str, method: &Method, generator: &Generator) -> String {
    let docs = docs(
        &method.comments,
        &format!("Answers `/{service}/{}`.", method.proto_name),
    );
    let deprecation = deprecation(method);
    let name = &method.name;
    let input = type_path(&method.input_type, &method.input_proto_type, "super");
    let output = type_path(&method.output_type, &method.output_proto_type, "super");
    let output = match generator.composed.has(service, method) {
        false => output,
        true => format!("::kettle::Composed<{output}>"),
    };
    let input = match generator.undecoded.has(service, method) {
        false => input,
        true => "::kettle::Inbound".to_owned(),
    };
    let input = match method.client_streaming {
        false => input,
        true => format!("::kettle::Streaming<{input}>"),
    };
    let (stream, output) = match method.server_streaming {
        false => (String::new(), output),
        true => {
            let stream = stream_type(method);
            let declaration = format!(
                r#"
        /// The replies of [`Self::{name}`].
        type {stream}: ::kettle::codegen::Stream<
                Item = ::core::result::Result<{output}, ::kettle::Status>,
            > + ::core::marker::Send
            + 'static;
"#
            );
            (declaration, format!("Self::{stream}"))
        }
    };
    format!(
        r#"
        {stream}
        {docs}
        {deprecation}
        fn {name}(
            &self,
            request: ::kettle::Request<{input}>,
        ) -> impl ::core::future::Future<
            Output = ::core::result::Result<::kettle::Response<{output}>, ::kettle::Status>,
        > + ::core::marker::Send;
"#
    )
}

/// The name of the type of a method's replies, as tonic forms it.
fn stream_type(method: &Method) -> String {
    format!("{}Stream", method.proto_name)
}

fn write_server(service: &Service, code: &mut String) {
    let name = &service.name;
    code.push_str(&format!(
        r#"
    /// Hosts an implementation of [`{name}`]. Clones share it.
    #[derive(Debug)]
    pub struct {name}Server<T> {{
        inner: ::std::sync::Arc<T>,
    }}

    impl<T> {name}Server<T> {{
        /// The full name of the service.
        pub const NAME: &'static str = SERVICE_NAME;

        /// Hosts this implementation.
        pub fn new(inner: T) -> Self {{
            Self::from_arc(::std::sync::Arc::new(inner))
        }}

        /// Hosts an implementation that is shared with others.
        pub fn from_arc(inner: ::std::sync::Arc<T>) -> Self {{
            Self {{ inner }}
        }}
    }}

    impl<T> ::core::clone::Clone for {name}Server<T> {{
        fn clone(&self) -> Self {{
            Self::from_arc(::std::sync::Arc::clone(&self.inner))
        }}
    }}
"#
    ));
}

fn write_service_impl(service: &Service, code: &mut String) {
    let name = &service.name;
    let methods = service.methods.iter().map(method_info).collect::<String>();
    let arms = service.methods.iter().enumerate();
    let arms = arms
        .map(|(index, method)| call_arm(name, index, method))
        .collect::<String>();
    code.push_str(&format!(
        r#"
    impl<T: {name}> ::kettle::codegen::Service for {name}Server<T> {{
        fn name(&self) -> &'static str {{
            SERVICE_NAME
        }}

        fn methods(&self) -> &'static [::kettle::codegen::MethodInfo] {{
            const {{ &[{methods}] }}
        }}

        fn call(
            &self,
            method: usize,
            request: ::kettle::Request<::kettle::codegen::Inbound>,
        ) -> ::kettle::codegen::BoxAnswer {{
            match method {{
                {arms}
                _ => ::kettle::codegen::unimplemented(SERVICE_NAME),
            }}
        }}
    }}
"#
    ));
}

fn method_info(method: &Method) -> String {
    format!(
        "::kettle::codegen::MethodInfo::new({:?}, {}, {}),",
        method.proto_name, method.client_streaming, method.server_streaming
    )
}

fn call_arm(service: &str, index: usize, method: &Method) -> String {
    let name = &method.name;
    let kind = kind(method);
    format!(
        r#"
                {index} => ::kettle::codegen::{kind}(&self.inner, request, |inner, request| async move {{
                    let reply = <T as {service}>::{name}(&inner, request).await;
                    (inner, reply)
                }}),
"#
    )
}
