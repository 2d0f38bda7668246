//! Ringway's configuration: what a user may write (`document`), what it means (`model`), and what is wrong with it.
//!
//! [`load_file`] and [`load_str`] give a [`model::Config`] in which nothing can be invalid, or every problem of the file
//! at once. [`schema::markdown`] writes docs/CONFIG.md from the same declarations that the reader uses.

pub mod access;
mod diagnostic;
mod document;
mod foreign;
pub mod model;
mod place;
mod reader;
mod resolve;
pub mod schema;
mod syntax;

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use toml::de::{DeTable, DeValue};

pub use diagnostic::{Diagnostic, Diagnostics};
use diagnostic::{Problem, Problems};
use place::KeyPath;
pub use reader::is_grpc_name;
use reader::{Input, Read as _};
pub use syntax::quoted;

/// Bytes of the largest file that is read; a hundred thousand routes fit.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// Why a file gave no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Unreadable { file: String, error: io::Error },
    /// The file was read and refused.
    Refused(Diagnostics),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => {
                writeln!(f, "{file}: cannot read the configuration: {}", access::unreadable(Path::new(file), error))
            }
            Self::Refused(diagnostics) => diagnostics.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Refused(diagnostics) => Some(diagnostics),
        }
    }
}

/// The pieces of one text with command operators, as access logs and header values have it.
///
/// # Errors
/// What is wrong with it, a line for each fault.
pub fn format_pieces(text: &str) -> Result<Vec<model::FormatPiece>, String> {
    resolve::format_pieces(text, model::Subject::Exchange)
}

/// The same of a text about a connection, as the logs of listeners have it.
///
/// # Errors
/// What is wrong with it, a line for each fault.
pub fn connection_format_pieces(text: &str) -> Result<Vec<model::FormatPiece>, String> {
    resolve::format_pieces(text, model::Subject::Connection)
}

/// Reads and checks the configuration in the file `path`, at most 64 MiB of UTF-8.
pub fn load_file(path: impl AsRef<Path>) -> Result<model::Config, LoadError> {
    read_file(path.as_ref(), false)
}

/// As `load_file`, but the files that the configuration names may be missing, as on another host than its own. What it
/// gives is for checks, not to be run.
pub fn load_portable(path: impl AsRef<Path>) -> Result<model::Config, LoadError> {
    read_file(path.as_ref(), true)
}

fn read_file(path: &Path, is_portable: bool) -> Result<model::Config, LoadError> {
    let file = path.display().to_string();
    let bytes = read_limited(path).map_err(|error| LoadError::Unreadable { file: file.clone(), error })?;
    match String::from_utf8(bytes) {
        Ok(text) => read_text(&file, &text, is_portable).map_err(LoadError::Refused),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let problem = Problem::in_text(at..at + 1, "the file is not UTF-8 from here on");
            Err(LoadError::Refused(Diagnostics::new(&file, &text, vec![problem])))
        }
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", FILE_SIZE_MAX >> 20)));
    }
    Ok(bytes)
}

/// Checks the configuration in `text`. `file_name` is what the problems name, and relative paths inside the
/// configuration start at its directory.
pub fn load_str(file_name: &str, text: &str) -> Result<model::Config, Diagnostics> {
    read_text(file_name, text, false)
}

/// What can be read of a configuration that is refused. It is not to be run: the files that it names can be checked, so that
/// their problems are told with those of the configuration itself.
pub fn load_partly(path: impl AsRef<Path>) -> Option<model::Config> {
    let text = String::from_utf8(read_limited(path.as_ref()).ok()?).ok()?;
    read_all(&path.as_ref().display().to_string(), &text, true).0
}

fn read_text(file_name: &str, text: &str, is_portable: bool) -> Result<model::Config, Diagnostics> {
    match read_all(file_name, text, is_portable) {
        (_, Some(problems)) => Err(problems),
        (Some(config), None) => Ok(config),
        (None, None) => Err(Diagnostics::new(file_name, text, Vec::new())),
    }
}

/// The configuration as far as it can be read, and what is wrong with it.
fn read_all(file_name: &str, text: &str, is_portable: bool) -> (Option<model::Config>, Option<Diagnostics>) {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser recovered from the rest is a guess; problems with its keys would only confuse.
        return (None, Some(Diagnostics::new(file_name, text, syntax::problems(text, &errors))));
    }
    let mut problems = Problems::new(text);
    let root = toml::Spanned::new(0..0, DeValue::Table(tree.into_inner()));
    let input = Input::new(&root, 0..0, KeyPath::default());
    let directory = Path::new(file_name).parent().unwrap_or(Path::new(""));
    let document = document::Document::read(&input, &mut problems);
    foreign::explain(&mut problems);
    let config = document.map(|document| resolve::resolve(&document, file_name, directory, is_portable, &mut problems));
    if problems.is_empty() {
        foreign::warn_of_variables(&input, &mut problems);
        let warnings = Diagnostics::new(file_name, text, problems.take_warnings()).into_list();
        (config.map(|config| model::Config { warnings, ..config }), None)
    } else {
        (config, Some(Diagnostics::new(file_name, text, problems.into_list())))
    }
}
