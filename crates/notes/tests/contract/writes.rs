//! Laws of writing: what is kept, who may see it, who wins, and who is told.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use notes::{
    Author, Caller, ChangeKind, Error, Limits, ListQuery, NoteId, NotePatch, Notes, SearchQuery,
    StoreError,
};

use crate::stage::{Stage, caller, new_note, patch, titles};

pub(crate) async fn text_comes_back_byte_for_byte(stage: &Stage) {
    let ann = caller("ann");
    let longest = "\u{10FFFF}".repeat(10_000);
    for content in [
        "let v: Vec<String> = a && b;",
        "<script>alert('x')</script> <b>bold</b> &amp; \"quoted\"",
        "line\r\nline\n\r\ttab  \n\n",
        " \t leading and trailing \n",
        "👨‍👩‍👧‍👦 🇩🇪 👍🏽 🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}",
        "שלום \u{2067}مرحبا\u{2069} \u{202E}abc\u{202C} עולם",
        "e\u{301} é ﬁ ½ ﷺ \u{FEFF}\u{200B}\u{2028}\u{FFFD}\u{FFFE}",
        "'; DROP TABLE notes; --",
        &longest,
    ] {
        let title: String = content
            .chars()
            .filter(|c| !c.is_control())
            .take(255)
            .collect();
        let title = title.replace(['\u{2028}', '\u{2067}', '\u{2069}'], "x");
        let created = stage
            .notes
            .create(&ann, new_note(&title, content, &[]))
            .await
            .unwrap();
        let read = stage.notes.get(&ann.owner, &created.id).await.unwrap();
        assert_eq!(read.content.as_str().as_bytes(), content.as_bytes());
        assert_eq!(read.title.as_str().as_bytes(), title.as_bytes());
        let change = patch(Some("x"), Some(content), None);
        stage
            .notes
            .update(&ann, &created.id, change, None)
            .await
            .unwrap();
        let read = stage.notes.get(&ann.owner, &created.id).await.unwrap();
        assert_eq!(read.content.as_str().as_bytes(), content.as_bytes());
    }
}

pub(crate) async fn times_and_authors_are_recorded(stage: &Stage) {
    let ann = caller("ann");
    let bot = Caller {
        owner: ann.owner.clone(),
        author: Author::parse("bot/1 (ü)").unwrap(),
    };
    stage.clock.advance(SignedDuration::from_micros(1_234_567));
    let created = stage.add(&bot, "t", "c", &[]).await;
    assert_eq!(
        created.created_at,
        "2026-01-01T00:00:02.234567Z".parse::<Timestamp>().unwrap()
    );
    assert_eq!(created.updated_at, created.created_at);
    assert_eq!(
        (&created.created_by, &created.updated_by),
        (&bot.author, &bot.author)
    );
    stage.clock.advance(SignedDuration::from_micros(1));
    let change = patch(None, Some("d"), None);
    stage
        .notes
        .update(&ann, &created.id, change, None)
        .await
        .unwrap();
    let read = stage.notes.get(&ann.owner, &created.id).await.unwrap();
    assert_eq!(read.created_at, created.created_at);
    assert_eq!(
        read.updated_at.as_microsecond() - read.created_at.as_microsecond(),
        1
    );
    assert_eq!(
        (&read.created_by, &read.updated_by),
        (&bot.author, &ann.author)
    );
}

/// Title, content and tags.
type Shape<'a> = (&'a str, &'a str, &'a [&'a str]);

pub(crate) async fn a_patch_changes_only_what_it_names(stage: &Stage) {
    let ann = caller("ann");
    let id = stage
        .add(&ann, "title", "content", &["one", "two"])
        .await
        .id;
    let steps: [(NotePatch, Shape<'_>); 4] = [
        (
            patch(Some("new"), None, None),
            ("new", "content", &["one", "two"]),
        ),
        (
            patch(None, Some("text"), None),
            ("new", "text", &["one", "two"]),
        ),
        (
            patch(None, None, Some(&["three"])),
            ("new", "text", &["three"]),
        ),
        (patch(Some("t"), Some("c"), Some(&[])), ("t", "c", &[])),
    ];
    for (change, (title, content, tags)) in steps {
        let updated = stage.notes.update(&ann, &id, change, None).await.unwrap();
        assert_eq!(
            (updated.title.as_str(), updated.content.as_str()),
            (title, content)
        );
        assert_eq!(
            updated
                .tags
                .iter()
                .map(notes::Tag::as_str)
                .collect::<Vec<_>>(),
            tags
        );
        assert_eq!(stage.notes.get(&ann.owner, &id).await.unwrap(), updated);
    }
    let nothing = stage
        .notes
        .update(&ann, &id, NotePatch::default(), None)
        .await;
    assert!(matches!(nothing, Err(Error::Invalid(_))));
    assert_eq!(stage.notes.get(&ann.owner, &id).await.unwrap().version, 5);
}

pub(crate) async fn versions_only_grow(stage: &Stage) {
    let ann = caller("ann");
    let id = stage.add(&ann, "t", "c", &[]).await.id;
    for version in 2..=20 {
        // The same text again is a change as well.
        let change = patch(None, Some("c"), None);
        let expected = (version % 2 == 0).then_some(version - 1);
        let updated = stage
            .notes
            .update(&ann, &id, change, expected)
            .await
            .unwrap();
        assert_eq!(updated.version, version);
    }
}

pub(crate) async fn a_conflict_shows_the_note_as_it_is(stage: &Stage) {
    let ann = caller("ann");
    let id = stage.add(&ann, "t", "first", &[]).await.id;
    let second = patch(None, Some("second"), None);
    let current = stage
        .notes
        .update(&ann, &id, second, Some(1))
        .await
        .unwrap();
    for expected in [0, 1, 3, u64::MAX] {
        let third = patch(None, Some("third"), None);
        let updated = stage.notes.update(&ann, &id, third, Some(expected)).await;
        let deleted = stage
            .notes
            .delete(&ann, &id, Some(expected))
            .await
            .map(|_| ());
        for refused in [updated.map(|_| ()), deleted] {
            match refused {
                Err(Error::Conflict {
                    expected: given,
                    current: seen,
                }) => {
                    assert_eq!((given, *seen), (expected, current.clone()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(stage.notes.get(&ann.owner, &id).await.unwrap(), current);
    assert_eq!(stage.changes().len(), 2);
}

pub(crate) async fn of_concurrent_updates_of_one_version_one_wins(stage: &Stage) {
    let ann = caller("ann");
    let id = stage.add(&ann, "t", "c", &[]).await.id;
    for version in 1..=5 {
        let results = at_once(stage, 16, |notes, n| {
            let (ann, id) = (ann.clone(), id.clone());
            async move {
                let change = patch(None, Some(&format!("by {n}")), None);
                notes.update(&ann, &id, change, Some(version)).await
            }
        })
        .await;
        let won: Vec<_> = results.iter().flatten().collect();
        assert_eq!(won.len(), 1);
        assert_eq!(stage.notes.get(&ann.owner, &id).await.unwrap(), *won[0]);
        for lost in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(lost, Error::Conflict { .. }), "{lost:?}");
        }
    }
}

pub(crate) async fn concurrent_updates_without_a_version_all_count(stage: &Stage) {
    let ann = caller("ann");
    let id = stage.add(&ann, "t", "c", &[]).await.id;
    let results = at_once(stage, 32, |notes, n| {
        let (ann, id) = (ann.clone(), id.clone());
        async move {
            let change = patch(Some(&format!("title {n}")), None, None);
            notes.update(&ann, &id, change, None).await
        }
    })
    .await;
    let mut versions: Vec<u64> = results
        .into_iter()
        .map(|note| note.unwrap().version)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=33).collect::<Vec<u64>>());
}

/// Runs `count` operations at the same time.
async fn at_once<T, F>(stage: &Stage, count: usize, operation: impl Fn(Notes, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count)
        .map(|n| tokio::spawn(operation(stage.notes.clone(), n)))
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

pub(crate) async fn an_owner_sees_only_its_own_notes(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    let secret = stage
        .add(&ann, "secret plan", "hidden words", &["private"])
        .await;
    let (id, notes) = (&secret.id, &stage.notes);

    assert!(matches!(
        notes.get(&bob.owner, id).await,
        Err(Error::NotFound { .. })
    ));
    for expected in [None, Some(1), Some(9)] {
        let updated = notes
            .update(&bob, id, patch(Some("x"), None, None), expected)
            .await;
        assert!(matches!(updated, Err(Error::NotFound { .. })));
        let deleted = notes.delete(&bob, id, expected).await;
        assert!(matches!(deleted, Err(Error::NotFound { .. })));
    }
    for query in [
        ListQuery::default(),
        ListQuery {
            tags: vec![crate::stage::tag("private")],
            ..ListQuery::default()
        },
        ListQuery {
            title_prefix: Some("secret".to_owned()),
            ..ListQuery::default()
        },
    ] {
        let page = stage.list(&bob, query).await;
        assert_eq!((page.items.len(), page.total), (0, Some(0)));
    }
    for text in ["secret", "hidden", "private", "plan words", "-", "ann"] {
        let page = notes
            .search(&bob.owner, &SearchQuery::new(text))
            .await
            .unwrap();
        assert_eq!((page.items.len(), page.total), (0, Some(0)), "{text}");
    }
    let tags = notes.tags(&bob.owner, "", 10).await.unwrap();
    assert_eq!((tags.items.len(), tags.total), (0, Some(0)));
    let found = notes.titles(&bob.owner, "", 10).await.unwrap();
    assert_eq!((found.items.len(), found.total), (0, Some(0)));

    assert_eq!(notes.get(&ann.owner, id).await.unwrap(), secret);
    assert!(
        stage
            .changes()
            .iter()
            .all(|change| change.owner == ann.owner)
    );
}

pub(crate) async fn ids_are_unique_for_each_owner(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    let note = stage.add(&ann, "ann's", "c", &[]).await;
    let again = stage.store.insert(note.clone()).await;
    assert!(matches!(again, Err(Error::Exists { id }) if id == note.id));
    let imported = notes::Note {
        owner: bob.owner.clone(),
        ..note.clone()
    };
    assert_eq!(
        stage.store.insert(imported.clone()).await.unwrap(),
        imported
    );
    stage.notes.delete(&bob, &note.id, None).await.unwrap();
    assert_eq!(stage.notes.get(&ann.owner, &note.id).await.unwrap(), note);
    assert_eq!(
        titles(&stage.list(&ann, ListQuery::default()).await),
        ["ann's"]
    );
}

pub(crate) async fn what_is_missing_is_not_found(stage: &Stage) {
    let ann = caller("ann");
    for text in ["note_1726_abc", "no-such", "~.~", &"x".repeat(128)] {
        let id = NoteId::parse(text).unwrap();
        let results = [
            stage.notes.get(&ann.owner, &id).await.map(|_| ()),
            stage
                .notes
                .update(&ann, &id, patch(Some("t"), None, None), Some(1))
                .await
                .map(|_| ()),
            stage.notes.delete(&ann, &id, None).await.map(|_| ()),
        ];
        for result in results {
            assert!(matches!(&result, Err(Error::NotFound { id: named }) if *named == id));
        }
    }
    assert!(stage.changes().is_empty());
}

pub(crate) async fn time_never_runs_backwards_for_a_note(stage: &Stage) {
    let ann = caller("ann");
    let created = stage.add(&ann, "t", "c", &[]).await;
    stage.clock.advance(SignedDuration::from_hours(-1));
    let change = patch(None, Some("d"), None);
    let updated = stage
        .notes
        .update(&ann, &created.id, change, None)
        .await
        .unwrap();
    assert_eq!(updated.updated_at, created.updated_at);
    assert_eq!(
        stage.notes.get(&ann.owner, &created.id).await.unwrap(),
        updated
    );
}

pub(crate) async fn changes_are_told_once_in_order_and_after_the_fact(stage: &Stage) {
    let ann = caller("ann");
    // Whoever is told of a change finds it done: the listener reads, from a thread of its own.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let listening = Notes::new(stage.store.clone(), Limits::default())
        .on_change(Arc::new(move |change| tell.send(change.clone()).unwrap()));
    let reader = {
        let seen = seen.clone();
        tokio::spawn(async move {
            while let Some(change) = told.recv().await {
                let note = listening.get(&change.owner, &change.id).await;
                seen.lock()
                    .unwrap()
                    .push((change.version, note.map(|note| note.version).ok()));
                if change.kind == ChangeKind::Deleted {
                    return;
                }
            }
        })
    };
    let id = stage.add(&ann, "t", "c", &[]).await.id;
    let updates = at_once(stage, 20, |notes, n| {
        let (ann, id) = (ann.clone(), id.clone());
        async move {
            notes
                .update(&ann, &id, patch(Some(&n.to_string()), None, None), None)
                .await
        }
    })
    .await;
    assert!(updates.iter().all(Result::is_ok));
    // A change is told before it is answered.
    assert_eq!(stage.changes().len(), 21);
    stage.notes.delete(&ann, &id, None).await.unwrap();
    reader.await.unwrap();

    let versions: Vec<u64> = stage
        .changes()
        .iter()
        .map(|change| change.version)
        .collect();
    assert_eq!(versions, (1..=21).chain([21]).collect::<Vec<u64>>());
    for (version, found) in seen.lock().unwrap().iter() {
        assert!(
            found.is_none_or(|found| found >= *version),
            "{version} {found:?}"
        );
    }
}

pub(crate) async fn a_write_whose_caller_leaves_is_done_and_told(stage: &Stage) {
    let ann = caller("ann");
    {
        let mut create = pin!(stage.notes.create(&ann, new_note("left", "c", &[])));
        let begun = create
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        drop(begun);
    }
    stage.add(&ann, "stayed", "c", &[]).await;
    let begun = Instant::now();
    while stage.changes().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not done");
        tokio::task::yield_now().await;
    }
    let page = stage.list(&ann, ListQuery::default()).await;
    assert_eq!(titles(&page), ["stayed", "left"]);
}

pub(crate) async fn a_closed_store_refuses(stage: &Stage) {
    let ann = caller("ann");
    let id = stage.add(&ann, "t", "c", &[]).await.id;
    stage.notes.close().await.unwrap();
    stage.notes.close().await.unwrap();
    let results = [
        stage
            .notes
            .create(&ann, new_note("t", "c", &[]))
            .await
            .map(|_| ()),
        stage.notes.get(&ann.owner, &id).await.map(|_| ()),
        stage
            .notes
            .list(&ann.owner, &ListQuery::default())
            .await
            .map(|_| ()),
        stage
            .notes
            .search(&ann.owner, &SearchQuery::new("x"))
            .await
            .map(|_| ()),
        stage.notes.delete(&ann, &id, None).await.map(|_| ()),
        stage.notes.ping().await.map_err(Error::from),
    ];
    for result in results {
        assert!(
            matches!(result, Err(Error::Store(StoreError::Unavailable(_)))),
            "{result:?}"
        );
    }
}

pub(crate) async fn a_store_answers_while_it_is_open(stage: &Stage) {
    stage.notes.ping().await.unwrap();
}
