//! What shells and `man` know of the command line, made from the same definitions that parse it.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

/// A script that completes words.
pub(crate) fn completion<W: Write>(out: &mut Output<W>, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vrouterctl", &mut script);
    out.text(&String::from_utf8_lossy(&script))
}

/// All pages into a directory, or the first page.
pub(crate) fn pages<W: Write>(out: &mut Output<W>, dir: Option<&Path>) -> Result<(), Failure> {
    let command = Cli::command();
    match dir {
        Some(dir) => {
            fs::create_dir_all(dir)?;
            Ok(clap_mangen::generate_to(command, dir)?)
        }
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            out.text(&String::from_utf8_lossy(&page))
        }
    }
}
