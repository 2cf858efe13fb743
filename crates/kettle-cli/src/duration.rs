//! Durations on the command line: `1.5`, `1.5s`, `200ms`, `50us`.

use std::time::Duration;

/// The longest duration that an argument may ask for: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// Reads a duration: a number with `s`, `ms` or `us` behind it; without a unit it is seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        unit => return Err(format!("'{unit}' is no unit: write s, ms or us")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("'{digits}' is not a number"))?;
    let seconds = number * seconds_per_unit;
    match (0.0..=SECONDS_MAX).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("it is not between 0 and a day".to_owned()),
    }
}

/// As [`parse`], and more than nothing.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_are() {
        for (text, micros) in [
            ("1.5", 1_500_000),
            ("2s", 2_000_000),
            ("0.25ms", 250),
            ("50us", 50),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn durations_that_are_not() {
        for text in ["", "s", "1h", "-1", "nan", "inf", "86401", "1 s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0ms").is_err());
    }
}
