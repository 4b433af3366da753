//! Lengths of time as they are written on the command line.

use jiff::SignedDuration;

/// A number and its unit: `s`, `m` for minutes, `h`, `d` or `w`. `None` for anything else, and for
/// more seconds than 64 bits hold.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return None,
    };
    let digits = text.get(..unit_at)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = plain.then(|| digits.parse().ok()).flatten()?;
    count.checked_mul(unit).map(SignedDuration::from_secs)
}
