//! The rule that the modules of a crate do not import each other in a circle: who reads one of them would have to read all.
//!
//! A name counts for the module that defines it, so a re-export neither hides a cycle nor makes one. A module and those below it
//! are one subject and may name each other; siblings, and what is below them, may not.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::imports::{Names, Path};
use super::tree::TextFile;

/// Files that a crate begins with, the first of which counts where a folder has both.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

/// Re-exports that a name may go through. Only a cycle of globs has more.
const MAXIMUM_REEXPORTS: usize = 16;

/// The modules of one crate by their path.
type Modules<'a> = BTreeMap<Path, Module<'a>>;

#[derive(Debug)]
struct Module<'a> {
    file: &'a TextFile,
    names: Names,
}

/// A name that `module` defines.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    module: Path,
    name: String,
}

/// The first line where a module names what another one defines.
#[derive(Debug)]
struct Edge {
    user: Path,
    used: Item,
    line: usize,
}

/// Checks every crate.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    crates(files).values().flat_map(findings).collect()
}

/// The crates with the folders of their sources.
fn crates(files: &[TextFile]) -> BTreeMap<String, Modules<'_>> {
    let folders: BTreeSet<_> = files
        .iter()
        .filter(|file| ROOTS.iter().any(|root| file.path.ends_with(root)))
        .filter_map(|file| file.path.parent())
        .collect();
    let named = |folder: &std::path::Path| folder.to_string_lossy().into_owned();
    folders
        .into_iter()
        .map(|folder| (named(folder), modules(files, folder)))
        .collect()
}

fn modules<'a>(files: &'a [TextFile], folder: &std::path::Path) -> Modules<'a> {
    let mut found: BTreeMap<Path, &TextFile> = BTreeMap::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        if let Ok(below) = file.path.strip_prefix(folder) {
            // `lib.rs` sorts before `main.rs`, which knows it as another crate.
            found.entry(module_path(below)).or_insert(file);
        }
    }
    let children = |of: &Path| {
        let below = found
            .keys()
            .filter(|path| path.len() == of.len() + 1 && path.starts_with(of));
        below
            .filter_map(|path| path.last().cloned())
            .collect::<BTreeSet<_>>()
    };
    let mut modules: Modules<'_> = found
        .iter()
        .map(|(path, file)| {
            (
                path.clone(),
                Module {
                    file,
                    names: Names::read(&file.text, path, &children(path)),
                },
            )
        })
        .collect();
    let tests: Vec<Path> = modules
        .iter()
        .flat_map(|(path, module)| {
            module
                .names
                .test_modules
                .iter()
                .map(|name| [path.as_slice(), std::slice::from_ref(name)].concat())
        })
        .collect();
    modules.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
    modules
}

/// The path of the module in the file `below` the folder of its crate.
fn module_path(below: &std::path::Path) -> Path {
    let mut path: Path = below
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_root = path.len() == 1 && ["lib", "main"].contains(&path[0].as_str());
    if is_root || path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// One finding for each set of modules of which each reaches each other.
fn findings(modules: &Modules<'_>) -> Vec<Finding> {
    let edges = edges(modules);
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = modules
        .keys()
        .map(|path| (path, reachable(&edges, path)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (path, others) in &reached {
        let leads_back = |other: &&Path| reached[other].contains(path);
        let cycle: BTreeSet<&Path> = others.iter().copied().filter(leads_back).collect();
        if !cycle.is_empty() && seen.insert(cycle.clone()) {
            findings.extend(finding(modules, &edges, &cycle));
        }
    }
    findings
}

/// What a module's imports lead to; the module itself only if they lead back.
fn reachable<'a>(edges: &'a [Edge], from: &Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(user) = open.pop() {
        for edge in edges.iter().filter(|edge| edge.user == *user) {
            if reached.insert(&edge.used.module) {
                open.push(&edge.used.module);
            }
        }
    }
    reached
}

/// Tells of a cycle with each line that is a part of it.
fn finding(modules: &Modules<'_>, edges: &[Edge], cycle: &BTreeSet<&Path>) -> Option<Finding> {
    let names: Vec<_> = cycle
        .iter()
        .map(|path| format!("`{}`", path.join("::")))
        .collect();
    let is_part = |edge: &&Edge| cycle.contains(&edge.user) && cycle.contains(&edge.used.module);
    let mut lines: Vec<_> = edges
        .iter()
        .filter(is_part)
        .map(|edge| {
            let TextFile { path, text } = modules[&edge.user].file;
            let line = text.lines().nth(edge.line - 1).unwrap_or_default().trim();
            let used = edge.used.module.join("::");
            format!("\n    {}:{}: `{used}`: {line}", path.display(), edge.line)
        })
        .collect();
    lines.dedup();
    let message = format!(
        "modules import each other in a circle: {}{}",
        names.join(", "),
        lines.concat()
    );
    let first = edges.iter().find(is_part)?;
    Some(Finding::new(
        &modules[&first.user].file.path,
        first.line,
        message,
    ))
}

/// What each module names of others, once for each item, but for those above and below it.
fn edges(modules: &Modules<'_>) -> Vec<Edge> {
    let mut edges = BTreeMap::new();
    for (user, Module { names, .. }) in modules {
        let written = names
            .paths
            .iter()
            .filter_map(|(line, path)| Some((*line, definer(modules, path, 0)?)));
        let through_globs = names.globs.iter().flat_map(|glob| {
            let known = |(word, line): (&String, &usize)| {
                Some((*line, lookup(modules, glob, word, &[], 0)?))
            };
            names.words.iter().filter_map(known)
        });
        for (line, used) in written.chain(through_globs) {
            if !used.module.starts_with(user) && !user.starts_with(&used.module) {
                let first = edges.entry((user, used)).or_insert(line);
                *first = line.min(*first);
            }
        }
    }
    let edge = |((user, used), line): ((&Path, _), _)| Edge {
        user: user.clone(),
        used,
        line,
    };
    edges.into_iter().map(edge).collect()
}

/// The item that `path` leads to, unless that is a module or of another crate.
fn definer(modules: &Modules<'_>, path: &[String], reexports: usize) -> Option<Item> {
    let depth = (0..=path.len())
        .rev()
        .find(|depth| modules.contains_key(&path[..*depth]))?;
    let (module, rest) = path.split_at(depth);
    if let Some((name, after)) = rest.split_first() {
        return lookup(modules, module, name, after, reexports).or_else(|| {
            // Made by a macro, or not understood.
            let is_known = modules[module].names.imported.contains_key(name);
            (!is_known).then(|| Item {
                module: module.to_vec(),
                name: name.clone(),
            })
        });
    }
    // A function may have the name of the module beside it.
    let (name, parent) = module.split_last()?;
    let names = &modules.get(parent)?.names;
    let is_item = names.defined.contains(name) || names.imported.contains_key(name);
    is_item
        .then(|| lookup(modules, parent, name, &[], reexports))
        .flatten()
}

/// The item that `module` knows as `name`; of a module, the item that `after` leads to from there.
fn lookup(
    modules: &Modules<'_>,
    module: &[String],
    name: &str,
    after: &[String],
    reexports: usize,
) -> Option<Item> {
    let names = &modules.get(module)?.names;
    if reexports > MAXIMUM_REEXPORTS {
        return None;
    }
    if let Some(imported) = names.imported.get(name) {
        return definer(
            modules,
            &[imported.as_deref()?, after].concat(),
            reexports + 1,
        );
    }
    if names.defined.contains(name) {
        return Some(Item {
            module: module.to_vec(),
            name: name.to_owned(),
        });
    }
    names
        .globs
        .iter()
        .find_map(|glob| lookup(modules, glob, name, after, reexports + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a crate of these files, by their path below `a/src`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: std::path::Path::new("a/src").join(path),
            text: (*text).to_owned(),
        };
        let root = ("lib.rs", "mod image;\nmod graph;\npub use graph::Graph;");
        let files: Vec<_> = files.iter().chain([&root]).map(file).collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    const GRAPH: (&str, &str) = (
        "graph.rs",
        "use crate::image::Name;\npub struct Graph(Name);",
    );

    #[test]
    fn a_planted_cycle_is_told_with_its_lines() {
        let image = ("image.rs", "pub struct Name;\nuse crate::graph::Graph;");
        let expected = "a/src/graph.rs:1: modules import each other in a circle: `graph`, `image`\
            \n    a/src/graph.rs:1: `image`: use crate::image::Name;\
            \n    a/src/image.rs:2: `graph`: use crate::graph::Graph;";
        assert_eq!(found(&[GRAPH, image]), [expected]);
    }

    #[test]
    fn a_cycle_through_three_modules_is_one_finding() {
        let image = ("image.rs", "pub use self::name::Name;\nmod name;");
        let name = ("image/name.rs", "pub struct Name(crate::tag::Tag);");
        let tag = (
            "tag.rs",
            "fn f(graph: &crate::graph::Graph) {}\npub struct Tag;",
        );
        let all = found(&[GRAPH, image, name, tag]);
        assert_eq!(all.len(), 1);
        assert!(
            all[0].contains("circle: `graph`, `image::name`, `tag`"),
            "{}",
            all[0]
        );
    }

    #[test]
    fn a_reexport_does_not_hide_a_cycle() {
        let image = ("image.rs", "pub struct Name;\nuse crate::Graph;");
        assert_eq!(found(&[GRAPH, image]).len(), 1);
        let glob = (
            "image.rs",
            "pub struct Name;\nuse crate::all::*;\nfn f(graph: &Graph) {}",
        );
        assert_eq!(
            found(&[GRAPH, glob, ("all.rs", "pub use crate::graph::*;")]).len(),
            1
        );
    }

    #[test]
    fn a_reexport_makes_no_cycle() {
        let image = (
            "image.rs",
            "mod name;\npub use name::Name;\nuse crate::graph::Graph;",
        );
        assert_eq!(
            found(&[GRAPH, image, ("image/name.rs", "pub struct Name;")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_module_and_those_below_it_may_name_each_other() {
        let image = ("image/mod.rs", "mod name;\npub struct Image(name::Name);");
        let name = (
            "image/name.rs",
            "pub struct Name;\nfn f(image: &super::Image) {}",
        );
        assert_eq!(found(&[image, name]), Vec::<String>::new());
    }

    #[test]
    fn tests_may_name_what_stands_above() {
        let graph = (
            "graph.rs",
            "pub struct Graph;\n#[cfg(test)]\nmod tests {\n    use crate::image::load;\n}",
        );
        let image = ("image.rs", "use crate::graph::Graph;\npub fn load() {}");
        assert_eq!(found(&[graph, image]), Vec::<String>::new());
    }
}
