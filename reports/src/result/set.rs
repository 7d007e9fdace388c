//! All records of one or more results files, sorted by kind.

use std::path::Path;

use super::{Environment, Image, Line, Outcome, Probe, ReadError, Reader, Record, Series, Skipped};

/// Records in the order they were read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResultSet {
    records: Vec<Record>,
    notes: Vec<String>,
}

impl ResultSet {
    /// Reads a results file.
    ///
    /// # Errors
    /// Fails on the first line that is no result, naming it.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut reader = Reader::open(path)?;
        let mut set = Self {
            records: reader.by_ref().collect::<Result<_, _>>()?,
            notes: Vec::new(),
        };
        if reader.cut_off() {
            set.notes.push(format!(
                "the last line of `{}` is cut off and was left out",
                path.display()
            ));
        }
        Ok(set)
    }

    /// Appends the records of another set, such as the bench's to the conformance suite's.
    pub fn merge(&mut self, other: Self) {
        self.records.extend(other.records);
        self.notes.extend(other.notes);
    }

    /// Appends one record.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Every record, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What reading left out.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Environments with their ids, each once, in the order they were introduced.
    #[must_use]
    pub fn environments(&self) -> Vec<(&str, &Environment)> {
        let mut environments: Vec<(&str, &Environment)> = Vec::new();
        for record in &self.records {
            let id = record.environment.id.as_str();
            if let Some(facts) = record.environment.facts.as_deref()
                && environments.iter().all(|(known, _)| *known != id)
            {
                environments.push((id, facts));
            }
        }
        environments
    }

    /// The results of conformance cases.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.lines().filter_map(|line| match line {
            Line::Outcome(outcome) => Some(outcome),
            _ => None,
        })
    }

    /// The measured series.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.lines().filter_map(|line| match line {
            Line::Series(series) => Some(series),
            _ => None,
        })
    }

    /// The probes of drivers.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.lines().filter_map(|line| match line {
            Line::Driver(probe) => Some(probe),
            _ => None,
        })
    }

    /// What could not run.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.lines().filter_map(|line| match line {
            Line::Skipped(skipped) => Some(skipped),
            _ => None,
        })
    }

    /// The images in use.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.lines().filter_map(|line| match line {
            Line::Image(image) => Some(image),
            _ => None,
        })
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.records.iter().map(|record| &record.line)
    }
}

impl FromIterator<Record> for ResultSet {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        Self {
            records: records.into_iter().collect(),
            notes: Vec::new(),
        }
    }
}
