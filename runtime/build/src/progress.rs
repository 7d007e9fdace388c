//! What happens in a build, for people who watch.

use std::time::Duration;

use cowlab_runtime::container::LogStream;

use crate::error::Place;

/// A step that is shown: a base image, or an instruction that may change files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number in the build, in the order in which steps begin.
    pub number: usize,
    /// The stage's name; `None` in a Dockerfile of one stage without a name.
    pub stage: Option<String>,
    /// Its number in the stage, and how many the stage has; `None` of what belongs to no stage.
    pub position: Option<(usize, usize)>,
    /// The instruction.
    pub text: String,
    /// Where it stands.
    pub place: Option<Place>,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step begins.
    Started(&'a Step),
    /// Another build runs the same step: this one waits for its result.
    Waiting(&'a Step),
    /// The program of a step wrote something, so long after its beginning.
    Output {
        /// The step.
        step: &'a Step,
        /// Which output.
        stream: LogStream,
        /// What it wrote.
        bytes: &'a [u8],
        /// How long the step has been running.
        elapsed: Duration,
    },
    /// The cache has the result of a step.
    Cached(&'a Step),
    /// A step is done.
    Done {
        /// The step.
        step: &'a Step,
        /// How long it took.
        elapsed: Duration,
    },
    /// A step failed; the error of the build says why.
    Failed {
        /// The step.
        step: &'a Step,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something that the user may not expect.
    Warning(&'a str),
}

/// Takes what happens in a build. Called from several threads, in the order in which things happen to one step.
pub trait Progress: Sync {
    /// Takes an event.
    fn event(&self, event: Event<'_>);
}
