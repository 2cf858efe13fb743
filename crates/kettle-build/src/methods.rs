//! Methods that a setting names.

use crate::error::Error;
use prost_build::Method;
use prost_types::FileDescriptorSet;

/// The methods that a setting names, by their own paths or by those of services and packages.
#[derive(Debug)]
pub(crate) struct Methods {
    /// Each with or without a dot in front.
    paths: Vec<String>,
}

impl Methods {
    /// # Errors
    /// When nothing has one of these paths; the text names the setting.
    pub(crate) fn new(
        setting: &str,
        paths: Vec<String>,
        set: &FileDescriptorSet,
    ) -> Result<Self, Error> {
        let methods = methods(set);
        for path in &paths {
            if !methods.iter().any(|method| is_in(method, path)) {
                let text = format!("{setting}: no method has the path {path:?} or lies in it");
                return Err(Error::new(text));
            }
        }
        Ok(Self { paths })
    }

    /// Whether this method is one of them.
    pub(crate) fn has(&self, service: &str, method: &Method) -> bool {
        let method = format!(".{service}.{}", method.proto_name);
        self.paths.iter().any(|path| is_in(&method, path))
    }
}

/// Whether the first path is the second, or lies in it. Dots in front do not matter in the second.
fn is_in(path: &str, outer: &str) -> bool {
    let (path, outer) = (&path[1..], outer.trim_start_matches('.'));
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

fn methods(set: &FileDescriptorSet) -> Vec<String> {
    let services = set.file.iter().flat_map(|file| {
        let package = file.package();
        file.service.iter().map(move |service| (package, service))
    });
    let methods = services.flat_map(|(package, service)| {
        let path = join(package, service.name());
        let methods = service.method.iter();
        methods.map(move |method| format!("{path}.{}", method.name()))
    });
    methods.collect()
}

/// The path of what has this name in a package.
pub(crate) fn join(package: &str, name: &str) -> String {
    match package {
        "" => format!(".{name}"),
        package => format!(".{package}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_in_each_other() {
        for outer in [".a.B.C", "a.B.C", ".a.B", "a", "."] {
            assert!(is_in(".a.B.C", outer), "{outer}");
        }
        for outer in [".a.B.D", "a.B.C.D", "a.BB", "b"] {
            assert!(!is_in(".a.B.C", outer), "{outer}");
        }
    }
}
