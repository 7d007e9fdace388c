//! What a column found out.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cowlab_engine::guest;
use cowlab_reports::result::{Place, Status, Timestamp};
use cowlab_testbed::BackingFs;

use crate::case::Case;
use crate::verdict::Verdict;

/// How a case ended, where and when it ran.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// The case.
    pub(crate) case: &'static Case,
    /// How.
    pub(crate) verdict: Verdict,
    /// Where it ran, or would have run.
    pub(crate) place: Place,
    /// When its work began.
    pub(crate) started: Timestamp,
    /// When it was known.
    pub(crate) finished: Timestamp,
}

impl Ended {
    /// The end of a case now and here, its work having taken that long. A case of a batch counts its share of the batch.
    pub(crate) fn now(case: &'static Case, verdict: Verdict, took: Duration) -> Self {
        if verdict.status == Status::Fail {
            tracing::debug!(case = case.id, reason = verdict.reason, "failed");
        }
        let finished = now();
        let took = u64::try_from(took.as_millis()).unwrap_or(0);
        Self {
            case,
            verdict,
            place: guest::here(),
            started: Timestamp::from_millis(finished.millis().saturating_sub(took)),
            finished,
        }
    }
}

/// What a column found out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How each case ended.
    pub(crate) ended: Vec<Ended>,
    /// Why no case could run at all.
    pub(crate) whole: Option<String>,
    /// What the column left behind or upset: leaks, a tainted kernel.
    pub(crate) trouble: Vec<String>,
    /// What was kept, for looking at.
    pub(crate) kept: Vec<PathBuf>,
    /// The file systems that hold what was kept.
    pub(crate) held: Vec<BackingFs>,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
