//! Names near one that was mistyped.

/// Most names that a message lists.
const MOST: usize = 5;

/// Says which of the known names were perhaps meant, or all of them where they are few.
#[must_use]
pub fn nearest(name: &str, known: &[&str]) -> String {
    if known.len() <= 2 * MOST {
        return format!("there are {}", list(known));
    }
    let mut ranked: Vec<_> = known
        .iter()
        .map(|candidate| (rank(name, candidate), *candidate))
        .collect();
    ranked.sort_unstable();
    let near: Vec<_> = ranked
        .into_iter()
        .take(MOST)
        .map(|(_, name)| name)
        .collect();
    format!("near are {}", list(&near))
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Lower is nearer: names that contain the other come first, then by edit distance.
fn rank(name: &str, candidate: &str) -> usize {
    let distance = distance(name.as_bytes(), candidate.as_bytes());
    if candidate.contains(name) {
        distance.saturating_sub(candidate.len())
    } else {
        distance
    }
}

/// The number of single-byte edits that lead from one to the other (Levenshtein).
fn distance(one: &[u8], two: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (line, left) in one.iter().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, right) in two.iter().enumerate() {
            let above = row[column + 1];
            let replaced = diagonal + usize::from(left != right);
            row[column + 1] = replaced.min(above + 1).min(row[column] + 1);
            diagonal = above;
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
    }

    #[test]
    fn the_mistyped_name_comes_first() {
        let known = [
            "rename/file",
            "rename/directory",
            "link/a",
            "link/b",
            "xattr/a",
            "xattr/b",
            "mount/a",
            "mount/b",
            "store/a",
            "store/b",
            "store/c",
        ];
        assert!(nearest("rename/directroy", &known).starts_with("near are `rename/directory`"));
        assert!(nearest("ext5", &["ext4", "xfs"]).starts_with("there are `ext4`, `xfs`"));
    }
}
