//! The settings, and the way from `.proto` files to Rust files.

use crate::bytes_fields::BytesFields;
use crate::error::Error;
use crate::methods::Methods;
use crate::service::Generator;
use prost_types::FileDescriptorSet;
use protox::Compiler;
use std::path::{Path, PathBuf};

/// Where the generated code finds prost. Users need no version of prost that fits kettle's this way.
const PROST_PATH: &str = "::kettle::codegen::prost";

/// Settings of the code generation. [`crate::configure`] makes one.
#[derive(Clone, Debug)]
pub struct Builder {
    build_client: bool,
    build_blocking_client: bool,
    build_server: bool,
    bytes: Vec<String>,
    composed: Vec<String>,
    undecoded: Vec<String>,
    out_dir: Option<PathBuf>,
    file_descriptor_set_path: Option<PathBuf>,
    type_attributes: Vec<(String, String)>,
    field_attributes: Vec<(String, String)>,
    extern_paths: Vec<(String, String)>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            build_client: true,
            build_blocking_client: true,
            build_server: true,
            bytes: vec![".".to_owned()],
            composed: Vec::new(),
            undecoded: Vec::new(),
            out_dir: None,
            file_descriptor_set_path: None,
            type_attributes: Vec::new(),
            field_attributes: Vec::new(),
            extern_paths: Vec::new(),
        }
    }

    /// Whether clients are generated. Default: yes.
    #[must_use]
    pub fn build_client(mut self, enable: bool) -> Self {
        self.build_client = enable;
        self
    }

    /// Whether clients come with blocking ones, in a module `blocking` inside theirs. Default: yes.
    #[must_use]
    pub fn build_blocking_client(mut self, enable: bool) -> Self {
        self.build_blocking_client = enable;
        self
    }

    /// Whether servers and their traits are generated. Default: yes.
    #[must_use]
    pub fn build_server(mut self, enable: bool) -> Self {
        self.build_server = enable;
        self
    }

    /// Makes the `bytes` fields at these paths `bytes::Bytes`, and all others `Vec<u8>`. A path is
    /// a field, or a message or package for all fields in it, such as `.echo.v1.EchoReply`; `.` is
    /// everything. Default: `["."]`.
    #[must_use]
    pub fn bytes(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.bytes = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Makes all `bytes` fields `Vec<u8>`. Each is then a copy of what was received, where
    /// `bytes::Bytes` is a slice of it.
    #[must_use]
    pub fn bytes_as_vec(mut self) -> Self {
        self.bytes.clear();
        self
    }

    /// Lets these methods reply with messages some of whose `bytes` fields are ranges of files, or memory that
    /// is not copied: their handlers return `kettle::Composed` messages, and streams of them. For each
    /// `bytes` field of such a reply its type has a constant, such as `ReadReply::DATA` for `data`. A path is a
    /// method, such as `.files.v1.Files.Read`, or a service or package for all methods in it. Default: none.
    #[must_use]
    pub fn composed(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.composed = methods.into_iter().map(Into::into).collect();
        self
    }

    /// Gives these methods' handlers their requests undecoded, as `kettle::Inbound`, and streams of them: for
    /// messages with `bytes` fields so large that they should not be copied (`Inbound::decode_apart`), and for
    /// those that are passed on. For each `bytes` field of such a request its type has a constant, as for
    /// [`Builder::composed`], and paths are as there. Default: none.
    #[must_use]
    pub fn undecoded(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.undecoded = methods.into_iter().map(Into::into).collect();
        self
    }

    /// The directory to write to; it must exist. Default: the environment variable `OUT_DIR`, which
    /// Cargo sets for build scripts.
    #[must_use]
    pub fn out_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(directory.into());
        self
    }

    /// Also writes the encoded `google.protobuf.FileDescriptorSet` of all files and their imports to
    /// this file. Default: not written.
    #[must_use]
    pub fn file_descriptor_set_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.file_descriptor_set_path = Some(path.into());
        self
    }

    /// Adds an attribute, such as `#[derive(Eq)]`, to the messages, enums and oneofs at a path (see
    /// [`Builder::bytes`] for paths).
    #[must_use]
    pub fn type_attribute(mut self, path: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.type_attributes.push((path.into(), attribute.into()));
        self
    }

    /// Adds an attribute to the fields at a path (see [`Builder::bytes`] for paths).
    #[must_use]
    pub fn field_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Self {
        self.field_attributes.push((path.into(), attribute.into()));
        self
    }

    /// Uses types that exist already for a protobuf package or type, instead of generating them.
    /// The protobuf path starts with `.`, the Rust path with `::` or `crate::`.
    #[must_use]
    pub fn extern_path(
        mut self,
        proto_path: impl Into<String>,
        rust_path: impl Into<String>,
    ) -> Self {
        self.extern_paths
            .push((proto_path.into(), rust_path.into()));
        self
    }

    /// Compiles `protos`, each of which lies in one of the `includes`, where imports are looked up
    /// too, and writes one Rust file per package. Tells Cargo to run the build script again when one
    /// of the files or their imports changes.
    ///
    /// # Errors
    /// When a file is not found, is no correct protobuf (the text starts with `FILE:LINE:COLUMN`), or
    /// cannot be written; when a path of a setting is wrong.
    ///
    /// # Panics
    /// When an attribute is not valid Rust.
    pub fn compile_protos(
        self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let compiler = compile(protos, includes)?;
        for path in sources(&compiler) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        if let Some(path) = &self.file_descriptor_set_path {
            let set = compiler.encode_file_descriptor_set();
            std::fs::write(path, set).map_err(|error| cannot_write(path, &error))?;
        }
        Ok(self.generate(compiler.file_descriptor_set())?)
    }

    fn generate(self, set: FileDescriptorSet) -> Result<(), Error> {
        let out_dir = match &self.out_dir {
            Some(directory) => directory.clone(),
            None => std::env::var_os("OUT_DIR")
                .map(PathBuf::from)
                .ok_or_else(|| {
                    Error::new("OUT_DIR is not set: run this in build.rs, or set Builder::out_dir")
                })?,
        };
        let mut config = self.prost_config(&set)?;
        config.out_dir(&out_dir);
        config.compile_fds(set).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => Error::new(error.to_string()),
            _ => cannot_write(&out_dir, &error),
        })
    }

    fn prost_config(self, set: &FileDescriptorSet) -> Result<prost_build::Config, Error> {
        let mut config = prost_build::Config::new();
        config.prost_path(PROST_PATH);
        config.bytes(&self.bytes);
        // What has no comment in the .proto has none here, whatever the user's crate asks of docs.
        config.type_attribute(".", "#[allow(missing_docs)]");
        for (path, attribute) in self.type_attributes {
            config.type_attribute(path, attribute);
        }
        for (path, attribute) in self.field_attributes {
            config.field_attribute(path, attribute);
        }
        for (proto_path, rust_path) in self.extern_paths {
            config.extern_path(proto_path, rust_path);
        }
        config.service_generator(Box::new(Generator {
            client: self.build_client,
            blocking_client: self.build_blocking_client,
            server: self.build_server,
            composed: Methods::new("Builder::composed", self.composed, set)?,
            undecoded: Methods::new("Builder::undecoded", self.undecoded, set)?,
            bytes_fields: BytesFields::new(set),
        }));
        Ok(config)
    }
}

fn compile(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<Compiler, Error> {
    let explain = |error: protox::Error| {
        let mut text = format!("{error:?}");
        if error.is_file_not_found() {
            let places: Vec<_> = includes
                .iter()
                .map(|path| path.as_ref().to_string_lossy())
                .collect();
            text = format!("{text} (include directories: {})", places.join(", "));
        }
        Error::new(text)
    };
    let mut compiler = Compiler::new(includes).map_err(explain)?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(protos).map_err(explain)?;
    Ok(compiler)
}

/// The files that were read: those asked for and their imports, but those built into protox.
fn sources(compiler: &Compiler) -> impl Iterator<Item = &Path> {
    compiler.files().filter_map(|file| file.path())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot write to {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_of_imports() {
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/protos");
        let compiler = compile(&["shop/orders.proto"], &[&include]).unwrap();
        let expected = [
            include.join("shop/goods.proto"),
            include.join("shop/orders.proto"),
        ];
        assert!(
            sources(&compiler).eq(expected),
            "{:?}",
            sources(&compiler).collect::<Vec<_>>()
        );
    }
}
