//! What all programs say of themselves: the version with its commit, and manual pages.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Args, Command};
use clap_mangen::Man;

/// The version of the release.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit; empty where the build knew of none.
pub const COMMIT: &str = env!("VROUTER_COMMIT");
/// The commit's date, as `2026-01-31`; empty where the build knew of none.
pub const COMMIT_DATE: &str = env!("VROUTER_COMMIT_DATE");
/// For `--version`: release, commit and its date.
pub const VERSION: &str = env!("VROUTER_VERSION");

/// The arguments of a program's `man` command.
#[derive(Debug, Clone, Args)]
pub struct ManOptions {
    /// Where to; without it the first page goes to standard output
    #[arg(long = "dir", value_name = "DIR")]
    pub directory: Option<std::path::PathBuf>,
}

impl ManOptions {
    /// Writes the pages of a program.
    ///
    /// # Errors
    /// The directory or a page cannot be written.
    pub fn write(&self, program: Command, out: &mut dyn Write) -> io::Result<()> {
        match &self.directory {
            Some(directory) => pages(program, directory),
            None => first_page(program, out),
        }
    }
}

/// Writes the manual of a program into a directory: a page for it and for each of its commands.
///
/// # Errors
/// The directory cannot be made, or a page cannot be written; the error names the directory.
pub fn pages(program: Command, directory: &Path) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
    };
    fs::create_dir_all(directory).map_err(named)?;
    clap_mangen::generate_to(program, directory).map_err(named)
}

/// Prints a program's own page.
///
/// # Errors
/// `out` cannot be written to.
pub fn first_page(program: Command, out: &mut dyn Write) -> io::Result<()> {
    Man::new(program).render(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_release_and_the_commit_if_there_is_one() {
        assert!(VERSION.starts_with(RELEASE), "{VERSION}");
        assert!(
            VERSION.contains(COMMIT) && VERSION.contains(COMMIT_DATE),
            "{VERSION}"
        );
    }

    #[test]
    fn pages_are_written_and_a_directory_that_cannot_be_is_named() {
        let program = || Command::new("router").subcommand(Command::new("show"));
        let directory = std::env::temp_dir().join(format!("vrouter-cli-{}", std::process::id()));
        pages(program(), &directory).expect("it can be written");
        for page in ["router.1", "router-show.1"] {
            let text = fs::read_to_string(directory.join(page)).expect("it was written");
            assert!(text.contains(".TH"), "{text}");
        }
        let below_a_file = directory.join("router.1/pages");
        let error = pages(program(), &below_a_file).expect_err("a file is no directory");
        assert!(error.to_string().contains("router.1/pages"), "{error}");
        fs::remove_dir_all(&directory).expect("it is ours");
    }
}
