//! What the init script of the guest reads: shell text made of arbitrary words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::{Error, Result};

/// Makes the script that becomes the command.
///
/// # Errors
///
/// [`Error::Variable`] for a name that no shell takes.
pub(crate) fn command(words: &[OsString], variables: &[(String, OsString)]) -> Result<Vec<u8>> {
    let mut text = b"cd /root\n".to_vec();
    for (name, value) in variables {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(plain)
        {
            return Err(Error::Variable { name: name.clone() });
        }
        text.extend(format!("export {name}=").bytes());
        text.extend(quoted(value));
        text.push(b'\n');
    }
    text.extend(b"exec");
    for word in words {
        text.push(b' ');
        text.extend(quoted(word));
    }
    text.push(b'\n');
    Ok(text)
}

/// Makes the settings of the init script: variables and the function that writes the archive of results.
pub(crate) fn settings(variables: &[(&str, &str)], results: &[String]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in variables {
        text.extend(format!("{name}=").bytes());
        text.extend(quoted(value.as_ref()));
        text.push(b'\n');
    }
    text.extend(b"results() {\n");
    if results.is_empty() {
        text.extend(b"\t:\n");
    } else {
        text.extend(b"\tbusybox tar -C / -cf - --");
        for path in results {
            text.push(b' ');
            text.extend(quoted(path.trim_start_matches('/').as_ref()));
        }
        text.push(b'\n');
    }
    text.extend(b"}\n");
    text
}

/// Quotes a word for a POSIX shell: nothing in single quotes is special but the quote itself.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(br"'\''"),
            byte => text.push(*byte),
        }
    }
    text.push(b'\'');
    OsString::from_vec(text).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowlab_sys::Cmd;

    #[test]
    fn a_shell_reads_back_every_byte() {
        let odd = OsString::from_vec(b"it's $HOME `id` \\ \"\n\xff*".to_vec());
        let script = command(
            &["printf".into(), "%s|%s".into(), odd.clone(), "".into()],
            &[("A_1".into(), odd.clone())],
        )
        .unwrap();
        let script = String::from_utf8_lossy(&script).into_owned();
        assert!(script.starts_with("cd /root\nexport A_1='it'"));
        let words = quoted(&odd);
        let mut line = b"printf %s ".to_vec();
        line.extend(words);
        let printed = Cmd::new("sh").args(["-c".into(), OsString::from_vec(line)]);
        assert_eq!(printed.output().unwrap().stdout, odd.as_bytes());
    }

    #[test]
    fn refuses_what_is_no_name() {
        for name in ["", "1a", "a-b", "a;b"] {
            assert!(
                command(&[], &[(name.into(), "x".into())]).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn settings_define_the_function() {
        let text = settings(&[("mode", "counted")], &["/var/tmp/a b".into()]);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "mode='counted'\nresults() {\n\tbusybox tar -C / -cf - -- 'var/tmp/a b'\n}\n"
        );
    }
}
