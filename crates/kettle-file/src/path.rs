//! Paths as requests name them.

use kettle::Status;

/// Longest path in bytes: the kernel's PATH_MAX without the byte that ends it.
const PATH_BYTES_MAX: usize = 4095;

/// A path relative to the directory that is served, no part of which leads up.
///
/// That it also does not leave by symbolic links, the kernel sees to: see [`crate::root::Root`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelativePath<'a>(&'a str);

impl<'a> RelativePath<'a> {
    /// # Errors
    /// INVALID_ARGUMENT.
    pub(crate) fn new(path: &'a str) -> Result<Self, Status> {
        let wrong = if PATH_BYTES_MAX < path.len() {
            format!("a path of {} bytes is too long", path.len())
        } else if path.contains('\0') {
            format!("path {path:?} has a NUL byte")
        } else if path.starts_with('/') {
            format!("path {path:?} is absolute: paths are relative to the directory that is served")
        } else if path.split('/').any(|part| part == "..") {
            format!("path {path:?} has a part \"..\"")
        } else {
            return Ok(Self(path));
        };
        Err(Status::invalid_argument(wrong))
    }

    /// As the request has it.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// As the kernel takes it: the empty path is the directory itself.
    pub(crate) fn for_kernel(self) -> &'a str {
        if self.0.is_empty() { "." } else { self.0 }
    }

    /// The directory, and the name of a file in it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when it ends in no name.
    pub(crate) fn split(self) -> Result<(Self, &'a str), Status> {
        let (parent, name) = self.0.rsplit_once('/').unwrap_or(("", self.0));
        if matches!(name, "" | ".") {
            let text = format!("path {:?} does not name a file", self.0);
            return Err(Status::invalid_argument(text));
        }
        Ok((Self(parent), name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kettle::Code;

    #[test]
    fn what_leads_up_or_away_is_refused() {
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        for path in [
            "..", "../x", "a/..", "a/../b", "a/./../b", "/", "/etc", "a\0b", &long,
        ] {
            let status = RelativePath::new(path).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{path:?}");
        }
    }

    #[test]
    fn what_stays_is_taken() {
        for path in ["", ".", "a", "a/b", "...", "..a", "a..", "a//b", "a/"] {
            assert_eq!(RelativePath::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn a_file_has_a_directory_and_a_name() {
        let split = |path| {
            let (parent, name) = RelativePath::new(path).unwrap().split().ok()?;
            Some((parent.for_kernel(), name))
        };
        assert_eq!(split("a"), Some((".", "a")));
        assert_eq!(split("a/b/c"), Some(("a/b", "c")));
        for path in ["", ".", "a/", "a/."] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
