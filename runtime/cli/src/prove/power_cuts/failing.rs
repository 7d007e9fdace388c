//! One write of a life fails, and nothing is lost by it.
//!
//! Whoever gives no error has promised: the life goes on until a command says that it failed. Then writes succeed again, the
//! disk is mounted anew, for what failed may be in the page cache, and the root is judged as after a power cut.

use std::path::Path;

use anyhow::Context;
use cowlab_sys::{Errno, Guard, mount, mountinfo};
use cowlab_testbed::{Moment, Unflushed};

use super::{CLEAN, ENOUGH, Failing, Proof};
use crate::prove::{Findings, stop_if_asked};

impl Proof<'_> {
    /// Has every write of the life fail in its turn.
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
        for number in 0..self.args.cuts {
            stop_if_asked()?;
            if self.args.only.is_some_and(|only| only != number) {
                continue;
            }
            let Some(wrong) = self.fail(number, errno)? else {
                break;
            };
            self.cuts += 1;
            found += wrong.len();
            for wrong in wrong {
                findings.add(format_args!(
                    "{} on {}, write {number} failed with {errno}: {wrong}",
                    self.column.driver, self.column.backing
                ));
            }
            if found >= ENOUGH {
                break;
            }
        }
        Ok(())
    }

    /// Lives with a write that fails; `None` where the life has no more writes.
    fn fail(&mut self, number: usize, errno: Errno) -> anyhow::Result<Option<Vec<String>>> {
        let all = |position| Moment {
            position,
            unflushed: Unflushed::All,
        };
        let begin = all(self.story.points[0].position);
        let disks = self.disks.clone();
        let mut made = self.boot(&disks, begin)?.map_err(anyhow::Error::msg)?;
        let disks = made.disks().context("the disks do not record")?;
        disks.fail_write(number, errno);
        let mut wrong = Vec::new();
        let mut done = 0;
        for point in &self.story.points[1..] {
            let Some(step) = &point.step else { continue };
            if let Err(error) = step.run(self.stand) {
                let error = format!("{error:#}");
                if error.contains("panicked") {
                    wrong.push(format!("`{step}`: {error}"));
                }
                break;
            }
            done += 1;
        }
        let has_failed = disks.has_failed();
        disks.heal();
        unmount(&self.stand.scratch.join("mounted"))?;
        self.stand.kill_all()?;
        made.close()?;
        if !has_failed {
            return Ok(None);
        }
        let mut made = match self.boot(&disks, all(disks.position()))? {
            Ok(made) => made,
            Err(error) => return Ok(Some(vec![error])),
        };
        let last = self.story.points.len() - 1;
        let points = (
            &self.story.points[done],
            &self.story.points[(done + 1).min(last)],
        );
        wrong.extend(self.check(&made, points)?.1);
        if wrong.is_empty() && number.is_multiple_of(CLEAN) {
            self.clean += 1;
            wrong.extend(self.try_everything()?);
        }
        self.stand.kill_all()?;
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
