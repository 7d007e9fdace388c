//! `--format`: docker's `json`, `table TEMPLATE`, and the plain fields of Go templates.
//!
//! Members have docker's names (docs.docker.com, Format command and log output). An action is a field, a text, or a function of
//! these: what needs a pipe, a loop or a condition is left to jq, and refused by its name.

use std::collections::BTreeMap;
use std::io::Write;

use cowlab_units::Timestamp;
use serde_json::{Map, Value};

use crate::exit::{self, Stop};
use crate::table;

// `--format` of a list.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ListFormat {
    /// Print `json`, an object a line; `table TEMPLATE`, columns under their names; or a Go template, such as `{{.ID}}`.
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true,
          value_parser = of_list, conflicts_with = "json")]
    pub format: Format,
}

// `--format` of what is one document.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ObjectFormat {
    /// Print `json`, on one line; or a Go template, such as `{{.State.Status}}`.
    #[arg(long, short, value_name = "FORMAT", default_value = "", hide_default_value = true, value_parser = of_object)]
    pub format: Format,
}

/// What `--format` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// What is printed without it.
    Default,
    /// JSON.
    Json,
    /// A template under a line of column names.
    Table(Template),
    /// A template.
    Template(Template),
}

/// Texts and the actions between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Action(Expression),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Text(String),
    Number(usize),
    /// `.A.B`; without names, all of it.
    Field(Vec<String>),
    /// `.Label "name"`, which docker's lists have.
    Label(String),
    Call(Function, Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Json,
    Index,
    Len,
    Lower,
    Upper,
}

const FUNCTIONS: [(&str, Function); 5] = [
    ("json", Function::Json),
    ("index", Function::Index),
    ("len", Function::Len),
    ("lower", Function::Lower),
    ("upper", Function::Upper),
];

/// A member of a list's objects: docker's name, and that of its column.
pub(crate) type Column = (&'static str, &'static str);

/// An object of a list.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its members, texts all of them, as docker's are.
    pub fields: Value,
    /// What `.Label "name"` looks into, where docker has it.
    pub labels: Option<BTreeMap<String, String>>,
}

/// What `.Label` means.
#[derive(Clone, Copy)]
enum Labels<'a> {
    /// Nothing.
    None,
    /// A label of these.
    Of(&'a BTreeMap<String, String>),
    /// The name of its column: the template is a header.
    Header,
}

fn of_list(text: &str) -> Result<Format, String> {
    // docker/cli, cli/command/formatter: the two escapes are replaced in all of the text.
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    match text.as_str() {
        "" | "table" => Ok(Format::Default),
        "json" => Ok(Format::Json),
        "raw" => {
            Err("`raw` is not supported: `json`, `table TEMPLATE` and templates are".to_owned())
        }
        _ => match text.strip_prefix("table") {
            Some(columns) => Template::parse(columns.trim_matches(' ')).map(Format::Table),
            None => Template::parse(&text).map(Format::Template),
        },
    }
}

/// docker replaces no escapes in what is no list.
fn of_object(text: &str) -> Result<Format, String> {
    match text {
        "" => Ok(Format::Default),
        "json" => Ok(Format::Json),
        _ => Template::parse(text).map(Format::Template),
    }
}

impl Format {
    /// Whether what is printed without `--format` is wanted.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Default
    }

    /// Whether a template shows this field of a list's objects: what is costly is measured then.
    pub(crate) fn shows(&self, field: &str) -> bool {
        let (Self::Table(template) | Self::Template(template)) = self else {
            return false;
        };
        template.0.iter().any(|piece| match piece {
            Piece::Action(expression) => expression.shows(field),
            Piece::Text(_) => false,
        })
    }

    /// Prints the objects of a list, where [`Format::Default`] is not asked for.
    ///
    /// # Errors
    ///
    /// [`Stop`] for a field that does not exist, whether there are objects or not; and when stdout is closed.
    pub(crate) fn list(
        &self,
        out: &mut impl Write,
        columns: &[Column],
        rows: &[Row],
    ) -> anyhow::Result<()> {
        let (Self::Table(template) | Self::Template(template)) = self else {
            for row in rows {
                writeln!(out, "{}", row.fields)?;
            }
            return Ok(());
        };
        let header: Map<_, _> = columns
            .iter()
            .map(|(field, column)| ((*field).to_owned(), Value::from(*column)))
            .collect();
        let has_labels = columns.iter().any(|(field, _)| *field == "Labels");
        let labels = if has_labels {
            Labels::Header
        } else {
            Labels::None
        };
        let header = template.render(&header.into(), labels)?;
        let mut lines = Vec::new();
        for row in rows {
            let labels = row.labels.as_ref().map_or(Labels::None, Labels::Of);
            lines.push(template.render(&row.fields, labels)?);
        }
        if let Self::Template(_) = self {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            return Ok(());
        }
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = lines
            .iter()
            .flat_map(|line| line.split('\n'))
            .map(cells)
            .collect();
        Ok(table::write(
            out,
            &header.split('\t').collect::<Vec<_>>(),
            &rows,
        )?)
    }

    /// Prints documents: as an array, or line by line.
    ///
    /// # Errors
    ///
    /// [`Stop`] for a field that does not exist; and when stdout is closed.
    pub(crate) fn documents(&self, out: &mut impl Write, all: &[Value]) -> anyhow::Result<()> {
        match self {
            Self::Table(template) | Self::Template(template) => {
                for document in all {
                    writeln!(out, "{}", template.render(document, Labels::None)?)?;
                }
            }
            Self::Default => writeln!(out, "{}", serde_json::to_string_pretty(all)?)?,
            Self::Json => writeln!(out, "{}", serde_json::to_string(all)?)?,
        }
        Ok(())
    }

    /// Prints one document, where [`Format::Default`] is not asked for.
    pub(crate) fn document(&self, out: &mut impl Write, document: &Value) -> anyhow::Result<()> {
        match self {
            Self::Json => Ok(writeln!(out, "{document}")?),
            _ => self.documents(out, std::slice::from_ref(document)),
        }
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (tokens, after) = tokens(after)?;
            pieces.push(Piece::Action(Expression::parse(&tokens)?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    fn render(&self, data: &Value, labels: Labels<'_>) -> anyhow::Result<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Action(expression) => {
                    let value = expression.value(data, labels).map_err(|reason| Stop {
                        code: exit::USAGE,
                        message: format!("--format: {reason}"),
                    })?;
                    text.push_str(&printed(&value));
                }
            }
        }
        Ok(text)
    }
}

#[derive(Debug)]
enum Token {
    Text(String),
    Word(String),
}

/// Reads an action up to its end; the rest is returned.
fn tokens(text: &str) -> Result<(Vec<Token>, &str), String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after));
        }
        let end = match rest.chars().next() {
            None => return Err("an action that `{{` begins has no `}}`".to_owned()),
            Some('"') => {
                let mut read = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                match read.next() {
                    Some(Ok(text)) => tokens.push(Token::Text(text)),
                    _ => return Err("a text that `\"` begins does not end".to_owned()),
                }
                read.byte_offset()
            }
            Some('`') => match rest[1..].split_once('`') {
                Some((text, _)) => {
                    tokens.push(Token::Text(text.to_owned()));
                    text.len() + 2
                }
                None => return Err("a text that '`' begins does not end".to_owned()),
            },
            Some('|') => return Err(refusal("|")),
            Some(c @ ('(' | ')')) => return Err(refusal(&c.to_string())),
            Some(_) => {
                let is_end = |c: char| c.is_whitespace() || "\"`|()}".contains(c);
                let end = rest.find(is_end).unwrap_or(rest.len()).max(1);
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[end..].trim_start();
    }
}

fn refusal(word: &str) -> String {
    let functions: Vec<_> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
    format!(
        "`{word}` is not supported in a template: fields such as `.A.B` are, and {} of them; `json` with jq does the rest",
        functions.join(", ")
    )
}

impl Expression {
    fn parse(tokens: &[Token]) -> Result<Self, String> {
        let Some((first, rest)) = tokens.split_first() else {
            return Err("an action has nothing in it".to_owned());
        };
        let Token::Word(word) = first else {
            return match rest {
                [] => Self::operand(first),
                _ => Err("a text takes no arguments".to_owned()),
            };
        };
        if let Some((name, function)) = FUNCTIONS.iter().find(|(name, _)| name == word) {
            let operands: Vec<_> = rest.iter().map(Self::operand).collect::<Result<_, _>>()?;
            let fits = match function {
                Function::Index => operands.len() >= 2,
                _ => operands.len() == 1,
            };
            return match fits {
                true => Ok(Self::Call(*function, operands)),
                false => Err(format!("wrong number of arguments for `{name}`")),
            };
        }
        match (word.as_str(), rest) {
            (".Label", [Token::Text(name)]) => Ok(Self::Label(name.clone())),
            (_, []) => Self::operand(first),
            (word, _) if word.starts_with('.') => Err(format!("`{word}` takes no arguments")),
            (word, _) => Err(refusal(word)),
        }
    }

    fn operand(token: &Token) -> Result<Self, String> {
        let word = match token {
            Token::Text(text) => return Ok(Self::Text(text.clone())),
            Token::Word(word) => word,
        };
        if let Ok(number) = word.parse() {
            return Ok(Self::Number(number));
        }
        match word.strip_prefix('.') {
            Some("") => Ok(Self::Field(Vec::new())),
            Some(path) => {
                let names: Vec<_> = path.split('.').map(str::to_owned).collect();
                let is_name = |name: &String| {
                    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                };
                match names.iter().all(is_name) {
                    true => Ok(Self::Field(names)),
                    false => Err(format!(
                        "`{word}` is no field: a name with other than letters and digits is written `index .A \"name\"`"
                    )),
                }
            }
            None => Err(refusal(word)),
        }
    }

    fn shows(&self, field: &str) -> bool {
        match self {
            Self::Field(path) => path.first().is_none_or(|name| name == field),
            Self::Call(_, operands) => operands.iter().any(|operand| operand.shows(field)),
            _ => false,
        }
    }

    fn value(&self, data: &Value, labels: Labels<'_>) -> Result<Value, String> {
        Ok(match (self, labels) {
            (Self::Text(text), _) => Value::from(text.as_str()),
            (Self::Number(number), _) => Value::from(*number),
            (Self::Field(path), _) => field(data, path)?.clone(),
            (Self::Label(_), Labels::None) => field(data, &["Label".to_owned()])?.clone(),
            (Self::Label(name), Labels::Of(all)) => {
                Value::from(all.get(name).map_or("", String::as_str))
            }
            // docker/cli, cli/command/formatter, SubHeaderContext.Label.
            (Self::Label(name), Labels::Header) => {
                let last = name.rsplit('.').next().unwrap_or_default();
                Value::from(last.replace(['-', '_'], " "))
            }
            (Self::Call(function, operands), _) => {
                let values: Result<Vec<_>, _> = operands
                    .iter()
                    .map(|operand| operand.value(data, labels))
                    .collect();
                let values = values?;
                match (labels, values.split_first()) {
                    (Labels::Header, Some((first, _))) => first.clone(),
                    (_, Some((first, rest))) => function.call(first, rest)?,
                    (_, None) => Value::Null,
                }
            }
        })
    }
}

impl Function {
    fn call(self, value: &Value, keys: &[Value]) -> Result<Value, String> {
        Ok(match self {
            Self::Json => Value::from(value.to_string()),
            Self::Lower => Value::from(printed(value).to_lowercase()),
            Self::Upper => Value::from(printed(value).to_uppercase()),
            Self::Len => Value::from(match value {
                Value::Array(all) => all.len(),
                Value::Object(members) => members.len(),
                Value::String(text) => text.len(),
                Value::Null => 0,
                other => return Err(format!("`len` of {other}, which has no length")),
            }),
            Self::Index => {
                let mut found = value.clone();
                for key in keys {
                    found = indexed(&found, key)?;
                }
                found
            }
        })
    }
}

/// What is at a key; a map of texts has an empty one at a key that it lacks, as Go's have.
fn indexed(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Object(members), Value::String(key)) => {
            Ok(members.get(key).cloned().unwrap_or_else(|| Value::from("")))
        }
        (Value::Null, Value::String(_)) => Ok(Value::from("")),
        (Value::Array(all), Value::Number(number)) => {
            let place = number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            let found = place.and_then(|place| all.get(place));
            found
                .cloned()
                .ok_or_else(|| format!("index {number} is out of range: there are {}", all.len()))
        }
        _ => Err(format!("`index` cannot look up {key} in {value}")),
    }
}

fn field<'a>(data: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    let mut found = data;
    for (depth, name) in path.iter().enumerate() {
        let here = || match depth {
            0 => String::new(),
            _ => format!(" in `.{}`", path[..depth].join(".")),
        };
        found = match found {
            Value::Object(members) => members.get(name).ok_or_else(|| {
                let all: Vec<_> = members.keys().map(String::as_str).collect();
                match all.as_slice() {
                    [] => format!("there is no field `{name}`{}, which is empty", here()),
                    all => format!(
                        "there is no field `{name}`{}: there are {}",
                        here(),
                        all.join(", ")
                    ),
                }
            })?,
            other => {
                return Err(format!(
                    "there is no field `{name}`{}, which is {other}",
                    here()
                ));
            }
        };
    }
    Ok(found)
}

/// A value as Go prints it (pkg.go.dev/fmt, `%v`): `[a b]`, `map[a:1 b:2]`.
fn printed(value: &Value) -> String {
    fn inner(value: &Value) -> String {
        match value {
            Value::Null => "<nil>".to_owned(),
            other => printed(other),
        }
    }
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => {
            let all: Vec<_> = all.iter().map(inner).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Object(members) => {
            let mut all: Vec<_> = members.iter().collect();
            all.sort_by_key(|(name, _)| *name);
            let all: Vec<_> = all
                .into_iter()
                .map(|(name, value)| format!("{name}:{}", inner(value)))
                .collect();
            format!("map[{}]", all.join(" "))
        }
        other => other.to_string(),
    }
}

/// Sets members of an object that are absent or null: Go has empty values there.
pub(crate) fn fill<const N: usize>(object: &mut Value, members: [(&str, Value); N]) {
    for (name, empty) in members {
        if object[name].is_null() {
            object[name] = empty;
        }
    }
}

/// A moment as Go prints it.
pub(crate) fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    let part = |range| text.get(range).unwrap_or_default();
    format!("{} {} +0000 UTC", part(0..10), part(11..19))
}

/// Labels as docker's lists have them.
pub(crate) fn labels(all: &BTreeMap<String, String>) -> String {
    let all: Vec<_> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str, data: &Value) -> Result<String, String> {
        let template = Template::parse(template)?;
        template
            .render(data, Labels::None)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn templates_print_what_go_prints() {
        let data = json!({
            "Id": "x", "State": {"Status": "up", "Code": null}, "Env": ["A=1", "B=2"], "On": true,
            "Labels": {"a.b/c": "d", "e": "}}"}, "Mounts": [{"Name": "n", "Other": null}],
        });
        for (template, wanted) in [
            ("{{.Id}}-{{ .State.Status }}", "x-up"),
            (
                "{{.Env}} {{.On}} {{.State.Code}}",
                "[A=1 B=2] true <no value>",
            ),
            ("{{json .State}}", r#"{"Code":null,"Status":"up"}"#),
            ("{{index .Labels \"a.b/c\"}}{{index .Labels `e`}}", "d}}"),
            ("<{{index .Labels \"none\"}}>{{\"}}\"}}", "<>}}"),
            (
                "{{index .Env 1}} {{index .Mounts 0 \"Name\"}} {{len .Env}}",
                "B=2 n 2",
            ),
            ("{{upper .Id}}{{lower \"A\"}}\\t", "Xa\\t"),
            ("{{.Mounts}}", "[map[Name:n Other:<nil>]]"),
            ("plain", "plain"),
        ] {
            assert_eq!(
                rendered(template, &data).as_deref(),
                Ok(wanted),
                "{template}"
            );
        }
        for (template, word) in [
            ("{{.Nothing}}", "`Nothing`: there are Env, Id,"),
            ("{{.State.Nothing}}", "in `.State`: there are Code, Status"),
            ("{{.Id.Nothing}}", "which is \"x\""),
            ("{{range .Env}}{{.}}{{end}}", "`range` is not supported"),
            ("{{if .On}}", "`if` is not supported"),
            ("{{.Env | json}}", "`|` is not supported"),
            ("{{json (index .Env 0)}}", "`(` is not supported"),
            ("{{$x := 1}}", "`$x` is not supported"),
            ("{{join .Env}}", "`join` is not supported"),
            ("{{.Id .Id}}", "takes no arguments"),
            ("{{json}}", "number of arguments"),
            ("{{.Id", "no `}}`"),
            ("{{.Id}", "no `}}`"),
            ("{{index .Labels \"a}}", "does not end"),
            ("{{}}", "nothing in it"),
            ("{{.Labels.a-b}}", "index .A"),
            ("{{index .Env 2}}", "there are 2"),
        ] {
            let said = rendered(template, &data).unwrap_err();
            assert!(said.contains(word), "{template}: {said}");
        }
    }

    #[test]
    fn lists_have_headers_and_labels() {
        let columns = [("ID", "CONTAINER ID"), ("Labels", "LABELS")];
        let row = Row {
            fields: json!({"ID": "1", "Labels": "a.b-c=d"}),
            labels: Some([("a.b-c".to_owned(), "d".to_owned())].into()),
        };
        let printed = |format: &str| {
            let mut out = Vec::new();
            let format = of_list(format).unwrap();
            let done = format.list(&mut out, &columns, std::slice::from_ref(&row));
            done.map(|()| String::from_utf8(out).unwrap())
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            printed("json").unwrap(),
            "{\"ID\":\"1\",\"Labels\":\"a.b-c=d\"}\n"
        );
        assert_eq!(printed("{{.ID}}\\t{{.Label \"a.b-c\"}}").unwrap(), "1\td\n");
        let wanted = "CONTAINER ID   b c\n1              d\n";
        assert_eq!(
            printed("table {{.ID}}\\t{{.Label \"a.b-c\"}}").unwrap(),
            wanted
        );
        assert!(printed("{{.Id}}").unwrap_err().contains("ID, Labels"));
        assert!(of_list("raw").is_err());
    }
}
