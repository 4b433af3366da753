//! The laws of a store of sessions. What one replica does, the other sees at once.

use std::{sync::Arc, time::Duration};

use mcp_serve::{
    auth::{Identity, Principal},
    session::{EndReason, Limits, Session, SessionChange, SessionError, SessionId},
};
use rmcp::model::{InitializeRequestParams, LoggingLevel, ProtocolVersion};
use serde_json::json;

use super::{Kind, World, world::session};

const HALF_HOUR: Duration = Duration::from_mins(30);
const HOUR: Duration = Duration::from_hours(1);

pub(super) async fn a_session_comes_back_as_it_was_opened(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let client: InitializeRequestParams = serde_json::from_value(json!({
        "_meta": {"progressToken": "of the request"},
        "protocolVersion": "2025-06-18",
        "capabilities": {
            "roots": {"listChanged": true},
            "sampling": {},
            "elicitation": {},
            "experimental": {"x": {"é\u{0}\"": [1, null, {"deep": "ÿ"}]}},
        },
        "clientInfo": {"name": "käse \u{1F9C0}", "title": "T", "version": "1"},
    }))
    .unwrap();
    let principals = [
        Principal::anonymous(),
        Principal::new("me"),
        Principal::new("{a}b c:é*?[x]"),
        Principal::new("x".repeat(200)),
        Principal::of(Identity {
            issuer: Some("https://issuer.example".into()),
            subject: "me".into(),
            ..Identity::default()
        }),
    ];
    for principal in principals {
        for version in [
            ProtocolVersion::V_2025_03_26,
            ProtocolVersion::V_2025_06_18,
            ProtocolVersion::V_2025_11_25,
        ] {
            let session = Session::new(principal.clone(), version.clone(), client.clone());
            let id = world.one.create(session).await.unwrap();
            for replica in [&world.one, &world.other, &world.other, &world.one] {
                let found = replica.touch(&id, &principal).await.unwrap().unwrap();
                assert_eq!(found.principal, principal);
                assert_eq!(found.version, version);
                let mut without_meta = client.clone();
                without_meta.meta = None;
                assert_eq!(*found.client, without_meta);
                assert_eq!(found.log_level, None);
                assert!(found.subscriptions.is_empty());
            }
        }
    }
}

pub(super) async fn an_unknown_id_is_no_session(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let me = Principal::new("me");
    for id in ["unknown", "*", "{a}", &"x".repeat(128)] {
        let id = SessionId::parse(id).unwrap();
        let change = SessionChange::Subscribe("note:///1".into());
        assert!(world.one.touch(&id, &me).await.unwrap().is_none());
        assert!(!world.one.change(&id, &me, change).await.unwrap());
        assert!(!world.one.delete(&id, &me).await.unwrap());
    }
    world.one.sweep().await;
    assert_eq!(world.one.count().await.unwrap(), 0);
    assert!(world.ends().is_empty());
}

pub(super) async fn a_used_session_outlives_its_idle_time_and_an_idle_one_does_not(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    for replica in [&world.other, &world.one, &world.one].repeat(4) {
        world.pass(HALF_HOUR).await;
        assert!(replica.touch(&id, &me).await.unwrap().is_some());
    }
    world.pass(Duration::from_mins(59)).await;
    assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    world.pass(HOUR).await;
    assert!(world.one.touch(&id, &me).await.unwrap().is_none());
    assert_eq!(world.ends(), [EndReason::Idle]);
    assert!(world.other.touch(&id, &me).await.unwrap().is_none());
    world.other.sweep().await;
    assert_eq!(world.ends(), [EndReason::Idle]);
}

pub(super) async fn a_change_is_use_too(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let changes = [
        SessionChange::Subscribe("note:///1".into()),
        SessionChange::LogLevel(LoggingLevel::Error),
        SessionChange::Unsubscribe("note:///2".into()),
        SessionChange::Subscribe("note:///1".into()),
    ];
    for change in changes {
        world.pass(HALF_HOUR + Duration::from_mins(10)).await;
        assert!(world.other.change(&id, &me, change).await.unwrap());
    }
    world.pass(HOUR).await;
    let change = SessionChange::LogLevel(LoggingLevel::Error);
    assert!(!world.other.change(&id, &me, change).await.unwrap());
    assert_eq!(world.ends(), [EndReason::Idle]);
}

pub(super) async fn a_session_in_use_ends_at_its_lifetime(kind: Kind) {
    let limits = Limits {
        lifetime: Duration::from_secs(5000),
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    world.pass(Duration::from_mins(50)).await;
    assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    world.pass(Duration::from_secs(1990)).await;
    assert!(world.other.touch(&id, &me).await.unwrap().is_some());
    assert_eq!(world.one.count().await.unwrap(), 1);
    world.pass(Duration::from_secs(10)).await;
    // It was used a moment ago, and is not counted any more.
    assert_eq!(world.one.count().await.unwrap(), 0);
    assert!(world.one.touch(&id, &me).await.unwrap().is_none());
    assert!(world.other.touch(&id, &me).await.unwrap().is_none());
    world.other.sweep().await;
    assert_eq!(world.ends(), [EndReason::Lifetime]);
}

pub(super) async fn to_others_a_session_does_not_exist(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    for other in [
        Principal::new("other"),
        Principal::new("m"),
        Principal::new("ME"),
        Principal::anonymous(),
    ] {
        for replica in [&world.one, &world.other] {
            let change = SessionChange::Subscribe("note:///1".into());
            assert!(replica.touch(&id, &other).await.unwrap().is_none());
            assert!(!replica.change(&id, &other, change).await.unwrap());
            assert!(!replica.delete(&id, &other).await.unwrap());
            let mine = replica.touch(&id, &me).await.unwrap().unwrap();
            assert!(mine.subscriptions.is_empty());
        }
    }
    // Nor does it live on by what others try.
    for _ in 0..3 {
        world.pass(Duration::from_mins(20)).await;
        let other = Principal::new("other");
        assert!(world.one.touch(&id, &other).await.unwrap().is_none());
    }
    assert!(world.one.touch(&id, &me).await.unwrap().is_none());
    assert_eq!(world.ends(), [EndReason::Idle]);
}

pub(super) async fn changes_are_seen_by_the_next_touch(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let uri = |text: &str| -> Arc<str> { text.into() };
    let odd = uri("note:///é \"*\" {x}\n");
    let changes = [
        (
            SessionChange::Subscribe(uri("note:///1")),
            None,
            vec!["note:///1"],
        ),
        (
            SessionChange::Subscribe(odd.clone()),
            None,
            vec!["note:///1", &odd],
        ),
        (
            SessionChange::Subscribe(uri("note:///1")),
            None,
            vec!["note:///1", &odd],
        ),
        (
            SessionChange::LogLevel(LoggingLevel::Debug),
            Some(LoggingLevel::Debug),
            vec!["note:///1", &odd],
        ),
        (
            SessionChange::Unsubscribe(uri("note:///1")),
            Some(LoggingLevel::Debug),
            vec![&odd],
        ),
        (
            SessionChange::Unsubscribe(uri("note:///never")),
            Some(LoggingLevel::Debug),
            vec![&odd],
        ),
        (
            SessionChange::LogLevel(LoggingLevel::Emergency),
            Some(LoggingLevel::Emergency),
            vec![&odd],
        ),
    ];
    for (at, (change, level, uris)) in changes.into_iter().enumerate() {
        let (here, there) = if at % 2 == 0 {
            (&world.one, &world.other)
        } else {
            (&world.other, &world.one)
        };
        assert!(here.change(&id, &me, change).await.unwrap(), "{at}");
        for replica in [there, here, there] {
            let seen = replica.touch(&id, &me).await.unwrap().unwrap();
            assert_eq!(seen.log_level, level, "{at}");
            let found: Vec<&str> = seen.subscriptions.iter().map(AsRef::as_ref).collect();
            assert_eq!(found, uris, "{at}");
        }
    }
}

pub(super) async fn subscriptions_are_bounded(kind: Kind) {
    let limits = Limits {
        subscriptions_max: 2,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let subscribe = |uri: &str| SessionChange::Subscribe(uri.into());
    let too_many = SessionError::TooManySubscriptions { max: 2 };
    for uri in ["a", "b", "a"] {
        assert!(world.one.change(&id, &me, subscribe(uri)).await.unwrap());
    }
    let refused = world.other.change(&id, &me, subscribe("c")).await;
    assert_eq!(refused.unwrap_err(), too_many);
    // What is there already, or was not there at all, changes nothing.
    assert!(world.other.change(&id, &me, subscribe("b")).await.unwrap());
    let unsubscribe = |uri: &str| SessionChange::Unsubscribe(uri.into());
    assert!(world.one.change(&id, &me, unsubscribe("c")).await.unwrap());
    let refused = world.one.change(&id, &me, subscribe("c")).await;
    assert_eq!(refused.unwrap_err(), too_many);
    assert!(world.one.change(&id, &me, unsubscribe("a")).await.unwrap());
    assert!(world.other.change(&id, &me, subscribe("c")).await.unwrap());
    let seen = world.one.touch(&id, &me).await.unwrap().unwrap();
    assert_eq!(
        seen.subscriptions
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>(),
        ["b", "c"]
    );
}

pub(super) async fn a_deleted_session_is_gone_at_once_and_told_once(kind: Kind) {
    let world = World::open(kind, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let stays = world.one.create(session("me")).await.unwrap();
    for replica in [&world.one, &world.other] {
        assert!(replica.touch(&id, &me).await.unwrap().is_some());
    }
    world.pass(Duration::from_secs(100)).await;
    assert!(world.other.delete(&id, &me).await.unwrap());
    for replica in [&world.one, &world.other] {
        assert!(replica.touch(&id, &me).await.unwrap().is_none());
        let change = SessionChange::LogLevel(LoggingLevel::Error);
        assert!(!replica.change(&id, &me, change).await.unwrap());
        assert!(!replica.delete(&id, &me).await.unwrap());
        assert_eq!(replica.count().await.unwrap(), 1);
        assert!(replica.touch(&stays, &me).await.unwrap().is_some());
        replica.sweep().await;
    }
    assert_eq!(world.ends(), [EndReason::Deleted]);
    assert_eq!(world.ages(), [100]);
}

pub(super) async fn over_the_cap_the_longest_idle_gives_way_and_a_busy_server_refuses(kind: Kind) {
    let limits = Limits {
        sessions_max: 2,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let first = world.one.create(session("a")).await.unwrap();
    world.pass(Duration::from_secs(30)).await;
    let second = world.one.create(session("b")).await.unwrap();
    let refused = world.one.create(session("c")).await.unwrap_err();
    let SessionError::Full { retry_after } = refused else {
        panic!("{refused:?}");
    };
    assert!(
        (25..=30).contains(&retry_after.as_millis().div_ceil(1000)),
        "{retry_after:?}"
    );
    world.pass(Duration::from_secs(30)).await;
    let third = world.one.create(session("c")).await.unwrap();
    let is_open = async |id, who| {
        let who = Principal::new(who);
        world.other.touch(id, &who).await.unwrap().is_some()
    };
    assert!(!is_open(&first, "a").await);
    assert!(is_open(&second, "b").await && is_open(&third, "c").await);
    assert_eq!(world.ends(), [EndReason::Evicted]);
    assert_eq!(world.one.count().await.unwrap(), 2);
}

pub(super) async fn one_principal_cannot_take_the_sessions_of_others(kind: Kind) {
    let limits = Limits {
        per_principal_max: 1,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let other = world.one.create(session("other")).await.unwrap();
    world.pass(Duration::from_mins(10)).await;
    let first = world.one.create(session("me")).await.unwrap();
    assert!(world.one.create(session("me")).await.is_err());
    assert!(world.other.create(session("me")).await.is_err());
    world.pass(Duration::from_mins(1)).await;
    let second = world.other.create(session("me")).await.unwrap();
    let is_open = async |id, who| {
        let who = Principal::new(who);
        world.one.touch(id, &who).await.unwrap().is_some()
    };
    assert!(is_open(&other, "other").await);
    assert!(!is_open(&first, "me").await);
    assert!(is_open(&second, "me").await);
    assert_eq!(world.ends(), [EndReason::Evicted]);
    // A place that is given back is free at once.
    assert!(
        world
            .one
            .delete(&second, &Principal::new("me"))
            .await
            .unwrap()
    );
    assert!(world.one.create(session("me")).await.is_ok());
}

pub(super) async fn ended_sessions_are_not_counted_and_give_their_places_back(kind: Kind) {
    let limits = Limits {
        sessions_max: 3,
        per_principal_max: 2,
        lifetime: 2 * HOUR,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let idle = world.one.create(session("a")).await.unwrap();
    let used = world.one.create(session("a")).await.unwrap();
    world.pass(HALF_HOUR).await;
    let a = Principal::new("a");
    assert!(world.one.touch(&used, &a).await.unwrap().is_some());
    world.one.create(session("b")).await.unwrap();
    assert_eq!(world.other.count().await.unwrap(), 3);
    world.pass(HALF_HOUR).await;
    // Without a sweep, and whoever asks.
    assert_eq!(world.other.count().await.unwrap(), 2);
    assert_eq!(world.one.count().await.unwrap(), 2);
    assert!(world.one.touch(&idle, &a).await.unwrap().is_none());
    world.other.create(session("a")).await.unwrap();
    assert_eq!(world.one.count().await.unwrap(), 3);
    assert!(world.one.touch(&used, &a).await.unwrap().is_some());
    world.pass(HOUR + HALF_HOUR).await;
    assert_eq!(world.one.count().await.unwrap(), 0);
    for _ in 0..2 {
        world.one.create(session("a")).await.unwrap();
    }
    world.other.sweep().await;
    assert_eq!(world.other.count().await.unwrap(), 2);
    assert_eq!(world.ends().len(), 4);
}

pub(super) async fn every_end_is_told_once_with_its_age(kind: Kind) {
    let limits = Limits {
        lifetime: 2 * HOUR,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let me = Principal::new("me");
    let lasting = world.one.create(session("me")).await.unwrap();
    world.one.create(session("me")).await.unwrap();
    for _ in 0..3 {
        world.pass(HALF_HOUR).await;
        assert!(world.one.touch(&lasting, &me).await.unwrap().is_some());
    }
    // Nobody looks for long: each ended when its time was over, and not when it was noticed.
    world.pass(HOUR).await;
    for replica in [&world.one, &world.other] {
        replica.sweep().await;
        assert_eq!(replica.count().await.unwrap(), 0);
    }
    let mut ends: Vec<_> = world.ends().into_iter().zip(world.ages()).collect();
    ends.sort_by_key(|end| end.1);
    // Between two steps a real store may let a moment pass.
    let (idle, lifetime) = (3600..=3610, 7200..=7200);
    assert_eq!(
        [ends[0].0, ends[1].0],
        [EndReason::Idle, EndReason::Lifetime]
    );
    assert!(
        idle.contains(&ends[0].1) && lifetime.contains(&ends[1].1),
        "{ends:?}"
    );
    assert_eq!(ends.len(), 2);
}

pub(super) async fn the_longest_idle_of_many_gives_way(kind: Kind) {
    const OPEN: usize = 300;
    let limits = Limits {
        per_principal_max: OPEN,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let me = Principal::new("me");
    let mut open = Vec::new();
    for _ in 0..OPEN {
        open.push(world.one.create(session("me")).await.unwrap());
    }
    world.pass(Duration::from_mins(2)).await;
    let longest_idle = open.remove(200);
    for id in &open {
        assert!(world.other.touch(id, &me).await.unwrap().is_some());
    }
    let newest = world.other.create(session("me")).await.unwrap();
    assert!(world.one.touch(&longest_idle, &me).await.unwrap().is_none());
    // All others were used a moment ago.
    let refused = world.one.create(session("me")).await.unwrap_err();
    assert!(matches!(refused, SessionError::Full { .. }), "{refused:?}");
    for id in open.iter().chain([&newest]) {
        assert!(world.one.touch(id, &me).await.unwrap().is_some());
    }
    assert_eq!(world.ends(), [EndReason::Evicted]);
    assert_eq!(world.one.count().await.unwrap(), OPEN);
}

pub(super) async fn the_longest_idle_of_all_gives_way(kind: Kind) {
    const OPEN: usize = 60;
    let limits = Limits {
        sessions_max: OPEN,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let mut open = Vec::new();
    for at in 0..OPEN {
        let who = format!("caller {}", at % 7);
        let id = world.one.create(session(&who)).await.unwrap();
        open.push((id, Principal::new(who)));
    }
    world.pass(Duration::from_mins(2)).await;
    let (longest_idle, its) = open.remove(37);
    for (id, who) in &open {
        assert!(world.other.touch(id, who).await.unwrap().is_some());
    }
    world.one.create(session("new")).await.unwrap();
    assert!(
        world
            .other
            .touch(&longest_idle, &its)
            .await
            .unwrap()
            .is_none()
    );
    let refused = world.one.create(session("new")).await.unwrap_err();
    assert!(matches!(refused, SessionError::Full { .. }), "{refused:?}");
    for (id, who) in &open {
        assert!(world.one.touch(id, who).await.unwrap().is_some());
    }
    assert_eq!(world.ends(), [EndReason::Evicted]);
    assert_eq!(world.other.count().await.unwrap(), OPEN);
}

pub(super) async fn no_crowd_gets_more_than_one_principals_share(kind: Kind) {
    let limits = Limits {
        per_principal_max: 20,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let crowd = (0..60).map(|at| {
        let replica = if at % 2 == 0 {
            &world.one
        } else {
            &world.other
        };
        replica.create(session("me"))
    });
    let created = futures_util::future::join_all(crowd).await;
    for refused in created.iter().filter_map(|it| it.as_ref().err()) {
        assert!(matches!(refused, SessionError::Full { .. }), "{refused:?}");
    }
    assert_eq!(created.iter().filter(|it| it.is_ok()).count(), 20);
    assert_eq!(world.one.count().await.unwrap(), 20);
    assert!(world.one.create(session("you")).await.is_ok());
    assert!(world.ends().is_empty());
}
