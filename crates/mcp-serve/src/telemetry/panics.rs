//! What the log says of a panic: where it was, and nothing that was in memory there.

use std::{any::Any, panic, thread};

/// From now on a panic of this process is a line of the log instead of text on standard error. The
/// message of a panic may quote what it happened to, the text of a request for one, so it is told
/// only where it stands in the source as it is.
pub fn log_panics() {
    panic::set_hook(Box::new(|info| {
        tracing::error!(
            location = info.location().map(tracing::field::display),
            thread = thread::current().name(),
            literal = literal(info.payload()),
            "a thread panicked"
        );
    }));
}

/// The message of a panic that was not made of anything.
fn literal(payload: &dyn Any) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_message_is_told_only_when_it_is_a_literal() {
        let told = catch_unwind(|| panic!("as it stands")).unwrap_err();
        assert_eq!(literal(told.as_ref()), Some("as it stands"));
        let text = String::from("s\u{e9}cret");
        let quotes = catch_unwind(|| text[..2].len()).unwrap_err();
        assert_eq!(literal(quotes.as_ref()), None);
        let number = catch_unwind(|| text.parse::<u8>().unwrap()).unwrap_err();
        assert_eq!(literal(number.as_ref()), None);
    }
}
