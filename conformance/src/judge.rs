//! Judging one operation: what it gave on the driver against what it gave in the plain directory.

use crate::difference::Difference;
use crate::op::{Expect, Op};
use crate::tree::Result;

/// What an operation gave: a value or an error number.
pub(crate) type Given = Result<String>;

/// Judges what an operation gave in the plain directory itself: a case that a plain directory does not keep is no case.
#[must_use]
pub(crate) fn plain(op: &Op, given: &Given) -> Option<Difference> {
    let expected = match op.expect {
        Expect::Same => return None,
        Expect::Success if given.is_ok() => return None,
        Expect::Not(value) if given.as_deref() != Ok(value) => return None,
        Expect::Value(value) if given.as_deref() == Ok(value) => return None,
        Expect::Failure(code) if *given == Err(code) => return None,
        expected => expected.to_string(),
    };
    Some(difference(op, &expected, given).seen_in("the plain directory"))
}

/// Judges what an operation of a layer gave in the plain directory: it must succeed.
#[must_use]
pub(crate) fn plain_layer(op: &Op, given: &Given) -> Option<Difference> {
    stated(op, given).map(|found| found.seen_in("the plain directory"))
}

/// Judges what an operation gave where there is no plain directory to compare with: it must give what is stated, or succeed.
#[must_use]
pub(crate) fn stated(op: &Op, given: &Given) -> Option<Difference> {
    let expected = match op.expect {
        Expect::Failure(code) if *given == Err(code) => return None,
        Expect::Failure(code) => code.to_string(),
        _ if given.is_err() => "ok".to_owned(),
        Expect::Value(value) if given.as_deref() != Ok(value) => value.to_owned(),
        Expect::Not(value) if given.as_deref() == Ok(value) => op.expect.to_string(),
        _ => return None,
    };
    Some(difference(op, &expected, given))
}

/// Judges what an operation gave on the driver.
#[must_use]
pub(crate) fn driver(op: &Op, plain: &Given, given: &Given) -> Option<Difference> {
    let kept = match op.expect {
        Expect::Success => given.is_ok(),
        Expect::Failure(code) => *given == Err(code),
        Expect::Value(value) => given.as_deref() == Ok(value),
        Expect::Same | Expect::Not(_) => given == plain,
    };
    if kept {
        return None;
    }
    let expected = match op.expect {
        Expect::Same | Expect::Not(_) => show(plain),
        stated => stated.to_string(),
    };
    Some(difference(op, &expected, given))
}

fn difference(op: &Op, expected: &str, given: &Given) -> Difference {
    let (path, aspect) = op.operation.subject();
    Difference::new(path, aspect, expected, show(given))
}

fn show(given: &Given) -> String {
    match given {
        Ok(value) => value.clone(),
        Err(code) => code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{ENOENT, EXDEV};
    use crate::op::{read, reads, rename};

    #[test]
    fn the_plain_directory_is_the_measure() {
        let op = read("/f");
        assert_eq!(driver(&op, &Err(ENOENT), &Err(ENOENT)), None);
        let found = driver(&op, &Ok("new".into()), &Ok("old".into())).unwrap();
        assert_eq!(found.line(), "/f: content: expected new, got old");
    }

    #[test]
    fn a_stated_result_holds_on_both_sides() {
        let op = rename("/d", "/e").succeeds();
        let found = driver(&op, &Ok("ok".into()), &Err(EXDEV)).unwrap();
        assert_eq!(found.line(), "/d: rename to /e: expected ok, got EXDEV");
        assert!(plain(&reads("/f", "x"), &Ok("y".into())).is_some());
        assert!(plain_layer(&rename("/d", "/e"), &Err(ENOENT)).is_some());
        assert!(plain_layer(&rename("/d", "/e").fails(ENOENT), &Err(ENOENT)).is_none());
    }
}
