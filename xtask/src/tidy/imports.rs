//! What the text of one module defines, imports and names. It reads paths and knows no types: what a method call reaches is not
//! seen. Code under `#[cfg(test)]` is left out, for a test may use what stands above the thing it tests.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// A path from the root of the crate: `crate::image::Name` is `["image", "Name"]`.
pub(super) type Path = Vec<String>;

/// The names in one module.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Items that it defines, at any depth.
    pub(super) defined: BTreeSet<String>,
    /// Names that a `use` brings into it, with what they stand for. What is of another crate has no path.
    pub(super) imported: BTreeMap<String, Option<Path>>,
    /// Modules whose every name a `use` brings into it.
    pub(super) globs: Vec<Path>,
    /// Paths in the crate that it writes, with their line, counted from one.
    pub(super) paths: Vec<(usize, Path)>,
    /// Modules of its own that are compiled for tests alone.
    pub(super) test_modules: Vec<String>,
    /// Every word of its code, with the first line that has it.
    pub(super) words: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// One name of a `use`: its line, its path as written, and what it is called here.
#[derive(Debug)]
struct Leaf {
    line: usize,
    path: Vec<String>,
    name: String,
}

impl Names {
    /// Reads the text of `module`, whose children are `children`.
    pub(super) fn read(text: &str, module: &[String], children: &BTreeSet<String>) -> Self {
        let source = Source::parse(text);
        let mut names = Self::default();
        let tokens = names.without_tests(&tokens(&source.code));
        for pair in tokens.windows(2) {
            if is_definition(pair[0].text) {
                names.defined.insert(pair[1].text.to_owned());
            }
        }
        for token in &tokens {
            names
                .words
                .entry(token.text.to_owned())
                .or_insert(token.line);
        }
        let (leaves, rest) = uses(&tokens);
        for leaf in leaves {
            let path = absolute(&leaf.path, module, children);
            if leaf.name == "*" {
                names.globs.extend(path);
                continue;
            }
            names
                .paths
                .extend(path.clone().map(|path| (leaf.line, path)));
            names.imported.insert(leaf.name, path);
        }
        for (line, path) in written_paths(&rest) {
            let path = match names.imported.get(&path[0]) {
                Some(imported) => imported.clone().map(|mut imported| {
                    imported.extend_from_slice(&path[1..]);
                    imported
                }),
                None => absolute(&path, module, children),
            };
            names.paths.extend(path.map(|path| (line, path)));
        }
        names
    }

    /// Leaves out the items under `#[cfg(test)]`, and remembers which of them are modules.
    fn without_tests<'a>(&mut self, tokens: &[Token<'a>]) -> Vec<Token<'a>> {
        const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
        let mut kept = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let is_test = tokens[at..]
                .iter()
                .map(|token| token.text)
                .take(7)
                .eq(ATTRIBUTE);
            if !is_test {
                kept.push(tokens[at]);
                at += 1;
                continue;
            }
            let item = &tokens[at + 7..];
            let length = item_length(item);
            let module = item[..length]
                .windows(3)
                .find(|three| three[0].text == "mod" && three[2].text == ";");
            self.test_modules
                .extend(module.map(|three| three[1].text.to_owned()));
            at += 7 + length;
        }
        kept
    }
}

/// The number of tokens to the end of the item that begins here.
fn item_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            "}" if depth == 1 => return at + 1,
            ")" | "]" | "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn tokens(code: &[String]) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (index, line) in code.iter().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_letter(first) {
                rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, after) = rest.split_at(length);
            tokens.push(Token {
                line: index + 1,
                text,
            });
            rest = after.trim_start();
        }
    }
    tokens
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn is_word(text: &str) -> bool {
    text.starts_with(is_letter)
}

/// Whether the word after `keyword` is the name of a new item.
fn is_definition(keyword: &str) -> bool {
    [
        "fn", "struct", "enum", "union", "trait", "type", "const", "static",
    ]
    .contains(&keyword)
}

/// The names of every `use`, and the tokens outside of them.
fn uses<'a>(tokens: &[Token<'a>]) -> (Vec<Leaf>, Vec<Token<'a>>) {
    let mut leaves = Vec::new();
    let mut rest = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // `use<'a>` captures lifetimes.
        let is_use =
            tokens[at].text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<");
        if is_use {
            at = read_tree(tokens, at + 1, &[], &mut leaves);
        } else {
            rest.push(tokens[at]);
            at += 1;
        }
    }
    (leaves, rest)
}

/// Reads one tree of a `use` from `at`: a path that ends in a name, a `*` or trees between braces. Returns where it ends.
fn read_tree(
    tokens: &[Token<'_>],
    mut at: usize,
    above: &[String],
    leaves: &mut Vec<Leaf>,
) -> usize {
    let mut path = above.to_vec();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let line = tokens.get(at).map_or(0, |token| token.line);
    while is_word(text(at)) || text(at) == "::" {
        if text(at) == "as" {
            leaves.push(Leaf {
                line,
                path,
                name: text(at + 1).to_owned(),
            });
            return at + 2;
        }
        if text(at) != "::" {
            path.push(text(at).to_owned());
        }
        at += 1;
    }
    match text(at) {
        "*" => {
            leaves.push(Leaf {
                line,
                path,
                name: "*".to_owned(),
            });
            at + 1
        }
        "{" => {
            at += 1;
            while !["}", ""].contains(&text(at)) {
                at = read_tree(tokens, at, &path, leaves);
                at += usize::from(text(at) == ",");
            }
            at + 1
        }
        _ => {
            // `a::{self}` is `a`.
            path.pop_if(|last| last == "self" && !above.is_empty());
            let name = path.last().cloned().unwrap_or_default();
            leaves.push(Leaf { line, path, name });
            at
        }
    }
}

/// The paths of two words or more that stand outside of a `use`.
fn written_paths(tokens: &[Token<'_>]) -> Vec<(usize, Vec<String>)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        let mut path = Vec::new();
        while is_word(text(at)) {
            path.push(text(at).to_owned());
            at += 1;
            if text(at) != "::" || !is_word(text(at + 1)) {
                break;
            }
            at += 1;
        }
        // What follows a type's `>::`, a macro's `$crate` or `pub(in ...)` does not begin a path.
        let before = |count| start.checked_sub(count).map_or("", text);
        let is_visibility = before(2) == "(" && before(1) == "in";
        if path.len() > 1 && !["::", "$"].contains(&before(1)) && !is_visibility {
            paths.push((tokens[start].line, path));
        }
        at = at.max(start + 1);
    }
    paths
}

/// The path from the root of the crate of what `module` writes as `path`, unless that is of another crate.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    let mut absolute = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        child if children.contains(child) => [module, &[child.to_owned()]].concat(),
        _ => return None,
    };
    for word in rest {
        if word == "super" {
            absolute.pop()?;
        } else {
            absolute.push(word.clone());
        }
    }
    Some(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Names {
        let module = ["image".to_owned(), "load".to_owned()];
        Names::read(text, &module, &BTreeSet::from(["archive".to_owned()]))
    }

    /// The paths that `text` writes, as `line path`.
    fn written(text: &str) -> Vec<String> {
        let paths = read(text).paths;
        paths
            .iter()
            .map(|(line, path)| format!("{line} {}", path.join("::")))
            .collect()
    }

    #[test]
    fn every_name_of_a_use_is_read() {
        let text = "use crate::{blobs::{self, Blob as B}, graph};\nuse super::super::root::Root;\nuse std::fs;\npub use archive::Archive;";
        let expected = [
            "1 blobs",
            "1 blobs::Blob",
            "1 graph",
            "2 root::Root",
            "4 image::load::archive::Archive",
        ];
        assert_eq!(written(text), expected);
        assert_eq!(
            read(text).imported["B"],
            Some(vec!["blobs".to_owned(), "Blob".to_owned()])
        );
    }

    #[test]
    fn a_path_is_read_where_it_is_written() {
        let text = "fn f(a: &crate::graph::Graph) -> u8 {\n    for _ in archive::sizes(a) {} + std::mem::size_of::<super::Name>()\n}";
        assert_eq!(
            written(text),
            [
                "1 graph::Graph",
                "2 image::load::archive::sizes",
                "2 image::Name"
            ]
        );
    }

    #[test]
    fn a_path_through_an_import_is_that_of_the_import() {
        assert_eq!(
            written("use crate::graph;\nfn f() { graph::images::list() }"),
            ["1 graph", "2 graph::images::list"]
        );
        assert_eq!(
            written("use std::fs;\nfn f() { fs::read() }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn tests_and_visibility_name_nothing() {
        let text = "pub(in crate::image) struct A;\n#[cfg(test)]\nmod tests {\n    use crate::graph::Graph;\n}\n#[cfg(test)]\nmod load_tests;\n";
        assert_eq!(written(text), Vec::<String>::new());
        assert_eq!(read(text).test_modules, ["load_tests"]);
        assert!(read(text).defined.contains("A"));
    }
}
