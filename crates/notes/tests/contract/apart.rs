//! Laws of being apart: what one owner does changes nothing that another is told.

use notes::{Caller, Error, ListQuery, Note, Notes, Owner, SearchQuery};
use proptest::prelude::*;

use crate::properties::for_all;
use crate::stage::{Stage, caller, new_note, patch, tag};

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

/// The order of hits in all searches, on one page and on several.
async fn orders(stage: &Stage, who: &Caller, searches: &[String]) -> Vec<Vec<String>> {
    let mut orders = Vec::new();
    for text in searches {
        let order = stage.found(who, text, 100).await;
        assert_eq!(stage.found(who, text, 2).await, order, "{text:?} in pages");
        orders.push(order);
    }
    orders
}

/// Notes of somebody else with one of the words, with words that begin as it does, and with long
/// texts, in turn; the n-th of them.
fn noise(word: &str, n: usize) -> (String, String) {
    match n % 3 {
        0 => (word.to_owned(), format!("{word} ").repeat(n + 1)),
        1 => (format!("{word}z"), format!("{word}{n} {word}zz")),
        _ => (
            "long".to_owned(),
            format!("{word} {}", "filler ".repeat(20 * n)),
        ),
    }
}

pub(crate) async fn the_order_of_hits_tells_nothing_of_the_words_of_others(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    // Pairs whose order would turn with the rarity of a word, or with the usual length of a text.
    let long = "filler ".repeat(30);
    for (title, content) in [
        ("rare 1", "secret secret secret plain"),
        ("rare 2", "secret plain plain plain"),
        ("begun 1", "plain plain sec sec sec sec"),
        ("begun 2", "plain plain plain plain sec"),
        ("length 1", "secret plain sec"),
        (
            "length 2",
            &format!("secret secret plain plain sec sec {long}"),
        ),
    ] {
        stage.add(&ann, title, content, &[]).await;
    }
    let searches: Vec<String> = [
        "secret plain ",
        "plain sec",
        "plain se",
        "secret ",
        "plain ",
    ]
    .map(str::to_owned)
    .to_vec();
    let before = orders(stage, &ann, &searches).await;
    assert!(before.iter().all(|order| order.len() >= 4), "{before:?}");
    for number in 0..51 {
        let (title, content) = noise("secret", number);
        stage.add(&bob, &title, &content, &["secret"]).await;
        if [0, 1, 2, 10, 50].contains(&number) {
            let after = orders(stage, &ann, &searches).await;
            assert_eq!(after, before, "after {} notes of bob", number + 1);
        }
    }
}

pub(crate) async fn no_words_of_others_move_any_hit(stage: &Stage) {
    let word = "[abc]{1,3}";
    let words = |counts| prop::collection::vec(word, counts);
    let own = (words(1..4), words(1..30), words(0..3));
    let given = (prop::collection::vec(own, 3..7), words(1..3), words(1..4));
    for_all(
        stage.cases(20),
        given,
        async |who, (own, searched, theirs)| {
            for (number, (title, content, tags)) in own.iter().enumerate() {
                let title = format!("{} {number}", title.join(" "));
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                stage.add(&who, &title, &content.join(" "), &tags).await;
            }
            let mut searches = vec![searched.join(" "), format!("{} ", searched.join(" "))];
            searches.extend(["a", "ab", "a b ", "b c ", "a c ", "a ab"].map(str::to_owned));
            let before = orders(stage, &who, &searches).await;
            let other = caller(&format!("other {}", who.owner.as_str()));
            for (number, word) in theirs.iter().cycle().take(20).enumerate() {
                let (title, content) = noise(word, number);
                stage.add(&other, &title, &content, &[word]).await;
                if [0, 19].contains(&number) {
                    assert_eq!(orders(stage, &who, &searches).await, before);
                }
            }
        },
    )
    .await;
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

pub(crate) async fn a_note_of_the_same_id_is_not_shown_to_another(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    let theirs = stage.add(&bob, "word", "word of bob", &[]).await;
    stage.tick();
    let ours = Note {
        owner: ann.owner.clone(),
        content: new_note("x", "word of ann", &[]).content,
        updated_at: notes::Clock::now(stage.clock.as_ref()),
        ..theirs.clone()
    };
    stage.store.import_notes(vec![ours]).await.unwrap();
    for (who, content) in [(&ann, "word of ann"), (&bob, "word of bob")] {
        let found = stage
            .notes
            .search(&who.owner, &SearchQuery::new("word"))
            .await;
        let found = found.unwrap();
        assert_eq!(found.total, Some(1));
        assert_eq!(found.items[0].note.preview, content);
        assert_eq!(found.items[0].snippet, content);
    }
}
