//! The words of a command line: flags of the root may stand before the verb, as docker's and podman's do.

use std::ffi::OsString;

/// Flags that may stand before the verb, and whether each takes a value.
const BEFORE: [(&str, bool); 4] = [
    ("--root", true),
    ("--driver", true),
    ("--driver-opt", true),
    ("--json", false),
];

/// Moves the flags before the verb to after it, where the verb takes them or says that it does not.
pub(crate) fn arranged(words: Vec<OsString>, program: &dyn Fn() -> clap::Command) -> Vec<OsString> {
    let mut at = 1;
    while let Some(flag) = words.get(at).and_then(|word| word.to_str()) {
        let (name, value) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value)));
        match BEFORE.iter().find(|(known, _)| *known == name) {
            Some((_, takes)) => at += 1 + usize::from(*takes && value.is_none()),
            None => break,
        }
    }
    let at = at.min(words.len());
    if at == 1 {
        return words;
    }
    let mut program = program();
    program.build();
    let mut command = &program;
    let mut verb = at;
    while let Some(deeper) = words
        .get(verb)
        .and_then(|word| command.find_subcommand(word))
    {
        command = deeper;
        verb += 1;
    }
    // What is no verb of this program comes first too: it is what is refused, and not the flag.
    let verb = verb.max(words.len().min(at + 1));
    let parts = [&words[..1], &words[at..verb], &words[1..at], &words[verb..]];
    parts.concat()
}

/// Whether the verb is `run`.
pub(crate) fn is_run(words: &[OsString]) -> bool {
    let mut verbs = words.iter().skip(1).filter(|word| *word != "container");
    verbs.next().is_some_and(|word| word == "run")
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn flags_go_behind_the_verb() {
        let program = || {
            let volume = Command::new("volume").subcommand(Command::new("ls"));
            Command::new("cowlab").subcommand(volume)
        };
        let arranged = |line: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            let words = super::arranged(words, &program).into_iter();
            let words = words.map(|word| word.into_string().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        for (given, wanted) in [
            (
                "cowlab --root /r --json volume ls -q",
                "cowlab volume ls --root /r --json -q",
            ),
            (
                "cowlab --root=/r volume --x ls",
                "cowlab volume --root=/r --x ls",
            ),
            ("cowlab volume --root /r", "cowlab volume --root /r"),
            ("cowlab --help volume", "cowlab --help volume"),
            ("cowlab --root", "cowlab --root"),
            ("cowlab --root /r network ls", "cowlab network --root /r ls"),
        ] {
            assert_eq!(arranged(given), wanted);
        }
        assert!(is_run(&["cowlab", "container", "run"].map(OsString::from)));
        assert!(!is_run(&["cowlab", "ps", "run"].map(OsString::from)));
    }
}
