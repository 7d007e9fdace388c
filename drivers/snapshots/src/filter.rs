//! Filters of a list of snapshots, in containerd's language.
//!
//! ```text
//! filter    := selector ("," selector)*          every selector matches
//! selector  := fieldpath (operator value)?       without an operator: there is such a field
//! fieldpath := field ("." field)*                name, parent, kind, labels.NAME
//! field     := quoted | letter (letter | digit | "_")*
//! operator  := "==" | "!=" | "~="                equal, not equal, matches the regular expression
//! value     := quoted | [^\s,]+
//! ```
//!
//! Quotes are `"` and `'`, in which a backslash escapes, and for regular expressions also `/` and `|`, in which it is the
//! expression's own. Unlike containerd, which lets an unknown field match nothing, it is an error here.

use regex::Regex;

use crate::{Error, Info, Result};

/// Filters of which one at least has to match; none match everything.
#[derive(Debug, Clone, Default)]
pub struct Filters(Vec<Vec<Selector>>);

impl Filters {
    /// Reads filters.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidFilter`], with the column of what is wrong.
    pub fn parse<T: AsRef<str>>(filters: &[T]) -> Result<Self> {
        let parse = |filter: &T| Parser::new(filter.as_ref()).filter();
        filters.iter().map(parse).collect::<Result<_>>().map(Self)
    }

    /// Whether a snapshot is one of those that are asked for.
    #[must_use]
    pub fn match_info(&self, info: &Info) -> bool {
        let fits = |filter: &Vec<Selector>| filter.iter().all(|selector| selector.fits(info));
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

#[derive(Debug, Clone)]
struct Selector {
    field: Field,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Selector {
    fn fits(&self, info: &Info) -> bool {
        let value = match &self.field {
            Field::Name => Some(info.key.as_str()),
            Field::Parent => info.parent.as_deref(),
            Field::Kind => Some(info.kind.word()),
            Field::Label(name) => info.labels.get(name).map(String::as_str),
        };
        match &self.test {
            Test::Present => value.is_some(),
            // `parent==` asks for those that have none.
            Test::Equal(wanted) => value.unwrap_or_default() == wanted && !self.is_absent(value),
            Test::NotEqual(other) => value.unwrap_or_default() != other,
            Test::Matches(expression) => expression.is_match(value.unwrap_or_default()),
        }
    }

    /// Whether the snapshot has no such label: then its value equals nothing, not even the empty text.
    fn is_absent(&self, value: Option<&str>) -> bool {
        value.is_none() && matches!(self.field, Field::Label(_))
    }
}

struct Parser<'a> {
    filter: &'a str,
    /// The characters not read yet, with their columns, which count from 1.
    rest: std::iter::Peekable<std::iter::Zip<std::ops::RangeFrom<usize>, std::str::Chars<'a>>>,
}

impl<'a> Parser<'a> {
    fn new(filter: &'a str) -> Self {
        Self {
            filter,
            rest: (1..).zip(filter.chars()).peekable(),
        }
    }

    fn filter(mut self) -> Result<Vec<Selector>> {
        let mut selectors = Vec::new();
        self.skip_spaces();
        // containerd lets an empty filter match everything.
        while self.peek().is_some() || !selectors.is_empty() {
            selectors.push(self.selector()?);
            self.skip_spaces();
            match self.peek() {
                None => break,
                Some(',') => drop(self.rest.next()),
                Some(_) => {
                    let column = self.column();
                    return Err(self.wrong(column, "a comma ends a selector"));
                }
            }
            self.skip_spaces();
        }
        Ok(selectors)
    }

    fn selector(&mut self) -> Result<Selector> {
        let field = self.field_path()?;
        self.skip_spaces();
        if matches!(self.peek(), None | Some(',')) {
            let test = Test::Present;
            return Ok(Selector { field, test });
        }
        let column = self.column();
        let operator: String =
            std::iter::from_fn(|| self.take_if(|c| "=!~<>".contains(c))).collect();
        self.skip_spaces();
        let value_column = self.column();
        let test = match operator.as_str() {
            "==" => Test::Equal(self.value(&['"', '\''])?),
            "!=" => Test::NotEqual(self.value(&['"', '\''])?),
            "~=" => {
                let text = self.value(&['"', '\'', '/', '|'])?;
                Test::Matches(Regex::new(&text).map_err(|error| {
                    // The last line of what it says is the reason; the others repeat the expression.
                    let said = error.to_string();
                    let reason = said.lines().last().unwrap_or_default();
                    self.wrong(value_column, &format!("no regular expression: {reason}"))
                })?)
            }
            _ => return Err(self.wrong(column, "an operator is `==`, `!=` or `~=`")),
        };
        Ok(Selector { field, test })
    }

    fn field_path(&mut self) -> Result<Field> {
        let column = self.column();
        let mut path = vec![self.field()?];
        while self.take_if(|c| c == '.').is_some() {
            path.push(self.field()?);
        }
        let (first, rest) = path
            .split_first()
            .map_or(("", &[][..]), |(f, r)| (f.as_str(), r));
        match (first, rest) {
            ("name", []) => Ok(Field::Name),
            ("parent", []) => Ok(Field::Parent),
            ("kind", []) => Ok(Field::Kind),
            ("labels", [_, ..]) => Ok(Field::Label(rest.join("."))),
            _ => Err(self.wrong(column, "a field is name, parent, kind or labels.NAME")),
        }
    }

    fn field(&mut self) -> Result<String> {
        let column = self.column();
        if matches!(self.peek(), Some('"' | '\'')) {
            return self.quoted();
        }
        let name: String =
            std::iter::from_fn(|| self.take_if(|c| c.is_alphanumeric() || c == '_')).collect();
        match name.starts_with(char::is_alphabetic) {
            true => Ok(name),
            false => Err(self.wrong(column, "a field is a word, or stands in quotes")),
        }
    }

    fn value(&mut self, quotes: &[char]) -> Result<String> {
        if self.peek().is_some_and(|c| quotes.contains(&c)) {
            return self.quoted();
        }
        let plain = |c: char| c != ',' && !c.is_whitespace();
        Ok(std::iter::from_fn(|| self.take_if(plain)).collect())
    }

    fn quoted(&mut self) -> Result<String> {
        let Some((start, quote)) = self.rest.next() else {
            return Ok(String::new());
        };
        let is_expression = matches!(quote, '/' | '|');
        let mut text = String::new();
        while let Some((column, character)) = self.rest.next() {
            match character {
                _ if character == quote => return Ok(text),
                '\\' => match (self.rest.next(), is_expression) {
                    (Some((_, next)), true) => {
                        if next != quote {
                            text.push('\\');
                        }
                        text.push(next);
                    }
                    (Some((_, next)), false) => text.push(self.escaped(column, next)?),
                    (None, _) => break,
                },
                _ => text.push(character),
            }
        }
        Err(self.wrong(start, "the quote has no end"))
    }

    /// Reads what stands behind a backslash, as Go's strings have it.
    fn escaped(&mut self, column: usize, character: char) -> Result<char> {
        let digits = match character {
            '\\' | '"' | '\'' => return Ok(character),
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err(self.wrong(column, "no such escape; a backslash is written twice")),
        };
        let number: String = std::iter::from_fn(|| self.take_if(|c| c.is_ascii_hexdigit()))
            .take(digits)
            .collect();
        let read = u32::from_str_radix(&number, 16)
            .ok()
            .and_then(char::from_u32);
        read.filter(|_| number.len() == digits)
            .ok_or_else(|| self.wrong(column, "the number of a character is incomplete or none"))
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, character)| *character)
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let next = self.rest.next_if(|(_, character)| wanted(*character));
        next.map(|(_, character)| character)
    }

    fn skip_spaces(&mut self) {
        while self.take_if(char::is_whitespace).is_some() {}
    }

    /// Where it reads on.
    fn column(&mut self) -> usize {
        let end = self.filter.chars().count() + 1;
        self.rest.peek().map_or(end, |(column, _)| *column)
    }

    fn wrong(&self, column: usize, reason: &str) -> Error {
        Error::InvalidFilter {
            filter: self.filter.to_owned(),
            column,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cowlab_driver::SnapshotId;

    use super::*;
    use crate::Kind;

    fn info(key: &str, kind: Kind, parent: Option<&str>, labels: &[(&str, &str)]) -> Info {
        Info {
            key: key.to_owned(),
            id: SnapshotId::MAX,
            kind,
            parent: parent.map(str::to_owned),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            created: 0,
            updated: 0,
        }
    }

    fn matching(filters: &[&str]) -> Vec<&'static str> {
        let all = [
            (
                "base",
                info(
                    "base",
                    Kind::Committed,
                    None,
                    &[("a.b/c", "x,y"), ("empty", "")],
                ),
            ),
            (
                "top",
                info("top", Kind::Committed, Some("base"), &[("n", "12")]),
            ),
            ("work", info("work", Kind::Active, Some("top"), &[])),
            (
                "look",
                info("look", Kind::View, Some("base"), &[("n", "7")]),
            ),
        ];
        let filters = Filters::parse(filters).unwrap();
        let names = all.iter().filter(|(_, info)| filters.match_info(info));
        names.map(|(name, _)| *name).collect()
    }

    #[test]
    fn selectors_are_joined_by_and_filters_by_or() {
        assert_eq!(matching(&[]), ["base", "top", "work", "look"]);
        assert_eq!(matching(&[""]), ["base", "top", "work", "look"]);
        assert_eq!(matching(&["name==base"]), ["base"]);
        assert_eq!(matching(&["parent==base,kind==committed"]), ["top"]);
        assert_eq!(
            matching(&["kind==view", "kind == active"]),
            ["work", "look"]
        );
        assert_eq!(matching(&["kind!=committed , parent!=top"]), ["look"]);
    }

    #[test]
    fn fields_are_there_or_not() {
        assert_eq!(matching(&["parent"]), ["top", "work", "look"]);
        assert_eq!(matching(&["parent=="]), ["base"]);
        assert_eq!(matching(&["labels.n"]), ["top", "look"]);
        assert_eq!(matching(&["labels.empty=="]), ["base"]);
        assert_eq!(matching(&["labels.n!=12"]), ["base", "work", "look"]);
    }

    #[test]
    fn values_and_fields_are_quoted() {
        assert_eq!(matching(&[r#"labels."a.b/c"=="x,y""#]), ["base"]);
        assert_eq!(matching(&[r#"labels.a."b/c"=='x\x2cy'"#]), ["base"]);
        assert_eq!(matching(&[r#"name=="b\u0061se""#]), ["base"]);
        assert_eq!(matching(&["name~=^.o"]), ["top", "work", "look"]);
        assert_eq!(matching(&[r"labels.n~=/^\d{2}$/"]), ["top"]);
        assert_eq!(matching(&["name~=|o{2}|"]), ["look"]);
    }

    #[test]
    fn errors_have_a_column() {
        let column = |filter: &str| match Filters::parse(&[filter]) {
            Err(Error::InvalidFilter { column, .. }) => column,
            other => panic!("{filter}: {other:?}"),
        };
        assert_eq!(column("name=x"), 5);
        assert_eq!(column("nom==x"), 1);
        assert_eq!(column("kind==view,labels==x"), 12);
        assert_eq!(column("kind==view x"), 12);
        assert_eq!(column("kind==view,"), 12);
        assert_eq!(column("=="), 1);
        assert_eq!(column(r#"name=="ä\q""#), 9);
        assert_eq!(column("name~=["), 7);
        assert_eq!(column("name==\"x"), 7);
        assert_eq!(column("name==/x/,1"), 11);
    }
}
