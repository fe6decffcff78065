//! Where results go: one writer, one format.

use std::io::{BufWriter, Write};

use serde::Serialize;

use crate::args::format::Format;
use crate::failure::{Failure, nonsense};
use crate::table::Table;

/// Standard output, or a buffer in tests.
pub(crate) struct Output<W: Write> {
    writer: BufWriter<W>,
    format: Format,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(writer: W, format: Format) -> Self {
        Self {
            writer: BufWriter::new(writer),
            format,
        }
    }

    /// Whether people read it.
    pub(crate) fn is_table(&self) -> bool {
        match self.format {
            Format::Ps | Format::Wide => true,
            Format::Json
            | Format::Yaml
            | Format::Columns(_)
            | Format::Template(_)
            | Format::TemplateFile(_) => false,
        }
    }

    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes `value` for programs, if they are the readers.
    pub(crate) fn structured(&mut self, value: &impl Serialize) -> Result<bool, Failure> {
        match self.format {
            Format::Ps
            | Format::Wide
            | Format::Columns(_)
            | Format::Template(_)
            | Format::TemplateFile(_) => Ok(false),
            Format::Json => self.json(value).map(|()| true),
            Format::Yaml => self.yaml(value).map(|()| true),
        }
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.writer, value).map_err(std::io::Error::from)?;
        Ok(self.writer.write_all(b"\n")?)
    }

    pub(crate) fn yaml(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_saphyr::to_string(value)
            .map_err(|e| nonsense(&format!("it cannot be written as YAML: {e}")))?;
        Ok(self.writer.write_all(text.as_bytes())?)
    }

    pub(crate) fn table(&mut self, table: &mut Table) -> Result<(), Failure> {
        Ok(table.print(&mut self.writer)?)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.writer.write_all(text.as_bytes())?)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }
}
