//! What was asked for on the command line.

use std::ops::RangeInclusive;

pub(crate) const HELP: &str = "\
The morning of an outage, replayed: three clients of one provider, over real HTTP.

    cargo run --release --example outage -- [OPTIONS]

Without options: on loopback sockets, 20 times faster than lifetime, in under a minute. It exits with 1
if the morning doesn't show what it has to.

    --virtual      in memory, on a clock that doesn't wait: in a second, and the same each time
    --seed N       which morning: when requests come, how long replies take [1]
    --seeds A..B   each of these mornings, both ends included, a line each; 1 if any fails
    --json         one JSON object and nothing else; with --seeds one a line
    --help         this
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Help,
    Play(Options),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) virtually: bool,
    pub(crate) json: bool,
    pub(crate) seeds: Seeds,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seeds {
    One(u64),
    Each(RangeInclusive<u64>),
}

/// What the arguments ask for, or what is wrong with them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let (mut virtually, mut json, mut seeds) = (false, false, None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let given = match argument.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--virtual" => {
                virtually = true;
                continue;
            }
            "--json" => {
                json = true;
                continue;
            }
            "--seed" => Seeds::One(number(&value()?)?),
            "--seeds" => Seeds::Each(range(&value()?)?),
            _ => return Err(format!("{argument:?} isn't an option")),
        };
        if seeds.replace(given).is_some() {
            return Err("only one of --seed and --seeds, and once, can be given".to_owned());
        }
    }
    let seeds = seeds.unwrap_or(Seeds::One(1));
    Ok(Asked::Play(Options { virtually, json, seeds }))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} isn't a seed: a whole number from 0 to {}", u64::MAX))
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) =
        text.split_once("..").ok_or(format!("{text:?} aren't seeds, as 1..20 are"))?;
    let range = number(first)?..=number(last.strip_prefix('=').unwrap_or(last))?;
    if range.is_empty() {
        return Err(format!("there are no seeds from {} to {}", range.start(), range.end()));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_combine_in_any_order() {
        let play = |virtually, json, seeds| Ok(Asked::Play(Options { virtually, json, seeds }));
        assert_eq!(parsed(""), play(false, false, Seeds::One(1)));
        assert_eq!(parsed("--json --seed 7"), play(false, true, Seeds::One(7)));
        let all = play(true, true, Seeds::Each(1..=20));
        assert_eq!(parsed("--virtual --seeds 1..20 --json"), all);
        assert_eq!(parsed("--seeds 1..=20 --json --virtual"), all);
        assert_eq!(parsed("--virtual --help"), Ok(Asked::Help));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("--fast", "--fast"),
            ("virtual", "virtual"),
            ("--seed", "--seed"),
            ("--seed x", "\"x\""),
            ("--seed -1", "\"-1\""),
            ("--seed 18446744073709551616", "18446744073709551616"),
            ("--seeds 7", "\"7\""),
            ("--seeds 1..", "\"\""),
            ("--seeds 9..1", "from 9 to 1"),
            ("--seed 1 --seeds 1..2", "only one"),
            ("--seed 1 --seed 2", "once"),
        ] {
            let wrong = parsed(line).unwrap_err();
            assert!(wrong.contains(named), "{line}: {wrong}");
        }
        for option in ["--virtual", "--seed", "--seeds", "--json", "--help"] {
            assert!(HELP.contains(option));
        }
    }
}
