//! The end of a stream: a mark behind what a command wrote, since a port of the guest has no end of its own.

/// Passes a stream on up to its mark.
#[derive(Debug)]
pub(crate) struct Trailer {
    mark: Vec<u8>,
    /// The start of what may become the mark.
    held: Vec<u8>,
    ended: bool,
}

impl Trailer {
    /// Waits for `mark`, which must not be empty.
    pub(crate) fn new(mark: &str) -> Self {
        Self {
            mark: mark.into(),
            held: Vec::new(),
            ended: false,
        }
    }

    /// Takes the next piece of the stream and returns what is known to be the command's.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.ended {
            return Vec::new();
        }
        self.held.extend_from_slice(piece);
        let found = self
            .held
            .windows(self.mark.len())
            .position(|window| window == self.mark);
        let end = found.unwrap_or_else(|| {
            let longest = self.held.len().min(self.mark.len() - 1);
            let kept = (0..=longest)
                .rev()
                .find(|length| self.held.ends_with(&self.mark[..*length]));
            self.held.len() - kept.unwrap_or(0)
        });
        self.ended = found.is_some();
        let rest = self.held.split_off(end);
        std::mem::replace(&mut self.held, rest)
    }

    /// Tells whether the mark was seen.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Returns what was held back, where the stream ended without its mark.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        if self.ended {
            return Vec::new();
        }
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_whatever_the_pieces() {
        let stream = b"some aa text aaaab and what a daemon wrote";
        for size in 1..stream.len() {
            let mut trailer = Trailer::new("aaab");
            let seen: Vec<u8> = stream
                .chunks(size)
                .flat_map(|piece| trailer.feed(piece))
                .collect();
            assert_eq!(seen, b"some aa text a", "pieces of {size}");
            assert!(trailer.ended());
            assert!(trailer.rest().is_empty());
        }
    }

    #[test]
    fn holds_back_no_more_than_may_be_the_mark() {
        let mut trailer = Trailer::new("mark");
        assert_eq!(trailer.feed(b"line\n"), b"line\n");
        assert_eq!(trailer.feed(b"m"), b"");
        assert_eq!(trailer.feed(b"mar"), b"m");
        assert_eq!(trailer.rest(), b"mar");
        assert!(!trailer.ended());
    }
}
