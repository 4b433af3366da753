//! Laws of being apart: what one owner does changes nothing that another is told.

use notes::{Error, ListQuery, Notes, Owner, SearchQuery};

use crate::stage::{Stage, caller, patch, tag};

/// Everything that an owner is told of its notes, cursors included.
async fn told(notes: &Notes, owner: &Owner) -> Vec<String> {
    let mut told = Vec::new();
    let lists = [
        ListQuery::default(),
        ListQuery {
            tags: vec![tag("same")],
            ..ListQuery::default()
        },
        ListQuery {
            title_prefix: Some("w".to_owned()),
            ..ListQuery::default()
        },
    ];
    for list in lists {
        let mut query = ListQuery { limit: 2, ..list };
        loop {
            let page = notes.list(owner, &query).await.unwrap();
            let titles: Vec<_> = page.items.iter().map(|note| note.title.as_str()).collect();
            told.push(format!(
                "{titles:?} {:?} {:?}",
                page.total, page.next_cursor
            ));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
    }
    for text in ["word", "same", "wo", "\"word text\"", "-", "theirs"] {
        let mut query = SearchQuery {
            limit: 2,
            ..SearchQuery::new(text)
        };
        loop {
            let page = notes.search(owner, &query).await.unwrap();
            let hits: Vec<_> = page
                .items
                .iter()
                .map(|hit| hit.note.title.as_str())
                .collect();
            told.push(format!("{hits:?} {:?} {:?}", page.total, page.next_cursor));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
    }
    for typed in ["", "w", "s", "t"] {
        told.push(format!("{:?}", notes.tags(owner, typed, 2).await.unwrap()));
        told.push(format!(
            "{:?}",
            notes.titles(owner, typed, 2).await.unwrap()
        ));
    }
    told
}

pub(crate) async fn what_an_owner_is_told_does_not_depend_on_others(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    for number in 0..5 {
        let content = format!("word text - {}", "filler ".repeat(number));
        stage
            .add(&ann, &format!("word {number}"), &content, &["same"])
            .await;
    }
    let before = told(&stage.notes, &ann.owner).await;
    assert!(before.iter().any(|told| told.contains("Some(5)")));
    let mut last = None;
    for number in 0..30 {
        let title = format!("word theirs {number}");
        let content = "word text - same theirs".repeat(number + 1);
        let note = stage.add(&bob, &title, &content, &["same", "theirs"]).await;
        last = Some(note.id);
    }
    assert_eq!(told(&stage.notes, &ann.owner).await, before);
    let last = last.unwrap();
    let change = patch(Some("word"), None, Some(&["same", "other"]));
    stage.notes.update(&bob, &last, change, None).await.unwrap();
    stage.notes.delete(&bob, &last, None).await.unwrap();
    assert_eq!(told(&stage.notes, &ann.owner).await, before);
}

pub(crate) async fn a_conflict_with_a_note_of_somebody_else_shows_nothing(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    let note = stage.add(&ann, "secret", "text", &[]).await;
    for expected in [0, 1, 2, u64::MAX] {
        let change = patch(Some("x"), None, None);
        let updated = stage.notes.update(&bob, &note.id, change, Some(expected));
        let deleted = stage.notes.delete(&bob, &note.id, Some(expected));
        for error in [updated.await.unwrap_err(), deleted.await.unwrap_err()] {
            assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        }
    }
    assert_eq!(stage.notes.get(&ann.owner, &note.id).await.unwrap(), note);
}

pub(crate) async fn a_search_goes_on_when_the_note_at_the_end_of_its_page_is_gone(stage: &Stage) {
    let ann = caller("ann");
    for limit in [1, 2, 3] {
        let word = format!("word{limit}");
        for number in 0..7 {
            let content = format!("{word} {}", "filler ".repeat(number));
            stage.add(&ann, &format!("n{number}"), &content, &[]).await;
        }
        let mut rest = stage.found(&ann, &word, 100).await;
        assert_eq!(rest.len(), 7);
        let mut query = SearchQuery {
            limit,
            ..SearchQuery::new(&word)
        };
        // Each page takes its notes from the front of what is left, and loses its last one.
        loop {
            let page = stage.notes.search(&ann.owner, &query).await.unwrap();
            let shown = page.items.iter().map(|hit| hit.note.title.as_str());
            let expected: Vec<String> = rest.drain(..page.items.len()).collect();
            assert!(shown.eq(expected.iter().map(String::as_str)));
            let last = page.items.last().unwrap().note.id.clone();
            stage.notes.delete(&ann, &last, None).await.unwrap();
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(rest, Vec::<String>::new());
    }
}
