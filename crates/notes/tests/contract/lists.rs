//! Laws of listing: order, pages, filters, previews, totals, and what completes a beginning.

use std::collections::BTreeSet;

use notes::{Caller, ListQuery, NoteId, SearchQuery};

use crate::stage::{Stage, caller, patch, tag, titles};

pub(crate) async fn newest_change_first_and_ties_by_id(stage: &Stage) {
    let ann = caller("ann");
    let first = stage.add(&ann, "first", "c", &[]).await;
    let second = stage.add(&ann, "second", "c", &[]).await;
    for id in ["b", "c", "a"] {
        let id = NoteId::parse(id).unwrap();
        stage
            .store
            .insert(notes::Note {
                id,
                ..second.clone()
            })
            .await
            .unwrap();
    }
    stage.tick();
    let change = patch(Some("first again"), None, None);
    stage
        .notes
        .update(&ann, &first.id, change, None)
        .await
        .unwrap();
    let page = stage.list(&ann, ListQuery::default()).await;
    let ids: Vec<&str> = page.items.iter().map(|note| note.id.as_str()).collect();
    assert_eq!(ids, [first.id.as_str(), second.id.as_str(), "c", "b", "a"]);
}

/// Notes `n0` to `n{count - 1}`, three in each second.
async fn many(stage: &Stage, who: &Caller, count: usize) {
    for n in 0..count {
        if n % 3 == 0 {
            stage.tick();
        }
        let tags: &[&str] = if n % 2 == 0 { &["even"] } else { &[] };
        let new = crate::stage::new_note(&format!("n{n}"), "same words", tags);
        stage.notes.create(who, new).await.unwrap();
    }
}

pub(crate) async fn pages_join_without_gap_or_repetition(stage: &Stage) {
    let ann = caller("ann");
    many(stage, &ann, 25).await;
    let all = stage
        .list(
            &ann,
            ListQuery {
                limit: 100,
                ..ListQuery::default()
            },
        )
        .await;
    assert_eq!((all.items.len(), all.next_cursor), (25, None));
    for tags in [vec![], vec![tag("even")]] {
        let wanted: Vec<_> = all
            .items
            .iter()
            .filter(|note| tags.iter().all(|t| note.tags.contains(t)))
            .collect();
        for limit in [1, 2, 7, 13, 24, 25, 26] {
            let mut query = ListQuery {
                limit,
                tags: tags.clone(),
                ..ListQuery::default()
            };
            let mut seen = Vec::new();
            loop {
                let page = stage.list(&ann, query.clone()).await;
                assert!(!page.items.is_empty() && page.items.len() <= limit as usize);
                assert_eq!(page.total, Some(wanted.len() as u64));
                seen.extend(page.items);
                query.cursor = page.next_cursor;
                if query.cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen.iter().collect::<Vec<_>>(), wanted, "pages of {limit}");
        }
    }
}

pub(crate) async fn pages_are_stable_while_notes_change(stage: &Stage) {
    let ann = caller("ann");
    many(stage, &ann, 30).await;
    let mut query = ListQuery {
        limit: 5,
        ..ListQuery::default()
    };
    let mut seen: Vec<String> = Vec::new();
    let (mut changed, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    for round in 0.. {
        let page = stage.list(&ann, query.clone()).await;
        seen.extend(page.items.iter().map(|note| note.title.as_str().to_owned()));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
        // Another note comes, one that is still ahead changes, and the last one seen goes: the
        // very note that the cursor was made from.
        stage.add(&ann, &format!("late {round}"), "c", &[]).await;
        let ahead = format!("n{}", round * 4);
        if !seen.contains(&ahead) && round < 3 {
            let all = stage
                .list(
                    &ann,
                    ListQuery {
                        limit: 100,
                        ..ListQuery::default()
                    },
                )
                .await;
            let note = all
                .items
                .iter()
                .find(|note| note.title.as_str() == ahead)
                .unwrap();
            let change = patch(None, Some("changed"), None);
            stage
                .notes
                .update(&ann, &note.id, change, None)
                .await
                .unwrap();
            changed.insert(ahead);
        }
        let last = page.items.last().unwrap();
        stage.notes.delete(&ann, &last.id, None).await.unwrap();
        deleted.insert(last.title.as_str().to_owned());
    }
    assert!(!changed.is_empty() && !deleted.is_empty());
    let expected: BTreeSet<String> = (0..30)
        .map(|n| format!("n{n}"))
        .filter(|title| !changed.contains(title))
        .collect();
    assert_eq!(seen.len(), expected.len(), "nothing twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
}

pub(crate) async fn filters_narrow_and_combine(stage: &Stage) {
    let ann = caller("ann");
    let one = stage.add(&ann, "One", "c", &["a", "b"]).await;
    let two = stage.add(&ann, "Two", "c", &["a"]).await;
    let three = stage.add(&ann, "Three", "c", &["b", "ab"]).await;
    stage.tick();
    stage
        .notes
        .update(&ann, &one.id, patch(None, Some("d"), None), None)
        .await
        .unwrap();
    let base = ListQuery::default;
    for (query, expected) in [
        (
            ListQuery {
                tags: vec![tag("a")],
                ..base()
            },
            vec!["One", "Two"],
        ),
        (
            ListQuery {
                tags: vec![tag("a"), tag("b")],
                ..base()
            },
            vec!["One"],
        ),
        (
            ListQuery {
                tags: vec![tag("b"), tag("b")],
                ..base()
            },
            vec!["One", "Three"],
        ),
        (
            ListQuery {
                tags: vec![tag("c")],
                ..base()
            },
            vec![],
        ),
        (
            ListQuery {
                updated_after: Some(three.updated_at),
                ..base()
            },
            vec!["One", "Three"],
        ),
        (
            ListQuery {
                updated_before: Some(three.updated_at),
                ..base()
            },
            vec!["Two"],
        ),
        (
            ListQuery {
                created_after: Some(two.created_at),
                ..base()
            },
            vec!["Three", "Two"],
        ),
        (
            ListQuery {
                created_before: Some(two.created_at),
                ..base()
            },
            vec!["One"],
        ),
        (
            ListQuery {
                title_prefix: Some("T".into()),
                ..base()
            },
            vec!["Three", "Two"],
        ),
        (
            ListQuery {
                tags: vec![tag("a")],
                title_prefix: Some("t".into()),
                updated_before: Some(three.updated_at),
                created_after: Some(one.created_at),
                ..base()
            },
            vec!["Two"],
        ),
    ] {
        let page = stage.list(&ann, query).await;
        assert_eq!(titles(&page), expected);
        assert_eq!(page.total, Some(expected.len() as u64));
    }
}

pub(crate) async fn a_list_with_a_tag_follows_changes(stage: &Stage) {
    let ann = caller("ann");
    for title in ["one", "two", "three"] {
        stage.add(&ann, title, "c", &["a", "b"]).await;
    }
    stage.tick();
    let oldest = stage
        .notes
        .titles(&ann.owner, "one", 1)
        .await
        .unwrap()
        .items
        .remove(0)
        .id;
    stage
        .notes
        .update(&ann, &oldest, patch(None, Some("d"), None), None)
        .await
        .unwrap();
    for tags in [vec![tag("a")], vec![tag("b"), tag("a")]] {
        let mut query = ListQuery {
            tags,
            limit: 1,
            ..ListQuery::default()
        };
        for title in ["one", "three", "two"] {
            let page = stage.list(&ann, query.clone()).await;
            assert_eq!((titles(&page), page.total), (vec![title], Some(3)));
            query.cursor = page.next_cursor;
        }
        assert_eq!(query.cursor, None);
    }
}

pub(crate) async fn a_title_prefix_ignores_case(stage: &Stage) {
    let ann = caller("ann");
    for title in [
        "Äpfel",
        "ÄRGER",
        "apple",
        "100% sure",
        "a_b",
        "axb",
        "x\u{10FFFF}y",
        "ΑΣΑ",
    ] {
        stage.add(&ann, title, "c", &[]).await;
    }
    for (prefix, expected) in [
        ("ä", vec!["ÄRGER", "Äpfel"]),
        ("ÄP", vec!["Äpfel"]),
        ("A", vec!["axb", "a_b", "apple"]),
        ("a_", vec!["a_b"]),
        ("100%", vec!["100% sure"]),
        ("%", vec![]),
        ("X\u{10FFFF}", vec!["x\u{10FFFF}y"]),
        ("ας", vec![]),
        ("ΑΣ", vec!["ΑΣΑ"]),
        ("apple pie", vec![]),
    ] {
        let query = ListQuery {
            title_prefix: Some(prefix.to_owned()),
            ..ListQuery::default()
        };
        assert_eq!(titles(&stage.list(&ann, query).await), expected, "{prefix}");
    }
    let query = ListQuery {
        title_prefix: Some(String::new()),
        ..ListQuery::default()
    };
    assert_eq!(stage.list(&ann, query).await.items.len(), 8);
}

pub(crate) async fn a_preview_is_the_beginning_of_the_content(stage: &Stage) {
    let ann = caller("ann");
    for (content, chars) in [
        ("short\n".to_owned(), 6),
        ("é😀".repeat(100), 200),
        ("語".repeat(201), 201),
    ] {
        let note = stage.add(&ann, "t", &content, &["x"]).await;
        let page = stage
            .list(
                &ann,
                ListQuery {
                    limit: 1,
                    ..ListQuery::default()
                },
            )
            .await;
        let shown = &page.items[0];
        assert_eq!(shown.preview, content.chars().take(200).collect::<String>());
        assert_eq!(shown.content_chars, chars);
        assert_eq!(
            (&shown.id, &shown.title, &shown.tags),
            (&note.id, &note.title, &note.tags)
        );
        assert_eq!(
            (shown.created_at, shown.updated_at),
            (note.created_at, note.updated_at)
        );
        assert_eq!(shown.version, 1);
    }
}

pub(crate) async fn totals_are_exact(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    stage.add(&bob, "other", "c", &["x"]).await;
    let mut ids = Vec::new();
    for n in 0..10_u64 {
        ids.push(stage.add(&ann, "t", "word", &["x"]).await.id);
        assert_eq!(
            stage.list(&ann, ListQuery::default()).await.total,
            Some(n + 1)
        );
    }
    for (gone, id) in ids.iter().enumerate() {
        stage.notes.delete(&ann, id, None).await.unwrap();
        let left = Some(9 - gone as u64);
        let tagged = ListQuery {
            tags: vec![tag("x")],
            limit: 1,
            ..ListQuery::default()
        };
        assert_eq!(stage.list(&ann, ListQuery::default()).await.total, left);
        assert_eq!(stage.list(&ann, tagged).await.total, left);
        let hits = stage
            .notes
            .search(&ann.owner, &SearchQuery::new("word"))
            .await
            .unwrap();
        assert_eq!(hits.total, left);
    }
}
