//! The file systems that a column's cases run on: the usual one, and others that are made, when a case is the first to
//! need it, with what a file system has only where it is asked for.
//!
//! They are apart, because such a thing is not free: what is counted by quotas behaves and performs otherwise.

use std::collections::BTreeMap;
use std::fs;

use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Error, Extra, Media, Run};

use crate::case::{Case, Need};
use crate::errno::{Code, EIO};
use crate::needs::{self, MissingRequirement};

/// The size of a file system that few cases run on, in bytes.
const SMALL: u64 = 512 << 20;
/// How large one is that holds several copies of a Debian root. It is sparse.
const LARGE: u64 = 3 << 30;

/// The file systems of one kind that a column has.
#[derive(Debug)]
pub(crate) struct FileSystems<'a> {
    run: &'a Run,
    usual: BackingFs,
    extras: BTreeMap<Extra, BackingFs>,
    tried: BTreeMap<Need, Option<MissingRequirement>>,
}

impl<'a> FileSystems<'a> {
    /// Makes the usual file system.
    pub(crate) fn make(run: &'a Run, backing: Backing) -> Result<Self, Error> {
        Ok(Self {
            run,
            usual: make(run, backing, &BackingOptions::default())?,
            extras: BTreeMap::new(),
            tried: BTreeMap::new(),
        })
    }

    /// The usual file system.
    pub(crate) const fn usual(&self) -> &BackingFs {
        &self.usual
    }

    /// Whether a case runs on another file system than the usual one.
    pub(crate) fn is_apart(&self, case: &Case) -> bool {
        self.extra(case).is_some()
    }

    fn extra(&self, case: &Case) -> Option<Extra> {
        let backing = self.usual.backing();
        let mut needs = case.needs.iter();
        needs.find_map(|need| needs::extra(*need, backing))
    }

    /// The file system that a case runs on whose needs were tried.
    pub(crate) fn of(&self, case: &Case) -> &BackingFs {
        self.extra(case)
            .and_then(|extra| self.extras.get(&extra))
            .unwrap_or(&self.usual)
    }

    /// Tries a need, once, where the cases that have it run.
    pub(crate) fn missing(&mut self, need: Need) -> Option<MissingRequirement> {
        if let Some(known) = self.tried.get(&need) {
            return known.clone();
        }
        let found = self.try_need(need);
        self.tried.insert(need, found.clone());
        found
    }

    fn try_need(&mut self, need: Need) -> Option<MissingRequirement> {
        let backing = self.usual.backing();
        let filesystem = match needs::extra(need, backing) {
            None => &self.usual,
            Some(extra) => match self.with_extra(extra) {
                Ok(filesystem) => filesystem,
                Err(code) => return Some(needs::refused(need, backing, code)),
            },
        };
        let place = filesystem.mount_point().join("needs");
        if let Err(error) = fs::create_dir_all(&place) {
            return Some(needs::refused(need, backing, error.into()));
        }
        needs::missing(need, backing, &place)
    }

    fn with_extra(&mut self, extra: Extra) -> Result<&BackingFs, Code> {
        if !self.extras.contains_key(&extra) {
            let options = BackingOptions {
                bytes: if extra == Extra::Room { LARGE } else { SMALL },
                extra: Some(extra),
                ..BackingOptions::default()
            };
            let made = make(self.run, self.usual.backing(), &options).map_err(|error| {
                tracing::debug!(%error, "a file system with an extra is not to be had");
                match error {
                    Error::Sys(error) => error.into(),
                    _ => EIO,
                }
            })?;
            self.extras.insert(extra, made);
        }
        self.extras.get(&extra).ok_or(EIO)
    }

    /// Takes the file systems down; returns what stays, in words.
    pub(crate) fn close(self) -> Vec<String> {
        self.into_all()
            .into_iter()
            .filter_map(|mut filesystem| filesystem.close().err())
            .map(|leak| leak.to_string())
            .collect()
    }

    /// All file systems, for whoever keeps them.
    pub(crate) fn into_all(self) -> Vec<BackingFs> {
        let mut all: Vec<_> = self.extras.into_values().collect();
        all.push(self.usual);
        all
    }
}

/// Makes a file system in memory, so that flushes cost nothing, or on disk where memory is short.
fn make(run: &Run, backing: Backing, options: &BackingOptions) -> Result<BackingFs, Error> {
    let in_memory = BackingOptions {
        media: Media::Memory,
        ..options.clone()
    };
    match run.backing(backing, &in_memory) {
        Err(Error::NoSpace { .. } | Error::NoMemory { .. }) => run.backing(backing, options),
        made => made,
    }
}
