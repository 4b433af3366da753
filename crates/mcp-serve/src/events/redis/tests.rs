//! What is sent between replicas is read as it was written, and nothing else is read.

use proptest::prelude::*;

use super::*;
use crate::events::Change;

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Tools),
        Just(Change::Prompts),
        Just(Change::Resources),
        ".{0,40}".prop_map(|uri| Change::Resource(uri.into())),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let event = (proptest::option::of(".{0,20}"), change()).prop_map(|(audience, change)| {
        Message::Event(Event {
            audience: audience.map(Arc::from),
            change,
        })
    });
    let revoked =
        ".{0,20}".prop_map(|credential| Message::Signal(Signal::CredentialRevoked { credential }));
    prop_oneof![event, revoked]
}

proptest! {
    #[test]
    fn a_packet_is_read_as_it_was_written(
        n in any::<u64>(),
        messages in proptest::collection::vec(message(), 0..8),
    ) {
        let written: Vec<_> = messages.iter().map(|it| it.write().unwrap()).collect();
        let json = Packet::write("a1", n, &written);
        let packet = Packet::read(&json).unwrap();
        prop_assert_eq!((&*packet.from, packet.n), ("a1", n));
        prop_assert_eq!(packet.next(), n.saturating_add(messages.len() as u64));
        let read: Vec<_> = packet.messages().collect();
        prop_assert_eq!(read, messages);
        prop_assert!(is_read_as_written(&json));
    }

    #[test]
    fn what_others_write_there_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(is_read_as_written(&bytes));
    }
}

#[test]
fn what_a_later_version_says_is_ignored_and_the_rest_is_heard() {
    let json = br#"{"v":1,"from":"a","n":3,"more":1,"m":[
        {"event":{"change":"tools"}},
        {"event":{"change":"roots"}},
        {"wish":{}},
        {"signal":{"unheard_of":{}}},
        {"event":{"audience":"ann","change":{"resource":"note:1"},"by":"bo"}}]}"#;
    let packet = Packet::read(json).unwrap();
    let heard: Vec<_> = packet.messages().collect();
    let event = |audience: Option<&str>, change| {
        Message::Event(Event {
            audience: audience.map(Arc::from),
            change,
        })
    };
    assert_eq!(
        heard,
        [
            event(None, Change::Tools),
            event(Some("ann"), Change::Resource("note:1".into())),
        ]
    );
    // They count all the same.
    assert_eq!(packet.next(), 8);
    assert!(Packet::read(br#"{"v":2,"from":"a","n":3,"m":[]}"#).is_none());
    assert!(Packet::read(&vec![b' '; 6 << 20]).is_none());
}
