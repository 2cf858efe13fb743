//! Services, methods and messages of `.proto` files, which are compiled when the command runs.
//!
//! `json.rs` makes messages of JSON and JSON of messages.

mod json;

pub use json::{Messages, to_json};

use crate::args::ProtoArgs;
use crate::failure::Failure;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor, ServiceDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The service that is known without any file.
const ECHO_FILE: &str = "echo/v1/echo.proto";
const ECHO_SOURCE: &str = include_str!("../proto/echo/v1/echo.proto");

/// How a method is written.
const EXAMPLE: &str = "echo.v1.Echo/Unary";

/// What there is to call.
#[derive(Debug)]
pub struct Schema {
    pool: DescriptorPool,
    /// Whether it comes from files that somebody named.
    given: bool,
}

/// A method.
#[derive(Clone, Debug)]
pub struct Method {
    descriptor: MethodDescriptor,
}

/// How many messages go each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// One there, one back.
    Unary,
    /// Many there, one back.
    ClientStream,
    /// One there, many back.
    ServerStream,
    /// Many both ways.
    Bidi,
}

impl Schema {
    /// Compiles the files, or without any the echo service.
    ///
    /// # Errors
    /// What is wrong with a file, with `FILE:LINE:COLUMN` where that is known.
    pub fn load(args: &ProtoArgs) -> Result<Self, Failure> {
        let pool = match args.proto.is_empty() {
            true => compile_echo(),
            false => {
                try_files(args)?;
                compile(&args.proto, &includes(args))
            }
        };
        Ok(Self {
            pool: pool?,
            given: !args.proto.is_empty(),
        })
    }

    /// The method that is called `SERVICE/METHOD`.
    ///
    /// # Errors
    /// Says what there is instead.
    pub fn method(&self, name: &str) -> Result<Method, Failure> {
        let path = name.strip_prefix('/').unwrap_or(name);
        let (service, method) = match path.split_once('/') {
            Some((service, method)) => (service, Some(method)),
            None => (path, None),
        };
        let service = match (self.pool.get_service_by_name(service), method) {
            (Some(service), _) => service,
            (None, Some(_)) => return Err(self.unknown_service(service)),
            (None, None) => {
                let text =
                    format!("{name:?} is no method: write SERVICE/METHOD, such as {EXAMPLE}");
                return Err(Failure::Text(text));
            }
        };
        let mut methods = service.methods();
        let found = methods.find(|have| Some(have.name()) == method);
        found
            .map(|descriptor| Method { descriptor })
            .ok_or_else(|| unknown_method(&service, method))
    }

    fn unknown_service(&self, name: &str) -> Failure {
        let known: Vec<_> = self
            .pool
            .services()
            .map(|service| service.full_name().to_owned())
            .collect();
        Failure::Text(match (self.given, known.as_slice()) {
            (false, _) => format!(
                "no service {name:?} is known: only {}, unless its .proto file is given with --proto FILE",
                known.join(", ")
            ),
            (true, []) => format!("no service {name:?}: the .proto files have no service at all"),
            (true, _) => format!(
                "no service {name:?} is in the .proto files; they have: {}",
                known.join(", ")
            ),
        })
    }
}

impl Method {
    /// The path that is sent, such as `/echo.v1.Echo/Unary`.
    pub fn path(&self) -> String {
        let service = self.descriptor.parent_service().full_name();
        format!("/{service}/{}", self.descriptor.name())
    }

    /// How many messages go each way.
    pub fn kind(&self) -> Kind {
        let client = self.descriptor.is_client_streaming();
        match (client, self.descriptor.is_server_streaming()) {
            (false, false) => Kind::Unary,
            (true, false) => Kind::ClientStream,
            (false, true) => Kind::ServerStream,
            (true, true) => Kind::Bidi,
        }
    }

    /// What a request is.
    pub fn input(&self) -> MessageDescriptor {
        self.descriptor.input()
    }

    /// What a reply is.
    pub fn output(&self) -> MessageDescriptor {
        self.descriptor.output()
    }
}

impl Kind {
    /// The path of the echo service's method of this kind.
    pub fn echo_path(self) -> &'static str {
        match self {
            Kind::Unary => "/echo.v1.Echo/Unary",
            Kind::ClientStream => "/echo.v1.Echo/ClientStream",
            Kind::ServerStream => "/echo.v1.Echo/ServerStream",
            Kind::Bidi => "/echo.v1.Echo/Bidi",
        }
    }
}

/// As in the `.proto` file: `Unary(EchoRequest) returns (EchoReply)`.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = |streams| if streams { "stream " } else { "" };
        let method = &self.descriptor;
        write!(
            f,
            "{}({}{}) returns ({}{})",
            method.name(),
            stream(method.is_client_streaming()),
            method.input().name(),
            stream(method.is_server_streaming()),
            method.output().name(),
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Unary => "unary",
            Kind::ClientStream => "a client stream",
            Kind::ServerStream => "a server stream",
            Kind::Bidi => "a stream in both directions",
        })
    }
}

fn unknown_method(service: &ServiceDescriptor, method: Option<&str>) -> Failure {
    let name = service.full_name();
    let what = match method {
        Some(method) => format!("service {name} has no method {method:?}"),
        None => format!("which method of {name}? Write {name}/METHOD"),
    };
    let methods: Vec<_> = service
        .methods()
        .map(|descriptor| format!("\n  {}", Method { descriptor }))
        .collect();
    Failure::Text(match methods.is_empty() {
        true => format!("{what}; it has none"),
        false => format!("{what}; it has:{}", methods.concat()),
    })
}

/// The folders that imports are looked up in.
fn includes(args: &ProtoArgs) -> Vec<PathBuf> {
    if !args.include.is_empty() {
        return args.include.clone();
    }
    let folders = args.proto.iter().map(|file| match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    });
    folders.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Says plainly what is not there. With folders of one's own it is the compiler that finds the files.
fn try_files(args: &ProtoArgs) -> Result<(), Failure> {
    if !args.include.is_empty() {
        return Ok(());
    }
    let tried = args.proto.iter().try_for_each(|path| {
        let opened = std::fs::File::open(path).map(drop);
        opened.map_err(|error| (path, error))
    });
    tried.map_err(|(path, error)| {
        Failure::because(format!("cannot read {}", path.display()), &error)
    })
}

fn compile(files: &[PathBuf], includes: &[PathBuf]) -> Result<DescriptorPool, Failure> {
    let compiled = Compiler::new(includes)
        .and_then(|mut compiler| Ok(compiler.open_files(files)?.descriptor_pool()));
    compiled.map_err(|error| {
        // Its Debug has file, line and column, which Display leaves out.
        let mut text = format!("{error:?}");
        if error.is_file_not_found() {
            let folders: Vec<_> = includes.iter().map(|path| path.to_string_lossy()).collect();
            text.push_str(&format!(
                " (looked in {}; -I FOLDER names where the names of .proto files begin)",
                folders.join(", ")
            ));
        }
        Failure::Text(text)
    })
}

fn compile_echo() -> Result<DescriptorPool, Failure> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(EchoResolver);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    let compiled = compiler.open_file(ECHO_FILE);
    compiled
        .map(|compiler| compiler.descriptor_pool())
        .map_err(|error| Failure::Text(format!("{error:?}")))
}

/// Finds the one file that is part of the program.
struct EchoResolver;

impl FileResolver for EchoResolver {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name == ECHO_FILE {
            true => File::from_source(name, ECHO_SOURCE),
            false => Err(protox::Error::file_not_found(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_is_known_without_a_file() {
        let schema = Schema::load(&ProtoArgs::default()).unwrap();
        for name in ["echo.v1.Echo/Unary", "/echo.v1.Echo/Unary"] {
            let method = schema.method(name).unwrap();
            assert_eq!(method.kind(), Kind::Unary);
            assert_eq!(method.to_string(), "Unary(EchoRequest) returns (EchoReply)");
        }
    }

    #[test]
    fn echo_has_a_method_of_each_kind() {
        let schema = Schema::load(&ProtoArgs::default()).unwrap();
        for kind in [
            Kind::Unary,
            Kind::ClientStream,
            Kind::ServerStream,
            Kind::Bidi,
        ] {
            let method = schema.method(kind.echo_path()).unwrap();
            assert_eq!(
                (method.kind(), method.path().as_str()),
                (kind, kind.echo_path())
            );
        }
    }

    #[test]
    fn folders_of_imports_are_those_of_the_files() {
        let args = |proto: &[&str], include: &[&str]| ProtoArgs {
            proto: proto.iter().map(PathBuf::from).collect(),
            include: include.iter().map(PathBuf::from).collect(),
        };
        let path = |path: &str| PathBuf::from(path);
        assert_eq!(includes(&args(&["a.proto"], &[])), [path(".")]);
        assert_eq!(
            includes(&args(&["p/b.proto", "p/a.proto", "q/a.proto"], &[])),
            [path("p"), path("q")]
        );
        assert_eq!(includes(&args(&["p/a.proto"], &["p"])), [path("p")]);
    }
}
