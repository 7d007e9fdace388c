//! One write of a life fails, and nothing is lost by it.
//!
//! Each step is repeated from where the one before it had ended, once for each of its writes, which fails. Whoever gives no
//! error has promised: the life goes on for a few steps, until one says that it failed. Then writes succeed again, the disk is
//! mounted anew, for what failed may be in the page cache, and the root is judged as after a power cut.

use std::path::Path;

use anyhow::Context;
use cowlab_sys::{Errno, Guard, mount, mountinfo};
use cowlab_testbed::{Moment, Unflushed};

use super::{CLEAN, ENOUGH, Failing, Proof};
use crate::{Findings, stop_if_asked};

/// So many steps follow one that does not say that a write of it failed.
const MORE: usize = 2;

impl Proof<'_> {
    /// Has every write of every step fail in its turn.
    pub(super) fn fail_all(
        &mut self,
        failing: Failing,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let errno = match failing {
            Failing::Eio => Errno::IO,
            Failing::Enospc => Errno::NOSPC,
        };
        let mut found = 0;
        for step in 1..self.story.points.len() {
            if self.args.step.is_some_and(|only| only != step) {
                continue;
            }
            for number in 0.. {
                stop_if_asked()?;
                if self.cuts >= self.args.cuts || found >= ENOUGH {
                    return Ok(());
                }
                let Some(wrong) = self.fail(step, number, errno)? else {
                    break;
                };
                self.cuts += 1;
                found += wrong.len();
                for wrong in wrong {
                    findings.add(self.told_of_write(step, number, errno, &wrong));
                }
            }
        }
        Ok(())
    }

    fn told_of_write(&self, step: usize, number: usize, errno: Errno, wrong: &str) -> String {
        let word = self.story.points[step].step.as_ref();
        let word = word.map_or_else(String::new, ToString::to_string);
        format!(
            "{} on {}, write {number} of step {step} `{word}` failed with {errno}: {wrong}; again: with --step {step}",
            self.column.driver, self.column.backing
        )
    }

    /// Takes a step with a write that fails; `None` where it has no more writes.
    fn fail(
        &mut self,
        first: usize,
        number: usize,
        errno: Errno,
    ) -> anyhow::Result<Option<Vec<String>>> {
        let story = self.story;
        let all = |position| Moment {
            position,
            unflushed: Unflushed::All,
        };
        let begin = all(story.points[first - 1].position);
        let disks = self.disks.clone();
        let mut made = self.boot(&disks, begin)?.map_err(anyhow::Error::msg)?;
        let disks = made.disks().context("the disks do not record")?;
        disks.fail_write(number, errno);
        let mut wrong = Vec::new();
        let mut done = first - 1;
        for point in story.points.iter().skip(first).take(1 + MORE) {
            let Some(step) = &point.step else { continue };
            if let Err(error) = step.run(self.root) {
                let error = format!("{error:#}");
                tracing::info!(%step, number, error, "failed");
                if error.contains("panicked") {
                    wrong.push(format!("`{step}`: {error}"));
                }
                break;
            }
            done += 1;
            if !disks.has_failed() {
                break;
            }
        }
        let has_failed = disks.has_failed();
        disks.heal();
        unmount(&self.root.scratch.join("mounted"))?;
        self.root.kill_all()?;
        made.close()?;
        if !has_failed {
            return Ok(None);
        }
        let mut made = match self.boot(&disks, all(disks.position()))? {
            Ok(made) => made,
            Err(error) => return Ok(Some(vec![error])),
        };
        let last = story.points.len() - 1;
        let points = (&story.points[done], &story.points[(done + 1).min(last)]);
        wrong.extend(self.check(&made, points)?.1);
        if wrong.is_empty() && number.is_multiple_of(CLEAN) {
            self.clean += 1;
            wrong.extend(self.try_everything()?);
        }
        self.root.kill_all()?;
        made.close()?;
        Ok(Some(wrong))
    }
}

/// Takes a mount away that a failed command left.
fn unmount(target: &Path) -> anyhow::Result<()> {
    if mountinfo::read_self()?
        .iter()
        .any(|mount| mount.mount_point == target)
    {
        mount::unmount(target)?;
    }
    Ok(())
}
