//! A JSON schema as a reference in Markdown: a section for each type, a row for each field or value.

use std::fmt::Write as _;

use serde_json::Value;

/// Sections for the root type and for every type that it leads to, each once, in the order in which a reader meets them.
pub(crate) fn sections(schema: &Value) -> String {
    let root = schema["title"].as_str().unwrap();
    let mut names = vec![root.to_owned()];
    let mut page = String::new();
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        let definition = if name == root { schema } else { &schema["$defs"][&name] };
        let _ = writeln!(page, "### {name}\n\n{}\n", description(definition));
        body(&mut page, definition);
        for found in references(definition, name == root) {
            if !names.contains(&found) {
                names.push(found);
            }
        }
        next += 1;
    }
    page.trim_end().to_owned() + "\n"
}

/// Every property of every type.
pub(crate) fn property_names(schema: &Value) -> Vec<String> {
    let mut names: Vec<String> = match schema {
        Value::Object(object) => {
            let own = object.get("properties").and_then(Value::as_object);
            let own = own.into_iter().flat_map(|properties| properties.keys().cloned());
            own.chain(object.values().flat_map(property_names)).collect()
        }
        Value::Array(items) => items.iter().flat_map(property_names).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    names
}

fn body(page: &mut String, definition: &Value) {
    if definition["properties"].is_object() {
        page.push_str("| field | type | meaning |\n|---|---|---|\n");
        for (name, field) in fields(definition) {
            let _ = writeln!(page, "| `{name}` | {} | {} |", kind(field), description(field));
        }
        page.push('\n');
    } else if let Some(alternatives) = alternatives(definition) {
        page.push_str("| value | meaning |\n|---|---|\n");
        for alternative in alternatives {
            let mut meaning = vec![description(alternative)];
            explain(alternative, &mut meaning);
            let meaning: Vec<String> = meaning.into_iter().filter(|text| !text.is_empty()).collect();
            let _ = writeln!(page, "| {} | {} |", kind(alternative), meaning.join(" "));
        }
        page.push('\n');
    } else {
        let _ = writeln!(page, "A {}.\n", kind(definition));
    }
}

/// What the fields within an alternative mean, however deep.
fn explain(alternative: &Value, meaning: &mut Vec<String>) {
    for (name, field) in fields(alternative) {
        let text = description(field);
        if !text.is_empty() {
            meaning.push(format!("`{name}`: {text}"));
        }
        explain(field, meaning);
    }
}

/// Those that are always there in the order of the program, then the others.
fn fields(definition: &Value) -> Vec<(String, &Value)> {
    let Some(properties) = definition["properties"].as_object() else { return Vec::new() };
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let others = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
    required.iter().copied().chain(others).map(|name| (name.to_owned(), &properties[name])).collect()
}

fn alternatives(definition: &Value) -> Option<&Vec<Value>> {
    definition["oneOf"].as_array().or_else(|| definition["anyOf"].as_array())
}

fn kind(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(alternatives) = alternatives(schema) {
        return alternatives.iter().map(kind).collect::<Vec<String>>().join(" or ");
    }
    match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<&str>>().join(" or "),
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(name) if name == "object" => {
            let inner: Vec<String> =
                fields(schema).iter().map(|(name, field)| format!("`{name}`: {}", kind(field))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Value::String(name) => name.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            panic!("no word for the type of {schema}")
        }
    }
}

/// Types that a definition leads to, in the order of its fields.
fn references(definition: &Value, is_root: bool) -> Vec<String> {
    let mut found: Vec<String> = reference(definition).into_iter().collect();
    for (_, field) in fields(definition) {
        found.extend(references(field, false));
    }
    let inner = ["oneOf", "anyOf"].into_iter().filter_map(|key| definition[key].as_array()).flatten();
    found.extend(inner.flat_map(|schema| references(schema, false)));
    if !is_root && definition["items"].is_object() {
        found.extend(references(&definition["items"], false));
    }
    found
}

fn reference(schema: &Value) -> Option<String> {
    Some(schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?.to_owned())
}

/// A doc comment as one line, for a cell of a table.
fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    // Links to Rust items lead nowhere here.
    words.join(" ").replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}
