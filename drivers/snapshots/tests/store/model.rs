//! Random operations, by one and by several at once, against a model that keeps names only.

use std::collections::BTreeMap;

use crate::place::{Place, commit, directory, files, keys};
use cowlab_snapshots::{CommitOptions, Error, Kind, PrepareOptions, Store};
use proptest::prelude::*;

/// A snapshot as the model has it.
#[derive(Debug, Clone)]
struct Known {
    kind: Kind,
    parent: Option<String>,
    files: Vec<String>,
}

#[derive(Debug, Clone)]
enum Step {
    Prepare(String, Option<String>),
    View(String, String),
    Commit(String, String),
    Remove(String),
    Reopen,
}

fn name() -> impl Strategy<Value = String> {
    "[a-e]"
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (name(), proptest::option::of(name())).prop_map(|(key, parent)| Step::Prepare(key, parent)),
        2 => (name(), name()).prop_map(|(key, parent)| Step::View(key, parent)),
        4 => (name(), name()).prop_map(|(key, name)| Step::Commit(key, name)),
        3 => name().prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ]
}

/// What an operation ends in, by the kind of its error.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Exists,
    NotFound,
    WrongKind,
    HasChildren,
}

fn outcome<T>(result: Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(Error::Exists { .. }) => Outcome::Exists,
        Err(Error::NotFound { .. }) => Outcome::NotFound,
        Err(Error::WrongKind { .. }) => Outcome::WrongKind,
        Err(Error::HasChildren { .. }) => Outcome::HasChildren,
        Err(error) => panic!("{error}"),
    }
}

#[derive(Debug, Default)]
struct Model(BTreeMap<String, Known>);

impl Model {
    fn create(&mut self, key: &str, parent: Option<&String>, kind: Kind) -> Outcome {
        let files = match parent.map(|parent| self.0.get(parent)) {
            _ if self.0.contains_key(key) => return Outcome::Exists,
            None => Vec::new(),
            Some(None) => return Outcome::NotFound,
            Some(Some(parent)) if parent.kind != Kind::Committed => return Outcome::WrongKind,
            Some(Some(parent)) => parent.files.clone(),
        };
        let parent = parent.cloned();
        self.0.insert(
            key.to_owned(),
            Known {
                kind,
                parent,
                files,
            },
        );
        Outcome::Done
    }

    fn commit(&mut self, key: &str, name: &str) -> Outcome {
        match self.0.get(key) {
            None => return Outcome::NotFound,
            Some(known) if known.kind != Kind::Active => return Outcome::WrongKind,
            Some(_) if self.0.contains_key(name) => return Outcome::Exists,
            Some(_) => {}
        }
        let mut known = self.0.remove(key).unwrap();
        known.kind = Kind::Committed;
        self.0.insert(name.to_owned(), known);
        Outcome::Done
    }

    fn remove(&mut self, key: &str) -> Outcome {
        if !self.0.contains_key(key) {
            return Outcome::NotFound;
        }
        if self
            .0
            .values()
            .any(|known| known.parent.as_deref() == Some(key))
        {
            return Outcome::HasChildren;
        }
        self.0.remove(key);
        Outcome::Done
    }
}

fn run(store: &Store, model: &mut Model, step: &Step, number: usize) {
    match step {
        Step::Prepare(key, parent) => {
            let made = store.prepare(key, parent.as_deref(), &PrepareOptions::default());
            let expected = model.create(key, parent.as_ref(), Kind::Active);
            assert_eq!(outcome(made), expected, "{step:?}");
            if expected == Outcome::Done {
                let file = format!("f{number}");
                std::fs::write(directory(store, key).join(&file), "").unwrap();
                let files = &mut model.0.get_mut(key).unwrap().files;
                files.push(file);
                files.sort();
            }
        }
        Step::View(key, parent) => {
            let expected = model.create(key, Some(parent), Kind::View);
            assert_eq!(outcome(store.view(key, parent)), expected, "{step:?}");
        }
        Step::Commit(key, name) => {
            let expected = model.commit(key, name);
            let done = store.commit(key, name, &CommitOptions::default());
            assert_eq!(outcome(done), expected, "{step:?}");
        }
        Step::Remove(key) => {
            let expected = model.remove(key);
            assert_eq!(outcome(store.remove(key)), expected, "{step:?}");
        }
        Step::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_says(steps in proptest::collection::vec(step(), 1..40)) {
        let place = Place::new();
        let mut store = place.open();
        let mut model = Model::default();
        for (number, step) in steps.iter().enumerate() {
            if matches!(step, Step::Reopen) {
                store = place.open();
                prop_assert!(store.recovery().rolled_back.is_empty());
            }
            run(&store, &mut model, step, number);
        }
        prop_assert_eq!(keys(&store), model.0.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(place.data().len(), model.0.len());
        for (name, known) in &model.0 {
            let info = store.stat(name).unwrap();
            prop_assert_eq!((info.kind, &info.parent), (known.kind, &known.parent));
            if known.kind == Kind::Committed {
                prop_assert_eq!(&files(&store, name), &known.files);
            }
        }
        prop_assert!(store.check().unwrap().is_sound());
    }
}

#[test]
fn of_many_that_prepare_one_key_one_wins() {
    let place = Place::new();
    commit(&place.open(), "base", None);
    for _ in 0..5 {
        let won = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        // Each with a store of its own, as processes have.
                        let store = place.open();
                        store
                            .prepare("key", Some("base"), &PrepareOptions::default())
                            .is_ok()
                    })
                })
                .collect();
            racers
                .into_iter()
                .filter_map(|racer| racer.join().ok().filter(|won| *won))
                .count()
        });
        assert_eq!(won, 1);
        place.open().remove("key").unwrap();
    }
    assert_eq!(place.data().len(), 1);
}

#[test]
fn several_at_once_do_not_disturb_each_other() {
    let place = Place::new();
    commit(&place.open(), "base", None);
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let place = &place;
            scope.spawn(move || {
                let store = place.open();
                for number in 0..8 {
                    let name = format!("w{worker}/{number}");
                    commit(&store, &name, Some("base"));
                    if number % 2 == 0 {
                        store.remove(&name).unwrap();
                    }
                }
            });
        }
    });
    let store = place.open();
    assert_eq!(keys(&store).len(), 1 + 3 * 4);
    assert!(store.check().unwrap().is_sound());
}
