//! Where the Unix-domain socket of a server of the lab is.

use crate::failure::Failure;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Names that are tried: those before are what a lab left behind that was killed.
const ATTEMPTS_MAX: u32 = 1000;

/// A folder in the temporary one that only this user can look into. Dropping it removes it, with the
/// socket's file.
#[derive(Debug)]
pub struct SocketFolder {
    path: PathBuf,
}

impl SocketFolder {
    /// Makes it, under a name that nobody has.
    pub fn make() -> Result<Self, Failure> {
        for attempt in 0..ATTEMPTS_MAX {
            let name = format!("kettle-lab-{}-{attempt}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let text = format!("cannot make {}", path.display());
                    return Err(Failure::because(text, &error));
                }
            }
        }
        let folder = std::env::temp_dir();
        Err(Failure::Text(format!(
            "{ATTEMPTS_MAX} folders kettle-lab-{}-… are in {} already: remove them",
            std::process::id(),
            folder.display()
        )))
    }

    /// The URL of the socket in it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.path.join("s").display())
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // What is left behind is an empty folder, or nearly so: no reason to fail.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_has_a_folder_of_its_own_until_it_is_dropped() {
        let (one, other) = (SocketFolder::make().unwrap(), SocketFolder::make().unwrap());
        assert_ne!(one.url(), other.url());
        let mode = fs::metadata(&one.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(one.path.join("s"), "").unwrap();
        let path = one.path.clone();
        drop(one);
        assert!(!path.exists() && other.path.exists());
    }
}
