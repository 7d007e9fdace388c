//! What a store records of the settings of its driver: one line `name=value` each.

use std::path::Path;

use cowlab_driver::Settings;

use crate::{Error, Result};

/// Writes settings as the database keeps them.
///
/// # Errors
///
/// [`Error::InvalidSetting`] for what would not read back.
pub(crate) fn to_text(settings: &Settings) -> Result<String> {
    let mut text = String::new();
    for (name, value) in settings {
        let reason = if name.is_empty() || name.contains('=') {
            "a name has a letter at least and no `=`"
        } else if name.contains('\n') || value.contains('\n') {
            "it holds a line end"
        } else {
            text.push_str(&format!("{name}={value}\n"));
            continue;
        };
        return Err(Error::InvalidSetting {
            name: name.clone(),
            reason,
        });
    }
    Ok(text)
}

/// Reads what [`to_text`] wrote.
pub(crate) fn of_text(text: &str) -> Settings {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The settings of a store: as recorded, and for a new store as asked.
///
/// # Errors
///
/// [`Error::Recorded`] where something else was recorded than is asked for.
pub(crate) fn agreed(
    store: &Path,
    recorded: Option<&Settings>,
    asked: &Settings,
) -> Result<Settings> {
    let Some(recorded) = recorded else {
        return Ok(asked.clone());
    };
    for (name, value) in asked {
        if recorded.get(name) != Some(value) {
            return Err(Error::Recorded {
                path: store.to_owned(),
                what: "setting",
                recorded: recorded
                    .get(name)
                    .map_or_else(|| format!("no {name}"), |known| format!("{name}={known}")),
                asked: format!("{name}={value}"),
            });
        }
    }
    Ok(recorded.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn settings_read_back() {
        let all = settings(&[("pool", "a b=c"), ("size", "")]);
        assert_eq!(of_text(&to_text(&all).unwrap()), all);
        for bad in [("", "x"), ("a=b", "x"), ("a", "x\ny")] {
            assert!(to_text(&settings(&[bad])).is_err());
        }
    }

    #[test]
    fn what_is_recorded_is_not_changed() {
        let (store, recorded) = (Path::new("/s"), settings(&[("pool", "a")]));
        let asked = |pairs| agreed(store, Some(&recorded), &settings(pairs));
        assert_eq!(asked(&[]).unwrap(), recorded);
        assert_eq!(asked(&[("pool", "a")]).unwrap(), recorded);
        let refused = asked(&[("pool", "b")]).unwrap_err().to_string();
        assert!(refused.contains("`pool=a`") && refused.contains("`pool=b`"));
        assert!(asked(&[("size", "1")]).is_err());
        assert_eq!(agreed(store, None, &recorded).unwrap(), recorded);
    }
}
