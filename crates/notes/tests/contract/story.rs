//! The story: one note from its creation to its deletion.

use notes::{ChangeKind, Error, ListQuery, SearchQuery};

use crate::stage::{Stage, caller, new_note, patch, titles};

pub(crate) async fn a_note_lives_from_creation_to_deletion(stage: &Stage) {
    let ann = caller("ann");
    let notes = &stage.notes;

    let new = new_note("Shopping", "milk, bread", &["#Home", "to do"]);
    let created = notes.create(&ann, new).await.unwrap();
    assert_eq!((created.version, created.title.as_str()), (1, "Shopping"));
    assert_eq!(notes.get(&ann.owner, &created.id).await.unwrap(), created);

    let page = stage.list(&ann, ListQuery::default()).await;
    assert_eq!((titles(&page), page.total), (vec!["Shopping"], Some(1)));
    assert_eq!(page.items[0].preview, "milk, bread");
    let hits = notes
        .search(&ann.owner, &SearchQuery::new("brea"))
        .await
        .unwrap();
    assert_eq!(hits.items[0].note, page.items[0]);
    assert_eq!(hits.items[0].snippet, "milk, bread");

    stage.tick();
    let change = patch(None, Some("milk, bread, tea"), None);
    let updated = notes
        .update(&ann, &created.id, change, Some(1))
        .await
        .unwrap();
    assert_eq!(
        (updated.version, updated.content.as_str()),
        (2, "milk, bread, tea")
    );
    assert_eq!(updated.tags, created.tags);
    assert_eq!(notes.get(&ann.owner, &created.id).await.unwrap(), updated);

    let deleted = notes.delete(&ann, &created.id, Some(2)).await.unwrap();
    assert_eq!((&deleted.id, deleted.version), (&created.id, 2));
    let missing = notes.get(&ann.owner, &created.id).await;
    assert!(matches!(missing, Err(Error::NotFound { id }) if id == created.id));
    assert_eq!(stage.list(&ann, ListQuery::default()).await.total, Some(0));
    assert!(stage.found(&ann, "milk", 10).await.is_empty());

    let told: Vec<_> = stage
        .changes()
        .iter()
        .map(|c| (c.kind, c.version))
        .collect();
    let kinds = [
        (ChangeKind::Created, 1),
        (ChangeKind::Updated, 2),
        (ChangeKind::Deleted, 2),
    ];
    assert_eq!(told, kinds);
}
