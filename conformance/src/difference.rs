//! The first thing in which a driver and the plain directory differ.

use std::fmt;

/// A difference, as one line: `path: aspect: expected X, got Y`.
///
/// The line holds nothing that changes from run to run, because a declared deviation names it word for word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    line: String,
    place: Option<String>,
}

impl Difference {
    /// Says what was expected of an aspect of a path, and what was found.
    #[must_use]
    pub fn new(
        path: impl fmt::Display,
        aspect: impl fmt::Display,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self {
            line: format!("{path}: {aspect}: expected {expected}, got {got}"),
            place: None,
        }
    }

    /// Adds where it was seen, for people; not part of the line.
    #[must_use]
    pub fn seen_in(mut self, place: impl fmt::Display) -> Self {
        self.place.get_or_insert_with(|| place.to_string());
        self
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Where it was seen, such as "the view of layer 2".
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line)?;
        match &self.place {
            Some(place) => write!(formatter, " (in {place})"),
            None => Ok(()),
        }
    }
}

/// An error that a case did not expect is a difference: on a plain directory it would not have happened. This is why
/// the type itself is no [`std::error::Error`].
impl<E: std::error::Error> From<E> for Difference {
    fn from(error: E) -> Self {
        let mut causes = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !causes.ends_with(&text) {
                causes = format!("{causes}: {text}");
            }
            source = cause.source();
        }
        Self {
            line: format!("unexpected error: {causes}"),
            place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_path_aspect_expectation_and_finding() {
        let difference =
            Difference::new("/f", "mode", "0644", "0600").seen_in("the view of layer 2");
        assert_eq!(difference.line(), "/f: mode: expected 0644, got 0600");
        assert_eq!(
            difference.to_string(),
            "/f: mode: expected 0644, got 0600 (in the view of layer 2)"
        );
    }
}
