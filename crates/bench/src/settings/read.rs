//! Walks the tree of what was typed, and remembers where everything stood.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kinds::{noun, shortened};
use super::suggest::nearest;
use super::{TEST_KEY, syntax};

/// Bytes of the text.
pub type Spot = Range<usize>;

/// A value that knows where it stands.
pub type Value<'t> = Spanned<DeValue<'t>>;

/// What is wrong at one place of the text.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub at: Spot,
    /// What.
    pub message: String,
    /// The mend.
    pub help: String,
}

impl Fault {
    /// Without its place: where there is no text that it could stand in.
    pub fn in_words(self) -> String {
        format!("{}\nhelp: {}", self.message, self.help)
    }
}

/// What is wrong with a value: reads after the name of its key.
pub struct Wrong {
    /// Where, if not at the whole value.
    pub at: Option<Spot>,
    /// What, as in "must be a word, not a whole number".
    pub what: String,
    /// The mend.
    pub help: String,
}

impl Wrong {
    /// Wrong as a whole.
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { at: None, what: what.into(), help: help.into() }
    }
}

/// Where the settings that were typed stood, by their dotted names.
#[derive(Default)]
pub struct Spots(HashMap<String, Spot>);

impl Spots {
    /// Where `name` stands; if it was not typed, where the nearest section around it does; else the start of the text.
    pub fn of(&self, name: &str) -> Spot {
        let mut name = name;
        loop {
            if let Some(spot) = self.0.get(name) {
                return spot.clone();
            }
            let Some(end) = name.rfind(['.', '[']) else {
                return 0..0;
            };
            name = &name[..end];
        }
    }

    /// Whether `name` was typed.
    pub fn typed(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// What was noticed while walking.
#[derive(Default)]
struct Notes {
    faults: Vec<Fault>,
    spots: Spots,
    /// Keys that exist, with their sections.
    known: Vec<(String, &'static str)>,
    /// Keys that somebody typed and nobody asked for.
    strays: Vec<Stray>,
}

struct Stray {
    section: String,
    key: String,
    is_section: bool,
    at: Spot,
}

/// A section of the file while its keys are asked for.
pub struct Section<'t, 'n> {
    /// Dotted name; empty for the top of the file.
    name: String,
    at: Spot,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
    notes: &'n mut Notes,
}

/// Parses `text` and has `walk` ask for everything that there can be in it.
pub fn walk(text: &str, walk: impl FnOnce(&mut Section<'_, '_>)) -> Result<Spots, Fault> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if let Some(fault) = errors.iter().map(|error| syntax::fault(text, error)).min_by_key(|fault| fault.at.start) {
        return Err(fault);
    }
    let mut notes = Notes::default();
    let mut top =
        Section { name: String::new(), at: 0..0, table: document.get_ref(), asked: vec![TEST_KEY], notes: &mut notes };
    walk(&mut top);
    top.finish();
    let Notes { mut faults, spots, known, strays } = notes;
    faults.extend(strays.iter().min_by_key(|stray| stray.at.start).map(|stray| stray.fault(&known)));
    match faults.into_iter().min_by_key(|fault| fault.at.start) {
        Some(fault) => Err(fault),
        None => Ok(spots),
    }
}

impl<'t> Section<'t, '_> {
    /// Sets `slot` to what stands at `key`, if something does.
    pub fn set<T>(&mut self, key: &'static str, slot: &mut T, read: impl FnOnce(&Value<'_>) -> Result<T, Wrong>) {
        if let Some(value) = self.ask(key) {
            match read(value) {
                Ok(read) => *slot = read,
                Err(wrong) => self.wrong(key, value, wrong),
            }
        }
    }

    /// Like [`Self::set`] for lists; remembers where each element stood.
    pub fn set_list<T>(
        &mut self,
        key: &'static str,
        slot: &mut Vec<T>,
        read: impl FnOnce(&Value<'_>) -> Result<Vec<(Spot, T)>, Wrong>,
    ) {
        let Some(value) = self.ask(key) else { return };
        match read(value) {
            Ok(elements) => {
                slot.clear();
                for (index, (spot, element)) in elements.into_iter().enumerate() {
                    self.notes.spots.0.insert(format!("{}[{index}]", self.dotted(key)), spot);
                    slot.push(element);
                }
            }
            Err(wrong) => self.wrong(key, value, wrong),
        }
    }

    /// What stands at `key`, which must not be missing.
    pub fn need<T>(&mut self, key: &'static str, read: impl FnOnce(&Value<'_>) -> Result<T, Wrong>) -> Option<T> {
        let mut slot = None;
        self.set(key, &mut slot, |value| read(value).map(Some));
        if !self.table.contains_key(key) {
            self.notes.faults.push(Fault {
                at: self.at.clone(),
                message: format!("`{}` lacks `{key}`", self.name),
                help: format!("add `{key} = …`"),
            });
        }
        slot
    }

    /// Has `read` ask for the keys of the section `key`, whether it is there or not.
    pub fn section(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, '_>)) {
        let empty = DeTable::new();
        let name = self.dotted(key);
        let (table, at) = match self.ask(key) {
            None => (&empty, self.at.clone()),
            Some(value) => {
                let table = value.get_ref().as_table().unwrap_or_else(|| {
                    self.wrong(key, value, self.not_a_section(key, value.get_ref()));
                    &empty
                });
                (table, value.span())
            }
        };
        let mut section = Section { name, at, table, asked: Vec::new(), notes: self.notes };
        read(&mut section);
        section.finish();
    }

    /// Has `read` ask for the keys of each section of the list `[[key]]`; there may be `most` of them.
    pub fn each(&mut self, key: &'static str, most: usize, mut read: impl FnMut(&mut Section<'_, '_>)) {
        let Some(value) = self.ask(key) else { return };
        let Some(elements) = value.get_ref().as_array() else {
            let wrong = Wrong::new(
                format!("must be a list of sections, not {}", noun(value.get_ref())),
                format!("write [[{key}]] on a line of its own for each, and its keys below"),
            );
            self.wrong(key, value, wrong);
            return;
        };
        if elements.len() > most {
            let wrong = Wrong::new(
                format!("is there {} times, but may be there {most} times", elements.len()),
                format!("write at most {most}"),
            );
            self.wrong(key, value, wrong);
            return;
        }
        for (index, element) in elements.iter().enumerate() {
            let Some(table) = element.get_ref().as_table() else {
                let wrong = Wrong::new(
                    format!("must be a list of sections, not of {}", noun(element.get_ref())),
                    format!("write [[{key}]] on a line of its own for each, and its keys below"),
                );
                self.wrong(key, element, wrong);
                continue;
            };
            let name = format!("{}[{index}]", self.dotted(key));
            let mut section = Section { name, at: element.span(), table, asked: Vec::new(), notes: self.notes };
            read(&mut section);
            section.finish();
        }
    }

    fn not_a_section(&self, key: &str, value: &DeValue<'_>) -> Wrong {
        let help = match (self.name.is_empty(), value.is_array()) {
            (true, true) => format!("write [{key}] once, with single brackets"),
            (true, false) => format!("write [{key}] on a line of its own, and its keys below"),
            (false, _) => format!("write `{key} = {{ … }}`, with its keys between the braces"),
        };
        Wrong::new(format!("must be a section, not {}", noun(value)), help)
    }

    /// Whether a table stands at `key`.
    pub fn holds_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Notes a fault of this section at `key`.
    pub fn fault(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let at = self.notes.spots.of(&self.dotted(key));
        self.notes.faults.push(Fault { at, message: message.into(), help: help.into() });
    }

    /// Whether something stands at `key`.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn ask(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        self.notes.spots.0.insert(self.dotted(key), value.span());
        Some(value)
    }

    fn wrong(&mut self, key: &str, value: &Value<'_>, wrong: Wrong) {
        let at = wrong.at.unwrap_or_else(|| value.span());
        let message = format!("`{}` {}", self.dotted(key), wrong.what);
        self.notes.faults.push(Fault { at, message, help: wrong.help });
    }

    fn dotted(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn finish(self) {
        for (key, value) in self.table {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                self.notes.strays.push(Stray {
                    section: self.name.clone(),
                    key: key.get_ref().to_string(),
                    is_section: value.get_ref().is_table(),
                    at: key.span(),
                });
            }
        }
        self.notes.known.extend(self.asked.into_iter().map(|key| (self.name.clone(), key)));
    }
}

impl Stray {
    fn fault(&self, known: &[(String, &'static str)]) -> Fault {
        let key = shortened(&self.key);
        let message = match (self.section.as_str(), self.is_section) {
            ("", true) => format!("unknown section [{key}]"),
            ("", false) => format!("unknown key `{key}` outside of any section"),
            (section, _) => format!("unknown key `{key}` in [{section}]"),
        };
        let siblings: Vec<&str> =
            known.iter().filter(|(section, _)| *section == self.section).map(|&(_, key)| key).collect();
        let elsewhere = known.iter().find(|(section, known)| !section.is_empty() && *known == self.key);
        let help = if let Some(near) = nearest(&self.key, siblings.iter().copied()) {
            format!("did you mean `{near}`?")
        } else if let Some((section, known)) = elsewhere {
            format!("`{known}` belongs below [{section}]")
        } else {
            format!("known here: {}", siblings.join(", "))
        };
        Fault { at: self.at.clone(), message, help }
    }
}
