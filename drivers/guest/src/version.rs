//! Debian's order of versions (deb-version(7)).

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = epoch(left);
    let (right_epoch, right) = epoch(right);
    let (left, left_revision) = left.rsplit_once('-').unwrap_or((left, "0"));
    let (right, right_revision) = right.rsplit_once('-').unwrap_or((right, "0"));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| part(left, right))
        .then_with(|| part(left_revision, right_revision))
}

/// Returns the version as upstream has it: without epoch and Debian's revision.
pub(crate) fn upstream(version: &str) -> &str {
    let (_, version) = epoch(version);
    version.rsplit_once('-').map_or(version, |(start, _)| start)
}

fn epoch(version: &str) -> (u64, &str) {
    version
        .split_once(':')
        .and_then(|(epoch, rest)| Some((epoch.parse().ok()?, rest)))
        .unwrap_or((0, version))
}

/// Compares runs of other characters and runs of digits in turn.
fn part(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (left_text, left_rest) = split(left, |c| !c.is_ascii_digit());
        let (right_text, right_rest) = split(right, |c| !c.is_ascii_digit());
        let (left_number, left_next) = split(left_rest, |c| c.is_ascii_digit());
        let (right_number, right_next) = split(right_rest, |c| c.is_ascii_digit());
        let order = text(left_text, right_text).then_with(|| number(left_number, right_number));
        if order.is_ne() || (left_next.is_empty() && right_next.is_empty()) {
            return order;
        }
        (left, right) = (left_next, right_next);
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `~` is before the end, the end before letters, letters before the rest.
fn text(left: &str, right: &str) -> Ordering {
    let rank = |c: Option<char>| match c {
        Some('~') => 0,
        None => 1,
        Some(c) if c.is_ascii_alphabetic() => u32::from(c),
        Some(c) => u32::from(c) + 256,
    };
    let (mut left, mut right) = (left.chars(), right.chars());
    loop {
        let (a, b) = (left.next(), right.next());
        let order = rank(a).cmp(&rank(b));
        if order.is_ne() || (a.is_none() && b.is_none()) {
            return order;
        }
    }
}

fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let rising = [
            "1.0~rc1-1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0+b-1",
            "1.0.1-1",
            "1.2-1",
            "1.10-1",
            "1:0.1-1",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            assert_eq!(compare(pair[0], pair[0]), Ordering::Equal);
        }
        let kernels = [
            "6.1.0-9",
            "6.1.0-38",
            "6.12.94+deb13",
            "6.12.107+deb13",
            "7.2+deb14",
        ];
        for pair in kernels.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn the_upstream_part_is_between_epoch_and_revision() {
        assert_eq!(upstream("2.3.9-0+deb13u1"), "2.3.9");
        assert_eq!(upstream("1:2.4.4-1~bpo-3"), "2.4.4-1~bpo");
        assert_eq!(upstream("7"), "7");
    }
}
