//! `--chmod`: an octal mode, or a symbolic one such as `u=rwX,go=rX`, which keeps what it does not name.

/// A mode of `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The mode itself.
    Octal(u32),
    /// Changes to the mode that a file has.
    Symbolic(Vec<Clause>),
}

/// One change of a symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The bits of the classes that it names, 0o777 for all.
    classes: u32,
    operator: char,
    /// `rwxst` as bits of every class.
    bits: u32,
    /// `X`: execute for directories and for what anybody may execute.
    conditional: bool,
}

impl Mode {
    /// Reads a mode.
    ///
    /// # Errors
    ///
    /// Why it is none, in words for a message.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Self::Octal)
                .ok_or_else(|| format!("`{text}` is no mode: it is an octal number up to 7777"));
        }
        let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clauses).collect();
        clauses
            .map(|clauses| Self::Symbolic(clauses.concat()))
            .ok_or_else(|| format!("`{text}` is no mode: write it as `755` or `u=rwX,go=rX`"))
    }

    /// The mode of a file that has the mode `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(octal) => *octal,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode & 0o7777, |mode, clause| clause.apply(mode, directory)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let mut bits = self.bits;
        if self.conditional && (directory || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        let special = if self.classes & 0o700 != 0 { 0o4000 } else { 0 }
            | if self.classes & 0o070 != 0 { 0o2000 } else { 0 }
            | if self.classes & 0o007 != 0 { 0o1000 } else { 0 };
        let bits = bits & (self.classes | special);
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !(self.classes | (special & !0o1000))) | bits,
        }
    }
}

/// The changes of one part, `ug+r-x` being two.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let start = text.find(['+', '-', '='])?;
    let mut classes = 0;
    for c in text[..start].chars() {
        classes |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    if start == 0 {
        classes = 0o777;
    }
    let mut found: Vec<Clause> = Vec::new();
    for c in text[start..].chars() {
        if "+-=".contains(c) {
            found.push(Clause {
                classes,
                operator: c,
                bits: 0,
                conditional: false,
            });
            continue;
        }
        let clause = found.last_mut()?;
        match c {
            'r' => clause.bits |= 0o444,
            'w' => clause.bits |= 0o222,
            'x' => clause.bits |= 0o111,
            's' => clause.bits |= 0o6000,
            't' => clause.bits |= 0o1000,
            'X' => clause.conditional = true,
            _ => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        for (text, mode, directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("4755", 0, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("a=r", 0o4755, false, 0o444),
            ("u=", 0o755, false, 0o055),
            ("ug+r-x", 0o111, false, 0o441),
            ("+t", 0o777, true, 0o1777),
        ] {
            let found = Mode::parse(text).unwrap().apply(mode, directory);
            assert_eq!(found, expected, "{text} of {mode:o} is {found:o}");
        }
    }

    #[test]
    fn bad_modes_are_refused() {
        for text in ["", "8", "77777", "rwx", "u", "z+x", "u+q", "u=r,", "755x"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
    }
}
