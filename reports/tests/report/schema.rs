//! The published JSON Schema holds for what is written.

use cowlab_reports::result::{Column, JSON_SCHEMA, Line, Record};
use serde_json::{Value, json};

use crate::synthetic;

/// Checks a value against the parts of JSON Schema that the published one uses; says where it does not hold.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fail = |what: String| Err(format!("{at}: {what}"));
    let Some(rules) = schema.as_object() else {
        return fail(format!("`{schema}` is no schema"));
    };
    for (keyword, rule) in rules {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "format" => true,
            "$ref" => {
                let path = rule.as_str().unwrap_or_default().trim_start_matches('#');
                let Some(target) = root.pointer(path) else {
                    return fail(format!("`{rule}` leads nowhere"));
                };
                check(root, target, value, at)?;
                true
            }
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|list| list.contains(value)),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|rule| is(value, rule)),
                rule => is(value, rule),
            },
            "minimum" => value.as_f64() >= rule.as_f64(),
            "required" => rule
                .as_array()
                .is_some_and(|names| names.iter().all(|name| has(value, name))),
            "properties" | "additionalProperties" => {
                members(root, schema, value, at)?;
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{at}/{index}"))?;
                }
                true
            }
            "oneOf" => {
                let alternatives = rule.as_array().into_iter().flatten();
                let results: Vec<_> = alternatives
                    .map(|alternative| check(root, alternative, value, at))
                    .collect();
                let matching = results.iter().filter(|result| result.is_ok()).count();
                if matching != 1 {
                    return fail(format!("{matching} alternatives match: {results:?}"));
                }
                true
            }
            other => return fail(format!("the check does not know `{other}`")),
        };
        if !holds {
            return fail(format!("`{keyword}` {rule} does not hold for {value}"));
        }
    }
    Ok(())
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        _ => false,
    }
}

fn has(value: &Value, name: &Value) -> bool {
    name.as_str().is_some_and(|name| value.get(name).is_some())
}

/// Every member by its own rule, else by the rule for all others.
fn members(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (name, member) in value.as_object().into_iter().flatten() {
        let own = schema.get("properties").and_then(|rules| rules.get(name));
        if let Some(rule) = own.or(schema.get("additionalProperties")) {
            check(root, rule, member, &format!("{at}/{name}"))?;
        }
    }
    Ok(())
}

fn records() -> Vec<Record> {
    let mut set = synthetic::full();
    let failed = synthetic::failure(Column::new("overlay2", "ext4"));
    set.merge(synthetic::set([failed], "run", 0));
    set.records().to_vec()
}

#[test]
fn every_line_that_is_written_is_valid() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    for record in records() {
        let value = serde_json::to_value(&record).unwrap();
        check(&schema, &schema, &value, "").unwrap();
    }
}

#[test]
fn the_schema_knows_every_field_that_is_written() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let known = |part: &str, name: &str| schema["$defs"][part]["properties"].get(name).is_some();
    for record in records() {
        let value = serde_json::to_value(&record).unwrap();
        let kind = value["kind"].as_str().unwrap().to_owned();
        let top = schema["properties"].as_object().unwrap();
        for name in value.as_object().unwrap().keys() {
            assert!(
                top.contains_key(name) || known(&kind, name),
                "{kind}: {name}"
            );
        }
        if let Line::Environment = record.line {
            let facts = value["environment"]["facts"].as_object().unwrap();
            for name in facts.keys() {
                assert!(known("environment", name), "environment: {name}");
            }
        }
    }
}

#[test]
fn wrong_lines_are_not_valid() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let record = records()
        .into_iter()
        .find(|record| matches!(record.line, Line::Outcome(_)))
        .unwrap();
    let good = serde_json::to_value(&record).unwrap();
    let invalid = |change: &dyn Fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(check(&schema, &schema, &bad, "").is_err(), "{bad}");
    };
    invalid(&|bad| bad["schema"] = json!(2));
    invalid(&|bad| bad["kind"] = json!("series"));
    invalid(&|bad| bad["status"] = json!("green"));
    invalid(&|bad| bad["column"]["media"] = json!("paper"));
    invalid(&|bad| {
        bad.as_object_mut().unwrap().remove("repeat");
    });
}

#[test]
fn only_the_named_fields_may_differ_between_two_deterministic_runs() {
    let stripped = |run: &str, now: u64, cores: u32| -> Vec<Value> {
        let mut environment = synthetic::environment();
        environment.cores = cores;
        synthetic::set(synthetic::outcomes(), run, now)
            .records()
            .iter()
            .cloned()
            .map(|mut record| {
                let introduced = record.environment.facts.is_some();
                record.environment = environment.introduce();
                record.environment.facts = record.environment.facts.filter(|_| introduced);
                let mut value = serde_json::to_value(&record).unwrap();
                let fields = value.as_object_mut().unwrap();
                for name in ["environment", "started", "finished", "run", "commit"] {
                    fields.remove(name);
                }
                value
            })
            .collect()
    };
    assert_eq!(stripped("one", 1000, 2), stripped("two", 5_000_000, 64));
}
