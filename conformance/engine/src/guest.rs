//! The guest as a machine for [jobs](crate::worker::Job): a cached image, and this program.

use std::io::Write;
use std::path::Path;

use cowlab_driver::Missing;
use cowlab_guest::{Error, Machine as GuestMachine, ready};
use cowlab_reports::result::Place;

use crate::worker::{Ending, Job, Loss, Machine, OWN_FILE};

/// The environment variable that names the place in which the program runs, where that is not the host.
pub const PLACE: &str = "COWLAB_PLACE";

/// The command that makes a guest.
pub const COMMAND: &str = "cargo xtask guest build";

/// What the results say of their origin, handed on to the program in the guest, which knows no checkout.
const HANDED_ON: [&str; 1] = ["COWLAB_COMMIT"];
/// Counted runs have their file systems in memory as well, in MiB.
const COUNTED_MEMORY_MIB: u32 = 3072;

/// The place that this program runs in.
#[must_use]
pub fn here() -> Place {
    if std::env::var_os(PLACE).is_some_and(|place| place == Place::Guest.name()) {
        Place::Guest
    } else {
        Place::Host
    }
}

/// What the results of a part say of their place: a part of the host runs where this program does, which is a guest where
/// somebody runs the program there.
#[must_use]
pub fn place_in_results(part: Place) -> Place {
    match part {
        Place::Host => here(),
        Place::Guest => Place::Guest,
    }
}

/// Finds a guest: a cached image, for this program.
///
/// # Errors
///
/// What is missing, and how to get it.
pub fn find() -> Result<Box<dyn Machine>, Missing> {
    if here() == Place::Guest {
        return Err(Missing {
            what: "a guest within the guest".to_owned(),
            remedy: "run the command on the host".to_owned(),
        });
    }
    let machine = ready::with_program(None, Path::new(OWN_FILE)).map_err(|error| match error {
        Error::Absent(absent) => Missing {
            what: absent.what(),
            remedy: absent.remedy(),
        },
        other => Missing {
            what: format!("a usable guest image ({other})"),
            remedy: format!("build it anew with `{}`", COMMAND),
        },
    })?;
    Ok(Box::new(Guest(machine)))
}

/// The guest image with this program in it. Each run boots it once.
#[derive(Debug)]
struct Guest(GuestMachine);

impl Machine for Guest {
    fn run(
        &self,
        job: &Job,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<Ending, String> {
        let mut machine = self.0.clone();
        machine.command.extend(job.arguments.iter().cloned());
        machine.payload.extend(job.files.iter().cloned());
        machine.time_limit = job.time_limit;
        machine.deterministic = job.deterministic;
        if job.deterministic.is_some() {
            machine.memory_mib = COUNTED_MEMORY_MIB;
        }
        // Nothing that differs between two runs may reach a counted one.
        let handed_on = HANDED_ON.iter().filter(|_| job.deterministic.is_none());
        for name in handed_on {
            if let Some(value) = std::env::var_os(name) {
                machine.env.push(((*name).to_owned(), value));
            }
        }
        match machine.run(stdout, stderr) {
            Ok(exit) => Ok(Ending::Exit(exit.code)),
            Err(Error::Lost(lost)) => Ok(Ending::Lost(Loss {
                reason: lost.cause.to_string(),
                console: lost.console,
            })),
            Err(error) => Err(error.to_string()),
        }
    }
}
