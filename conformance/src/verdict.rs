//! From a first difference to an outcome.

use std::path::Path;

use cowlab_driver::Deviation;
use cowlab_reports::result::{Impact, Status};

use crate::difference::Difference;

/// How a case ended in a column.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Pass, failure, skip or deviation.
    pub(crate) status: Status,
    /// The first difference, the missing need, or a note.
    pub(crate) reason: Option<String>,
    /// The deviation that is declared.
    pub(crate) deviation: Option<&'static Deviation>,
}

impl Verdict {
    /// Judges a first difference, or none, against what the driver declares.
    #[must_use]
    pub(crate) fn of(found: Option<&Difference>, declared: Option<&'static Deviation>) -> Self {
        let (status, reason) = match (found, declared) {
            (None, None) => (Status::Pass, None),
            (None, Some(deviation)) => {
                let reason = format!(
                    "the claim holds; the deviation `{}` is stale: remove it",
                    deviation.observed
                );
                (Status::UnexpectedPass, Some(reason))
            }
            (Some(found), Some(deviation)) if found.line() == deviation.observed => {
                (Status::Deviates, Some(found.line().to_owned()))
            }
            (Some(found), Some(deviation)) => {
                let reason = format!(
                    "{found}; the declared deviation is `{}`",
                    deviation.observed
                );
                (Status::Fail, Some(reason))
            }
            (Some(found), None) => (Status::Fail, Some(found.to_string())),
        };
        Self {
            status,
            reason,
            deviation: declared,
        }
    }

    /// A case that could not run.
    #[must_use]
    pub(crate) const fn skip(reason: String) -> Self {
        Self {
            status: Status::Skip,
            reason: Some(reason),
            deviation: None,
        }
    }

    /// A failure that no case's difference stands for.
    #[must_use]
    pub(crate) const fn fail(reason: String) -> Self {
        Self {
            status: Status::Fail,
            reason: Some(reason),
            deviation: None,
        }
    }

    /// The verdict with the place of the backing file system, which has another name in every run, as `<backing>`.
    #[must_use]
    pub(crate) fn in_place_of(mut self, mount_point: &Path) -> Self {
        let place = mount_point.display().to_string();
        self.reason = self
            .reason
            .map(|reason| reason.replace(&place, "<backing>"));
        self
    }

    /// The verdict to report when a failing case was run again, alone.
    #[must_use]
    pub(crate) fn confirmed_by(self, alone: Self) -> Self {
        if self.status == alone.status {
            return alone;
        }
        let reason = format!(
            "with others: {}; alone: {}",
            self.summary(),
            alone.summary()
        );
        self.depends_on_order(reason)
    }

    /// The verdict to report when the cases ran in another order and this one ended otherwise.
    #[must_use]
    pub(crate) fn differs_from(self, other: &Self) -> Self {
        let reason = format!(
            "in one order: {}; in another: {}",
            self.summary(),
            other.summary()
        );
        self.depends_on_order(reason)
    }

    fn depends_on_order(self, reason: String) -> Self {
        Self {
            status: Status::OrderDependent,
            reason: Some(reason),
            deviation: self.deviation,
        }
    }

    fn summary(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{} ({reason})", self.status),
            None => self.status.to_string(),
        }
    }
}

/// A driver's word for an impact, in the words of results.
#[must_use]
pub(crate) const fn impact(impact: cowlab_driver::Impact) -> Impact {
    match impact {
        cowlab_driver::Impact::DataLoss => Impact::DataLoss,
        cowlab_driver::Impact::Isolation => Impact::Isolation,
        cowlab_driver::Impact::AppVisible => Impact::AppVisible,
        cowlab_driver::Impact::Performance => Impact::Performance,
        cowlab_driver::Impact::Cosmetic => Impact::Cosmetic,
    }
}

#[cfg(test)]
mod tests {
    use cowlab_driver::Scope;

    use super::*;

    const DECLARED: Deviation = Deviation {
        case: "rename/directory-of-the-parent",
        scope: Scope::EVERYWHERE,
        observed: "/d: rename to /e: expected ok, got EXDEV",
        because: "overlay does not redirect directories by default",
        impact: cowlab_driver::Impact::AppVisible,
        see: &["overlayfs.rst"],
    };

    fn exdev() -> Difference {
        Difference::new("/d", "rename to /e", "ok", "EXDEV")
    }

    #[test]
    fn a_declared_deviation_must_show_as_declared() {
        let status =
            |found: Option<Difference>, declared| Verdict::of(found.as_ref(), declared).status;
        assert_eq!(status(None, None), Status::Pass);
        assert_eq!(status(Some(exdev()), None), Status::Fail);
        assert_eq!(status(Some(exdev()), Some(&DECLARED)), Status::Deviates);
        assert_eq!(status(None, Some(&DECLARED)), Status::UnexpectedPass);
        let other = Difference::new("/d", "rename to /e", "ok", "EIO");
        assert_eq!(status(Some(other), Some(&DECLARED)), Status::Fail);
    }

    #[test]
    fn a_failure_that_does_not_repeat_depends_on_the_order() {
        let failed = Verdict::of(Some(&exdev()), None);
        let passed = Verdict::of(None, None);
        assert_eq!(
            failed.clone().confirmed_by(passed).status,
            Status::OrderDependent
        );
        assert_eq!(failed.clone().confirmed_by(failed).status, Status::Fail);
    }
}
