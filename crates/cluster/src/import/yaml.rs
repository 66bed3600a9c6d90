//! YAML as a tree that knows its lines.

use saphyr_parser::{Event, Parser};
use thiserror::Error;

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, a number, a word; several lines of a block are one text.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, as they stand, keys that come twice included.
    Map(Vec<(Key, Node)>),
}

/// A key, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// From 1.
    pub line: usize,
    /// The key.
    pub text: String,
}

/// What is not YAML, or not the part of it that settings are written in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub struct YamlError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Deeper than any settings are.
const DEPTH_MAX: usize = 64;

/// The documents of a text.
///
/// # Errors
/// The first place that is no YAML, or refers to another place (`*name`), which settings of Kubernetes do not.
pub fn read(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| YamlError { line: error.marker().line(), message: error.info().to_owned() })?;
        let line = span.start.line();
        let wrong = |message: &str| YamlError { line, message: message.to_owned() };
        let done = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                None
            }
            Event::Alias(_) => return Err(wrong("aliases are not read")),
            Event::Scalar(text, ..) => Some(Node { line, value: Value::Scalar(text.into_owned()) }),
            Event::SequenceStart(..) => {
                open.push(Open { line, list: Some(Vec::new()), map: Vec::new(), key: None });
                None
            }
            Event::MappingStart(..) => {
                open.push(Open { line, list: None, map: Vec::new(), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
        };
        if open.len() > DEPTH_MAX {
            return Err(wrong("nested deeper than settings are"));
        }
        let Some(node) = done else { continue };
        match open.last_mut() {
            None => documents.push(node),
            Some(around) => around.take(node).map_err(wrong)?,
        }
    }
    Ok(documents)
}

/// A list or a map while its elements come.
struct Open {
    line: usize,
    list: Option<Vec<Node>>,
    map: Vec<(Key, Node)>,
    key: Option<Key>,
}

impl Open {
    fn take(&mut self, node: Node) -> Result<(), &'static str> {
        if let Some(list) = &mut self.list {
            list.push(node);
            return Ok(());
        }
        match self.key.take() {
            Some(key) => self.map.push((key, node)),
            None => {
                let Value::Scalar(text) = node.value else { return Err("a key must be a text") };
                self.key = Some(Key { line: node.line, text });
            }
        }
        Ok(())
    }

    fn close(self) -> Node {
        let value = self.list.map_or(Value::Map(self.map), Value::List);
        Node { line: self.line, value }
    }
}

impl Node {
    /// The value at a key, the last one if it comes twice.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().rev().find(|(known, _)| known.text == key).map(|(_, value)| value)
    }

    /// The value at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The elements, if it is a list.
    pub fn list(&self) -> &[Self] {
        match &self.value {
            Value::List(elements) => elements,
            Value::Scalar(_) | Value::Map(_) => &[],
        }
    }

    /// Keys and values, if it is a map.
    pub fn map(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_text() {
        let text = "a: 1\nb:\n  - x\n  - {c: \"d\"}\nconfig: |\n  inner: 2\n---\nlast: true\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        let lines: Vec<(usize, &str)> =
            documents[0].map().iter().map(|(key, _)| (key.line, key.text.as_str())).collect();
        assert_eq!(lines, [(1, "a"), (2, "b"), (5, "config")]);
        let list = documents[0].get("b").unwrap().list();
        assert_eq!((list[0].line, list[0].text()), (3, Some("x")));
        assert_eq!(list[1].at(&["c"]).unwrap().text(), Some("d"));
        assert_eq!(documents[0].get("config").unwrap().text(), Some("inner: 2\n"));
        assert_eq!(documents[1].map()[0].0.line, 8);
    }

    #[test]
    fn mistakes_have_a_line() {
        assert_eq!(read("a: 1\nb: [1, 2\nc: }\n").unwrap_err().line, 3);
        assert_eq!(read("a: &x 1\nb: *x\n").unwrap_err().line, 2);
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(read(&deep).is_err());
    }
}
