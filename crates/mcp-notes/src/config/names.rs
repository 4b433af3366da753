//! Variables that are no settings: which of them were meant to be one.

use std::ffi::OsStr;

use super::{Mistake, Vars, table::rows};

/// Names of fewer letters are near too many words to be meant by them.
const SHORT: usize = 8;

/// Adds a mistake for every variable whose name is nearly that of a setting, and a warning for others
/// that only this server could be meant by.
///
/// A setting that is misspelt is one that somebody relies on and that does nothing.
pub(super) fn check(vars: &Vars, mistakes: &mut Vec<Mistake>, warnings: &mut Vec<String>) {
    let set = vars.iter().filter(|(_, value)| !value.is_empty());
    let others = set.filter(|(name, value)| !is_known(name) && !is_of_a_service(name, value));
    for (name, _) in others {
        if let Some(known) = nearest(name) {
            mistakes.push(Mistake {
                setting: name.clone(),
                given: None,
                expected: format!(
                    "{known} if that is meant, because {name} is no setting; if another program \
                     reads it, take it out of the environment of this one"
                ),
            });
        } else if bare(name).is_some() {
            warnings.push(format!("{name} is not a setting"));
        }
    }
}

/// The names of all settings, with those that mean the same.
fn known() -> impl Iterator<Item = (&'static str, bool)> {
    rows().flat_map(|row| {
        let names = [&row.name].into_iter().chain(row.aliases);
        names.map(|name| (*name, row.secret))
    })
}

fn is_known(name: &str) -> bool {
    known().any(|(known, is_secret)| {
        name == known || (is_secret && name.strip_suffix("_FILE") == Some(known))
    })
}

/// What follows a prefix that is this server's own.
fn bare(name: &str) -> Option<&str> {
    let mut own = ["NOTES_", "MCP_"].into_iter();
    own.find_map(|prefix| name.strip_prefix(prefix))
}

/// Whether Kubernetes or Docker made the variable to say where a service of that name is.
pub(super) fn is_of_a_service(name: &str, value: &OsStr) -> bool {
    let is_url = || {
        let value = value.to_string_lossy();
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
    };
    let is_protocol = |word: &str| ["TCP", "UDP", "SCTP"].contains(&word);
    let words: Vec<_> = name.split('_').collect();
    match words.as_slice() {
        [_, .., "SERVICE", "HOST" | "PORT"] => true,
        [_, .., "PORT"] if is_url() => true,
        [_, .., "PORT", digits, protocol]
        | [_, .., "PORT", digits, protocol, "PROTO" | "PORT" | "ADDR"] => {
            is_protocol(protocol) && digits.parse::<u16>().is_ok()
        }
        _ => name.contains("_SERVICE_PORT_"),
    }
}

/// The setting that `name` is nearly the name of, if there is one: the nearest.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    // A short word in small letters is somebody else's.
    let whole = Some(&*name).filter(|name| name.contains('_') || name.len() >= SHORT);
    let spellings = whole.into_iter().chain(bare(&name));
    let found = spellings.flat_map(|name| {
        known().filter_map(move |(known, _)| Some((changes(name, known)?, known)))
    });
    found.min().map(|(_, known)| known)
}

/// How many letters make the difference between `name` and `known`, if they are near.
///
/// Within a family, which is all names with the same first word, a third of the rest may differ, or
/// whole words at the end. Between families two letters may.
fn changes(name: &str, known: &str) -> Option<usize> {
    let (Some((family, _)), Some((known_family, known_rest))) =
        (name.split_once('_'), known.split_once('_'))
    else {
        let is_close = known.len() >= SHORT && distance(name, known) <= 1;
        return (name == known || is_close).then_some(0);
    };
    let letters = distance(name, known).min(distance(&singular(name), &singular(known)));
    if family != known_family {
        return (known.len() >= SHORT && letters <= 2).then_some(letters);
    }
    let continues = |long: &str, short: &str| {
        let rest = long.strip_prefix(short);
        rest.is_some_and(|rest| rest.starts_with('_'))
    };
    let is_near =
        letters * 3 <= known_rest.len() || continues(name, known) || continues(known, name);
    is_near.then_some(letters)
}

/// `name` with each of its words as one of what it is.
fn singular(name: &str) -> String {
    let words = name.split('_').map(|word| match word.strip_suffix("IES") {
        Some(stem) => format!("{stem}Y"),
        None => word.strip_suffix('S').unwrap_or(word).to_owned(),
    });
    words.collect::<Vec<_>>().join("_")
}

/// How many letters must be added, removed, replaced or swapped with the next to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
