//! Laws of completing: tags and titles that go on from what was typed.

use crate::stage::{Stage, caller, patch};

pub(crate) async fn tags_are_counted_and_completed(stage: &Stage) {
    let ann = caller("ann");
    let first = stage.add(&ann, "1", "c", &["work", "home", "to-do"]).await;
    stage.add(&ann, "2", "c", &["work", "homework"]).await;
    stage.add(&ann, "3", "c", &["work", "Übung", "to-do"]).await;
    let shown = async |typed: &str, limit: u32| {
        let found = stage.notes.tags(&ann.owner, typed, limit).await.unwrap();
        let items: Vec<String> = found
            .items
            .iter()
            .map(|t| format!("{} {}", t.tag.as_str(), t.notes))
            .collect();
        (items.join(", "), found.total)
    };
    let all = "work 3, to-do 2, home 1, homework 1, übung 1";
    assert_eq!(shown("", 10).await, (all.to_owned(), Some(5)));
    assert_eq!(shown("", 2).await, ("work 3, to-do 2".to_owned(), Some(5)));
    assert_eq!(
        shown("WORK", 10).await,
        ("work 3, homework 1".to_owned(), Some(2))
    );
    assert_eq!(
        shown("#ho", 10).await,
        ("home 1, homework 1".to_owned(), Some(2))
    );
    assert_eq!(shown("to d", 10).await, ("to-do 2".to_owned(), Some(1)));
    assert_eq!(shown("ÜB", 10).await, ("übung 1".to_owned(), Some(1)));
    assert_eq!(shown("%", 10).await, (String::new(), Some(0)));

    let change = patch(None, None, Some(&["work", "new"]));
    stage
        .notes
        .update(&ann, &first.id, change, None)
        .await
        .unwrap();
    let all = "work 3, homework 1, new 1, to-do 1, übung 1";
    assert_eq!(shown("", 10).await, (all.to_owned(), Some(5)));
    stage.notes.delete(&ann, &first.id, None).await.unwrap();
    let all = "work 2, homework 1, to-do 1, übung 1";
    assert_eq!(shown("", 10).await, (all.to_owned(), Some(4)));
}

pub(crate) async fn titles_are_completed(stage: &Stage) {
    let ann = caller("ann");
    for title in [
        "Rust book",
        "The rust belt",
        "Trust",
        "rusty nail",
        "Other",
        "rust rust",
    ] {
        stage.add(&ann, title, "rust", &["rust"]).await;
    }
    let shown = async |typed: &str, limit: u32| {
        let found = stage.notes.titles(&ann.owner, typed, limit).await.unwrap();
        let items: Vec<String> = found
            .items
            .iter()
            .map(|t| t.title.as_str().to_owned())
            .collect();
        (items.join(", "), found.total)
    };
    let rust = "rust rust, rusty nail, Rust book, Trust, The rust belt";
    assert_eq!(shown("RUST", 10).await, (rust.to_owned(), Some(5)));
    let rust = "rust rust, rusty nail, Rust book, Trust";
    assert_eq!(shown("rust", 4).await, (rust.to_owned(), Some(5)));
    assert_eq!(
        shown("rust", 2).await,
        ("rust rust, rusty nail".to_owned(), Some(5))
    );
    assert_eq!(
        shown("rust b", 10).await,
        ("Rust book, The rust belt".to_owned(), Some(2))
    );
    assert_eq!(shown("", 2).await, ("rust rust, Other".to_owned(), Some(6)));
    assert_eq!(shown("zzz", 2).await, (String::new(), Some(0)));
}
