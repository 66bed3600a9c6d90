//! Whether results carry what the RFCs want reported: the tables of docs/methodology.md are the list, the files of bench-configs are what is
//! run, in memory, with rates and durations that any machine holds.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::harness::Outcome;
use crate::support::place::Place;

const METHODOLOGY: &str = include_str!("../../docs/methodology.md");

/// Where the tables begin.
const HEADING: &str = "## What the RFCs want reported";

/// What makes each file small: section and key, and the value instead.
const RFC9693: &[(&str, &str, &str)] = &[
    ("tuples", "connections", "200"),
    ("establishment", "min_pps", "20_000"),
    ("establishment", "max_pps", "40_000"),
    ("establishment", "error", "0.5"),
    ("phase2", "trial_ms", "10"),
    ("phase2", "error", "0.5"),
    ("phase2", "loss_step", "0.1"),
    ("phase2", "latency_ms", "350"),
    ("tear_down", "connections", "[2000]"),
    ("scaling", "connections", "[100, 200]"),
    ("processors", "counts", "[1]"),
    ("capacity", "initial", "200"),
    ("capacity", "maximum", "800"),
    ("capacity", "error", "200"),
    ("", "repetitions", "1"),
    ("", "confirm", "4"),
    ("limits", "send_lag_p99_us", "4_000_000"),
    ("limits", "overrun", "0.5"),
    ("limits", "max_retries", "10"),
    ("limits", "disturbed", "10.0"),
];
const RATES: &[(&str, &str, &str)] = &[
    ("traffic", "frame_size", "[64, 1518]"),
    ("traffic", "flows", "64"),
    ("measure", "rounds", "1"),
    ("measure", "trial_ms", "50"),
    ("measure", "latency_ms", "600"),
    ("measure.search", "min_pps", "24_000"),
    ("measure.search", "max_pps", "48_000"),
    ("measure.search", "width", "0.5"),
    ("measure.search", "initial_trial_ms", "50"),
    ("measure.search", "duration_sum_ms", "50"),
    ("measure.search", "budget_s", "5"),
    ("limits", "send_lag_p99_us", "4_000_000"),
    ("limits", "overrun", "0.5"),
    ("limits", "max_retries", "10"),
    ("limits", "disturbed", "10.0"),
];

/// How often a file is run, at most.
const ATTEMPTS: u32 = 4;

/// A row of a table.
struct Field<'a> {
    asked_for: &'a str,
    files: Vec<&'a str>,
    path: &'a str,
    value: &'a str,
    words: &'a str,
}

pub(crate) fn every_field(place: &Place<'_>) -> Outcome {
    let fields = fields();
    assert!(fields.len() > 40, "{} rows: has the table another form?", fields.len());
    let mut files: Vec<&str> = fields.iter().flat_map(|field| field.files.iter().copied()).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let own: Vec<&Field<'_>> = fields.iter().filter(|field| field.files.contains(&file)).collect();
        // A machine that stalls leaves a figure without a value: then once more.
        let mut missing = Vec::new();
        for _ in 0..ATTEMPTS {
            let (result, page) = run(place, file);
            missing = own.iter().filter_map(|field| field.missing(&result, &page)).collect();
            if missing.is_empty() {
                break;
            }
        }
        assert!(missing.is_empty(), "{file}:\n{}", missing.join("\n"));
    }
    Ok(())
}

impl Field<'_> {
    /// What is wrong with it in a result and on its page.
    fn missing(&self, result: &Value, page: &str) -> Option<String> {
        let found = select(result, self.path);
        let odd = found.iter().find(|value| !is_plausible(value, self.value));
        let what = match odd {
            _ if found.is_empty() => "not there".to_owned(),
            Some(value) => format!("{value} is not {}", self.value),
            None if !page.contains(self.words) => format!("no “{}” in\n{page}", self.words),
            None => return None,
        };
        Some(format!("{}, {}: {what}", self.asked_for, self.path))
    }
}

fn fields() -> Vec<Field<'static>> {
    let tables = &METHODOLOGY[METHODOLOGY.find(HEADING).unwrap()..];
    let rows = tables.lines().filter(|line| line.starts_with("| ") && line.contains("| `/"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let &[asked_for, files, path, value, words] = &cells[..] else { panic!("five columns: {row}") };
        let code = |cell: &'static str| cell.trim_matches('`');
        Field { asked_for, files: files.split(", ").collect(), path: code(path), value, words: code(words) }
    })
    .collect()
}

/// The result of a file of bench-configs, made small, in memory, and its page.
fn run(place: &Place<'_>, name: &str) -> (Value, String) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../bench-configs/{name}.toml"));
    let text = fs::read_to_string(&shipped).unwrap_or_else(|error| panic!("{}: {error}", shipped.display()));
    let smaller = if text.contains("test = \"rfc9693\"") { RFC9693 } else { RATES };
    let text = smaller.iter().fold(text, |text, (section, key, value)| with(&text, section, key, value));
    let file = format!("{name}.toml");
    place.file(&file, &text);
    let ended = place.run(["run", file.as_str(), "--link", "memory", "--design", "gateway", "--out", name]);
    // A trial that a stall has spoiled is code 4, and said.
    assert!(matches!(ended.code, Some(0 | 4)), "{name}: {ended}");
    let result = fs::read_to_string(place.join(&format!("{name}/result.json"))).unwrap();
    // Words of a table are wrapped at a terminal; on the other page each row is a line.
    let markdown = fs::read_to_string(place.join(&format!("{name}/summary.md"))).unwrap();
    (serde_json::from_str(&result).unwrap(), format!("{}\n{markdown}", ended.stdout))
}

/// The text with another value for a key, which stands in its section or at the end of that.
fn with(text: &str, section: &str, key: &str, value: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let header = format!("[{section}]");
    let begins = if section.is_empty() { Some(0) } else { lines.iter().position(|line| line.starts_with(&header)) };
    let Some(begins) = begins else { return format!("{text}\n{header}\n{key} = {value}\n") };
    let first = begins + usize::from(!section.is_empty());
    let ends = lines[first..].iter().position(|line| line.starts_with('[')).map_or(lines.len(), |at| first + at);
    let line = format!("{key} = {value}");
    match lines[first..ends].iter().position(|old| old.starts_with(&format!("{key} = "))) {
        Some(at) => lines[first + at] = line,
        None => lines.insert(first, line),
    }
    lines.join("\n") + "\n"
}

/// What a path leads to.
fn select<'a>(from: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![from];
    for step in path.trim_start_matches('/').split('/') {
        found = found
            .into_iter()
            .flat_map(|value| match (value, step.strip_prefix('[').and_then(|step| step.strip_suffix(']'))) {
                (Value::Array(all), None) if step == "*" => all.iter().collect(),
                (Value::Array(all), Some(condition)) => {
                    let (key, wanted) = condition.split_once('=').unwrap();
                    all.iter().filter(|each| each[key] == wanted).collect()
                }
                (value, _) => value.get(step).into_iter().collect::<Vec<&Value>>(),
            })
            .collect();
    }
    found
}

fn is_plausible(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix(" or none") {
        return value.is_null() || is_plausible(value, kind);
    }
    let number = value.as_f64();
    let is = |holds: fn(f64) -> bool| number.is_some_and(|number| number.is_finite() && holds(number));
    match kind {
        "above 0" => is(|number| number > 0.0),
        "above 500" => is(|number| number > 500.0),
        "at least 0" => is(|number| number >= 0.0),
        "share" => is(|number| number > 0.0 && number <= 1.0),
        "percent" => is(|number| (0.0..=100.0).contains(&number)),
        "text" => value.as_str().is_some_and(|text| !text.is_empty()),
        other => panic!("a value that is {other}?"),
    }
}
