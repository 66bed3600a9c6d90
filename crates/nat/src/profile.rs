//! Profiles: behaviours as data, with the source of every value.
//!
//! A profile is TOML with one section per part of [`Behaviour`]. Each value is either bare, or an inline table that says where it is from:
//!
//! ```toml
//! [timers]
//! tcp_established_s = { value = 350, source = "VPC user guide, NAT gateway basics", confidence = "H" }
//! ```

use crate::Config;
use crate::behaviour::Behaviour;
use core::net::Ipv4Addr;
use core::ops::Range;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Profiles that come with the program.
const BUILTIN: &[(&str, &str)] = &[
    ("rfc4787", include_str!("../profiles/rfc4787.toml")),
    ("cilium-bpf", include_str!("../profiles/cilium-bpf.toml")),
    ("cilium-bpf-old128", include_str!("../profiles/cilium-bpf-old128.toml")),
    ("cilium-bpf-old32", include_str!("../profiles/cilium-bpf-old32.toml")),
    ("netfilter", include_str!("../profiles/netfilter.toml")),
    ("netfilter-fully-random", include_str!("../profiles/netfilter-fully-random.toml")),
    ("vpc-cni", include_str!("../profiles/vpc-cni.toml")),
    ("aws-natgw", include_str!("../profiles/aws-natgw.toml")),
    ("azure-natgw", include_str!("../profiles/azure-natgw.toml")),
    ("gcp-cloudnat-static", include_str!("../profiles/gcp-cloudnat-static.toml")),
    ("gcp-cloudnat-dynamic", include_str!("../profiles/gcp-cloudnat-dynamic.toml")),
];

const NAMES: [&str; BUILTIN.len()] = {
    let mut names = [""; BUILTIN.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = BUILTIN[at].0;
        at += 1;
    }
    names
};

/// How sure a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Confidence {
    /// From memory, or the vendor does not document it.
    #[serde(rename = "L")]
    Low,
    /// From an official text that is old or mirrored, or one step of inference away from it.
    #[serde(rename = "M")]
    Medium,
    /// Read in source or official text.
    #[serde(rename = "H")]
    High,
}

impl Confidence {
    /// One letter: H, M or L.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "L",
            Self::Medium => "M",
            Self::High => "H",
        }
    }
}

/// Where a NAT of this kind usually stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// At the node that the pods run on.
    Node,
    /// At the edge of the network.
    Gateway,
    /// At either.
    Any,
}

/// One value of a profile and where it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its place: `timers.tcp_established_s`.
    pub path: String,
    /// As written.
    pub value: String,
    /// Document or source file; empty if the profile does not say.
    pub source: String,
    /// How sure it is; none if the profile does not say.
    pub confidence: Option<Confidence>,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Where it usually stands.
    pub layer: Layer,
    /// What it does.
    pub behaviour: Behaviour,
    /// All values in the order of the file, with their sources.
    pub parameters: Vec<Parameter>,
}

/// Why text is not a profile: with the line, a caret under what is wrong, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rendered}")]
pub struct ProfileError {
    /// What is wrong, one line.
    pub message: String,
    /// Bytes of the text that it is about.
    pub span: Option<Range<usize>>,
    rendered: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    name: String,
    summary: String,
    layer: Layer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provenance {
    #[serde(default)]
    source: String,
    confidence: Option<Confidence>,
}

impl Profile {
    /// Names of the profiles that come with the program.
    pub const fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The text of a profile that comes with the program, to copy and change.
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// A profile that comes with the program. None if there is none of this name.
    pub fn builtin(name: &str) -> Option<Self> {
        // A test reads every one of them.
        Self::builtin_text(name).and_then(|text| Self::parse(text).ok())
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let fail = |error| ProfileError::of_toml(error, text);
        let (meta, tree, parameters) = read_tree(text)?;
        let meta: Meta = deserialize(meta).map_err(fail)?;
        let behaviour: Behaviour = deserialize(tree).map_err(fail)?;
        // Addresses come later; all else can be checked now. The address is one for documentation (RFC 5737).
        let config = Config::new(vec![Ipv4Addr::new(192, 0, 2, 1)], behaviour.clone());
        config.validate().map_err(|error| ProfileError::new(error.to_string(), None, text))?;
        Ok(Self { name: meta.name, summary: meta.summary, layer: meta.layer, behaviour, parameters })
    }

    /// A translator's configuration with this behaviour and this pool of outside addresses.
    pub fn config(&self, outside: Vec<Ipv4Addr>) -> Config {
        Config::new(outside, self.behaviour.clone())
    }
}

type Tree<'t> = Spanned<DeTable<'t>>;

fn deserialize<'t, T: Deserialize<'t>>(tree: Tree<'t>) -> Result<T, toml::de::Error> {
    T::deserialize(toml::Deserializer::from(tree))
}

/// Takes the sources out of the tree: what is left has bare values, each still with its place in the text.
fn read_tree(text: &str) -> Result<(Tree<'_>, Tree<'_>, Vec<Parameter>), ProfileError> {
    let fail = |error| ProfileError::of_toml(error, text);
    let mut tree = DeTable::parse(text).map_err(fail)?;
    let missing = || ProfileError::new("missing section `profile` with name, summary and layer".into(), None, text);
    let meta = tree.get_mut().remove("profile").ok_or_else(missing)?;
    let span = meta.span();
    let DeValue::Table(meta) = meta.into_inner() else {
        return Err(ProfileError::new("`profile` is a section".into(), Some(span), text));
    };
    let mut parameters = Vec::new();
    strip(tree.get_mut(), "", text, &mut parameters).map_err(fail)?;
    parameters.sort_by_key(|(at, _)| *at);
    Ok((Spanned::new(span, meta), tree, parameters.into_iter().map(|(_, parameter)| parameter).collect()))
}

fn strip(
    table: &mut DeTable<'_>,
    prefix: &str,
    text: &str,
    parameters: &mut Vec<(usize, Parameter)>,
) -> Result<(), toml::de::Error> {
    for (key, value) in table.iter_mut() {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let at = key.span().start;
        let mut provenance = Provenance { source: String::new(), confidence: None };
        if let DeValue::Table(inner) = value.get_mut() {
            let Some(bare) = inner.remove("value") else {
                strip(inner, &path, text, parameters)?;
                continue;
            };
            let span = value.span();
            let DeValue::Table(rest) = core::mem::replace(value, bare).into_inner() else { continue };
            provenance = deserialize(Spanned::new(span, rest))?;
        }
        let written = text.get(value.span()).unwrap_or_default().to_owned();
        parameters.push((
            at,
            Parameter { path, value: written, source: provenance.source, confidence: provenance.confidence },
        ));
    }
    Ok(())
}

impl ProfileError {
    fn of_toml(mut error: toml::de::Error, text: &str) -> Self {
        error.set_input(Some(text));
        Self {
            message: error.message().to_owned(),
            span: error.span(),
            rendered: error.to_string().trim_end().to_owned(),
        }
    }

    fn new(message: String, span: Option<Range<usize>>, text: &str) -> Self {
        let line = span.as_ref().map(|span| text[..span.start].matches('\n').count() + 1);
        let rendered = line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"));
        Self { message, span, rendered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_profile_reads_and_every_value_has_a_source() {
        assert_eq!(Profile::names().len(), 11);
        for name in Profile::names() {
            let profile =
                Profile::parse(Profile::builtin_text(name).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(profile.name, *name);
            for parameter in &profile.parameters {
                assert!(
                    !parameter.source.is_empty() && parameter.confidence.is_some(),
                    "{name}: {} has no source",
                    parameter.path
                );
            }
            assert!(profile.parameters.iter().any(|parameter| parameter.path == "timers.tcp_established_s"));
        }
    }

    #[test]
    fn errors_show_the_line_and_what_was_expected() {
        let text = Profile::builtin_text("rfc4787").unwrap();
        let check = |from: &str, to: &str, expected: &[&str]| {
            assert!(text.contains(from), "{from}");
            let error = Profile::parse(&text.replacen(from, to, 1)).unwrap_err();
            for part in expected {
                assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
            }
        };
        check(
            "probe = { value = \"scan\"",
            "probe = { value = \"scam\"",
            &["unknown variant `scam`", "`step`", "^", "line"],
        );
        check(
            "tcp_established_s = { value = 7440",
            "tcp_established_s = { value = \"2h\"",
            &["invalid type: string \"2h\", expected u32", "^^^^"],
        );
        check("tcp_established_s", "tcp_etablished_s", &["unknown field `tcp_etablished_s`", "^"]);
        check("[hold]", "[held]", &["unknown field `held`"]);
        check("confidence = \"H\"", "confidence = \"sure\"", &["unknown variant `sure`"]);
        check("[profile]", "[profil]", &["missing section `profile`"]);
        check("[timers]", "[timers", &["line"]);
        check("overload = { value = \"never\"", "overload = { value = \"per-endpoint\"", &["cannot overload ports"]);
        check("capacity = { value = 262144", "capacity = { value = 0", &["table capacity 0"]);
    }

    #[test]
    fn the_guide_names_every_parameter_and_every_value_in_use() {
        let guide = include_str!("../../../docs/profiles.md");
        for name in Profile::names() {
            for Parameter { path, value, .. } in Profile::builtin(name).unwrap().parameters {
                let key = path.rsplit('.').next().unwrap_or_default();
                assert!(guide.contains(&format!("`{key}`")), "{name}: the guide does not name {path}");
                if let Some(word) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
                    assert!(guide.contains(&format!("`{word}`")), "{name}: the guide does not name {path} = {value}");
                }
            }
        }
    }

    #[test]
    fn bare_values_do() {
        let text = Profile::builtin_text("rfc4787").unwrap();
        let line = text.lines().find(|line| line.starts_with("hairpin")).unwrap();
        let profile = Profile::parse(&text.replace(line, "hairpin = \"drop\"")).unwrap();
        assert_eq!(profile.behaviour.hairpin, crate::behaviour::Hairpin::Drop);
        let parameter = profile.parameters.iter().find(|parameter| parameter.path == "hairpin").unwrap();
        assert_eq!((parameter.value.as_str(), parameter.confidence), ("\"drop\"", None));
    }
}
