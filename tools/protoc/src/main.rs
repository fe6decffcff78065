//! Stands for `protoc` where prost-build runs it: parses `.proto` files (protox) and writes their
//! descriptors. It understands the arguments that prost-build gives, and no others.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use prost::Message;

/// What is asked for.
#[derive(Debug, Default)]
struct Request {
    out: Option<PathBuf>,
    includes: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut request = Self::default();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next().map(PathBuf::from);
                value.ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "-o" => request.out = Some(value()?),
                "-I" => request.includes.push(value()?),
                // Always so.
                "--include_imports" | "--include_source_info" => {}
                option if option.starts_with('-') => {
                    return Err(format!("{option} is not understood; install protoc itself"));
                }
                file => request.files.push(file.into()),
            }
        }
        Ok(request)
    }

    fn run(self) -> Result<(), String> {
        let out = self.out.ok_or("-o FILE is missing")?;
        let mut compiler =
            protox::Compiler::new(self.includes).map_err(|error| error.to_string())?;
        compiler
            .include_imports(true)
            .include_source_info(true)
            .open_files(self.files)
            .map_err(|error| error.to_string())?;
        let descriptors = compiler.file_descriptor_set().encode_to_vec();
        std::fs::write(&out, descriptors).map_err(|error| format!("{}: {error}", out.display()))
    }
}

fn main() -> ExitCode {
    match Request::parse(std::env::args().skip(1)).and_then(Request::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc-stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}
