//! Certificates of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with an authority, and certificates of it and of nobody.
pub(crate) struct Certificates(tempfile::TempDir);

impl Certificates {
    /// `ca`, `server` and `client` of it, and `stranger`, who signs for himself.
    pub(crate) fn make() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        made.sign("ca", None);
        made.sign("server", Some("ca"));
        made.sign("client", Some("ca"));
        made.sign("stranger", None);
        made
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn at(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }

    fn sign(&self, name: &str, authority: Option<&str>) {
        let mut command = Command::new("openssl");
        command
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
            .args(["-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .arg("-keyout")
            .arg(self.at(&format!("{name}.key")))
            .arg("-out")
            .arg(self.at(&format!("{name}.pem")));
        if let Some(authority) = authority {
            command
                .args(["-addext", "basicConstraints=critical,CA:FALSE", "-CA"])
                .arg(self.at(&format!("{authority}.pem")))
                .arg("-CAkey")
                .arg(self.at(&format!("{authority}.key")));
        }
        let output = command
            .output()
            .expect("openssl is installed: tools/packages has it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
