//! Settings files: TOML text in, checked values out, and every mistake answered with its line and the mend.
//!
//! The tree is walked by hand rather than by serde's derive: the derive knows neither bounds nor what a setting is for, names Rust's
//! types in its messages, and reports the first mistake it visits rather than the first in the file.
//!
//! Every test that natrig knows has a file format of its own; the key `test` at the top of a file says which one it is written in.

mod error;
pub mod kinds;
mod read;
mod suggest;
mod syntax;
mod word;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::DeTable;

pub use crate::words;
pub use error::{Diagnostic, ScenarioError};
pub use read::{Fault, Section, Spot, Spots, Value, Wrong, walk};
pub use suggest::nearest;
pub use word::Word;

/// Bytes of a settings file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// What `test` says, or would say, in a file of rates: highest rates without loss, or fixed ones.
pub const RATES: &str = "rates";

/// The key that says which test a file describes. [`walk`] knows it in every file.
pub const TEST_KEY: &str = "test";

/// The text of a settings file, and the name it goes by in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    file: String,
    text: String,
}

impl Source {
    /// A text that is there already; `file` is for messages, and its folder is where relative paths start.
    #[must_use]
    pub fn new(text: &str, file: &str) -> Self {
        // Some editors begin UTF-8 text with a byte order mark; it is not part of the first line.
        Self { file: file.to_owned(), text: text.strip_prefix('\u{feff}').unwrap_or(text).to_owned() }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read, is larger than [`FILE_BYTES_MAX`], or is not UTF-8.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let unreadable = |source| ScenarioError::Unreadable { file: file.clone(), source };
        let mut bytes = Vec::new();
        let opened = File::open(path).map_err(unreadable)?;
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ScenarioError::TooLarge { file });
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Self::new(text, &file)),
            Err(error) => Err(ScenarioError::not_text(&bytes, &file, error)),
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the file as it was given.
    #[must_use]
    pub fn file(&self) -> &Path {
        Path::new(&self.file)
    }

    /// Which of the tests `known` the file describes: [`RATES`] if it does not say.
    ///
    /// # Errors
    ///
    /// The text is not TOML, or names a test that is not known.
    pub fn test(&self, known: &[&'static str]) -> Result<&'static str, ScenarioError> {
        self.read(|text, _| {
            let (document, _) = DeTable::parse_recoverable(text);
            let Some(value) = document.get_ref().get(TEST_KEY) else { return Ok(RATES) };
            let fault = |wrong: Wrong| Fault {
                at: value.span(),
                message: format!("`{TEST_KEY}` {}", wrong.what),
                help: wrong.help,
            };
            let named = kinds::string(value, "a word", &one_of(known)).map_err(fault)?;
            known.iter().copied().find(|test| *test == named).ok_or_else(|| {
                let help = match nearest(named, known.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"? {}", one_of(known)),
                    None => one_of(known),
                };
                fault(Wrong::new(format!("does not know {}", kinds::quoted(named)), help))
            })
        })
    }

    /// What `read` makes of the text; it is given the name of the file, too.
    ///
    /// # Errors
    ///
    /// The fault that `read` finds, with its place.
    pub fn read<T>(&self, read: impl FnOnce(&str, &Path) -> Result<T, Fault>) -> Result<T, ScenarioError> {
        read(&self.text, self.file()).map_err(|fault| ScenarioError::rejected(&self.text, &self.file, fault))
    }
}

fn one_of(known: &[&str]) -> String {
    format!("choose one of \"{}\"", known.join("\", \""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 2] = [RATES, "exhaustion"];

    #[test]
    fn a_file_says_which_test_it_is_for() {
        assert_eq!(Source::new("seed = 1", "x.toml").test(&KNOWN).unwrap(), RATES);
        assert_eq!(Source::new("test = \"exhaustion\"", "x.toml").test(&KNOWN).unwrap(), "exhaustion");
    }

    #[test]
    fn a_test_that_is_not_known_is_an_error_with_its_place() {
        let error = Source::new("\ntest = \"exhaustio\"", "x.toml").test(&KNOWN).unwrap_err();
        let place = error.diagnostic().unwrap();
        assert_eq!((place.line, place.column), (2, 8));
        assert_eq!(place.help, "did you mean \"exhaustion\"? choose one of \"rates\", \"exhaustion\"");
        let error = Source::new("test = 3", "x.toml").test(&KNOWN).unwrap_err();
        assert_eq!(error.diagnostic().unwrap().message, "`test` must be a word, not a whole number");
    }
}
