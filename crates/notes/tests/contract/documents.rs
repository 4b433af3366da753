//! What is in a MongoDB database: the collection of the Node demo, indexes, and what is not ours.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::{Client, Collection, Database as Handle};
use notes::store::{MongoOptions, Options};
use notes::{
    Limits, ListQuery, Note, NoteId, NotePatch, Notes, Owner, SearchQuery, Store, StoreError,
    open_with,
};

use crate::databases::on_runtime;
use crate::engine::{Database, PATIENCE};
use crate::stage::{caller, new_note};

async fn handle(database: &Database) -> Handle {
    let client = Client::with_uri_str(database.url()).await.unwrap();
    client.default_database().unwrap()
}

async fn collection(database: &Database) -> Collection<Document> {
    handle(database).await.collection("mcp_notes")
}

async fn open(database: &Database) -> Result<std::sync::Arc<dyn Store>, StoreError> {
    let options = Options {
        mongodb: MongoOptions {
            owner_of_found: Some(Owner::parse("shared").unwrap()),
            timeout: Some(PATIENCE),
            ..MongoOptions::default()
        },
        ..Options::default()
    };
    open_with(database.url(), &options).await
}

/// A document as the demo writes it, with a millisecond for each number.
fn demo(number: i64) -> Document {
    doc! {
        "_id": ObjectId::new(),
        "noteId": format!("note_{number}_abc"),
        "title": format!("Demo {number}"),
        "content": format!("Written by the démo, number{number}"),
        "createdAt": DateTime::from_millis(1_700_000_000_000 + number),
        "updatedAt": DateTime::from_millis(1_700_000_100_000 + number),
    }
}

#[test]
fn a_collection_of_the_demo_opens_as_it_is() {
    on_runtime(async {
        let database = Database::new();
        let collection = collection(&database).await;
        // More than are read at once.
        let mut documents: Vec<Document> = (0..110).map(demo).collect();
        documents[7].remove("createdAt");
        collection.insert_many(&documents).await.unwrap();
        let no_note = doc! { "noteId": "a b", "title": 1 };
        collection.insert_one(no_note.clone()).await.unwrap();

        let shared = caller("shared");
        for _ in 0..2 {
            let notes = Notes::new(open(&database).await.unwrap(), Limits::default());
            let page = notes.list(&shared.owner, &ListQuery::default()).await;
            let page = page.unwrap();
            assert_eq!((page.items.len(), page.total), (20, Some(110)));
            assert_eq!(page.items[0].title.as_str(), "Demo 109");
            assert_eq!(page.items[0].preview, "Written by the démo, number109");
            let search = SearchQuery::new("DEMO number42 ");
            let found = notes.search(&shared.owner, &search).await.unwrap();
            assert_eq!(found.total, Some(1));
            let id = NoteId::parse("note_3_abc").unwrap();
            let note = notes.get(&shared.owner, &id).await.unwrap();
            assert_eq!(note.created_at.as_microsecond(), 1_700_000_000_003_000);
            assert_eq!(note.updated_at.as_microsecond(), 1_700_000_100_003_000);
            assert_eq!((note.version, note.tags.len()), (1, 0));
            assert_eq!(note.created_by.as_str(), "shared");
            let nobody = notes.get(&caller("ann").owner, &id).await;
            assert!(nobody.is_err());
        }
        // The demo still finds everything it wrote.
        for written in &documents {
            let filter = doc! { "_id": written.get_object_id("_id").unwrap() };
            let found = collection.find_one(filter).await.unwrap().unwrap();
            for (name, value) in written {
                assert_eq!(found.get(name), Some(value), "{name}");
            }
        }
        let found = collection.find_one(doc! { "noteId": "a b" }).await;
        assert_eq!(found.unwrap().unwrap().len(), 1 + no_note.len());
    });
}

#[test]
fn the_demo_reads_what_is_written_here_and_times_are_exact() {
    on_runtime(async {
        let database = Database::new();
        let store = open(&database).await.unwrap();
        let notes = Notes::new(store.clone(), Limits::default());
        let ann = caller("ann");
        let created = notes
            .create(&ann, new_note("Title", "Text", &["a b"]))
            .await;
        let created: Note = created.unwrap();
        let patch = NotePatch::parse(None, Some("New text"), None, &Limits::default());
        let changed = notes
            .update(&ann, &created.id, patch.unwrap(), Some(1))
            .await;
        let changed = changed.unwrap();
        assert_eq!(notes.get(&ann.owner, &created.id).await.unwrap(), changed);

        let collection = collection(&database).await;
        let filter = doc! { "noteId": created.id.as_str() };
        let found = collection.find_one(filter).await.unwrap().unwrap();
        assert_eq!(found.get_str("title").unwrap(), "Title");
        assert_eq!(found.get_str("content").unwrap(), "New text");
        let millis = |time: notes::Timestamp| DateTime::from_millis(time.as_millisecond());
        assert_eq!(
            *found.get_datetime("createdAt").unwrap(),
            millis(created.created_at)
        );
        assert_eq!(
            *found.get_datetime("updatedAt").unwrap(),
            millis(changed.updated_at)
        );
        assert!(changed.updated_at > created.created_at);
    });
}

#[test]
fn indexes_are_made_once_and_keep_notes_unique() {
    on_runtime(async {
        let database = Database::new();
        for _ in 0..2 {
            let store = open(&database).await.unwrap();
            store.ping().await.unwrap();
        }
        let collection = collection(&database).await;
        let mut names = collection.list_index_names().await.unwrap();
        names.sort_unstable();
        let wanted = [
            "_id_",
            "changed",
            "content_terms",
            "note",
            "tag_lists",
            "tag_terms",
            "tagged",
            "title_terms",
            "titled",
        ];
        assert_eq!(names, wanted);
        let twice = doc! { "owner": "ann", "noteId": "n" };
        collection.insert_one(twice.clone()).await.unwrap();
        assert!(collection.insert_one(twice).await.is_err());
    });
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    on_runtime(async {
        let foreign = Database::new();
        let diary = doc! { "_id": 1, "day": "Monday" };
        collection(&foreign).await.insert_one(diary).await.unwrap();
        let newer = Database::new();
        let about = handle(&newer)
            .await
            .collection::<Document>("mcp_notes_about");
        about
            .insert_one(doc! { "_id": "schema", "version": 99 })
            .await
            .unwrap();
        for (database, kind, words) in [
            (foreign, "not_ours", "left untouched"),
            (newer, "newer_schema", "99"),
        ] {
            let refused = open(&database).await.map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), kind, "{refused:?}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
        let doubled = Database::new();
        let mut documents = [demo(1), demo(2)];
        documents[1].insert("noteId", "note_1_abc");
        collection(&doubled)
            .await
            .insert_many(&documents)
            .await
            .unwrap();
        match open(&doubled).await {
            Err(refused) => assert!(refused.to_string().contains("noteId"), "{refused:?}"),
            // To FerretDB two are the same only once they have an owner.
            Ok(store) => assert_eq!(
                store
                    .list(&caller("shared").owner, &ListQuery::default(), None)
                    .await
                    .unwrap()
                    .total,
                Some(1)
            ),
        }
    });
}

#[test]
fn a_user_that_is_refused_stops_the_start_and_is_not_shown() {
    on_runtime(async {
        let database = Database::new();
        let url = database.url().replacen("://", "://ann:hunter2@", 1);
        let refused = open_with(&url, &Options::default()).await.map(|_| ());
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), "unavailable");
        let told = format!("{refused} {refused:?}");
        assert!(told.contains("refuses the user"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    });
}

#[test]
fn what_others_added_to_a_document_stays_when_it_is_changed() {
    on_runtime(async {
        let database = Database::new();
        let collection = collection(&database).await;
        let mut found = demo(1);
        let theirs = doc! {
            "mood": "good", "__v": 3, "meta": { "list": [1, { "set": "$title" }], "n": null },
        };
        found.extend(theirs.clone());
        found.insert("tags", ["a", "b c"]);
        let mut unfit = demo(2);
        unfit.insert("tags", doc! { "no": "list" });
        collection.insert_many([found, unfit]).await.unwrap();

        let shared = caller("shared");
        let notes = Notes::new(open(&database).await.unwrap(), Limits::default());
        let id = NoteId::parse("note_1_abc").unwrap();
        let note = notes.get(&shared.owner, &id).await.unwrap();
        let tags: Vec<_> = note.tags.iter().map(notes::Tag::as_str).collect();
        assert_eq!(tags, ["a", "b-c"]);
        let other = NoteId::parse("note_2_abc").unwrap();
        assert_eq!(
            notes.get(&shared.owner, &other).await.unwrap().tags.len(),
            0
        );
        let all = ["new".to_owned()];
        let patch = NotePatch::parse(Some("T"), Some("C"), Some(&all), &Limits::default());
        let changed = notes.update(&shared, &id, patch.unwrap(), Some(1)).await;
        assert_eq!(changed.unwrap().version, 2);
        let found = collection.find_one(doc! { "noteId": "note_1_abc" }).await;
        let found = found.unwrap().unwrap();
        for (name, value) in &theirs {
            assert_eq!(found.get(name), Some(value), "{name}");
        }
    });
}

#[test]
fn a_document_that_cannot_be_a_note_does_not_stop_the_start() {
    on_runtime(async {
        let database = Database::new();
        let collection = collection(&database).await;
        collection.insert_one(demo(1)).await.unwrap();
        open(&database).await.unwrap().close().await.unwrap();
        // The demo went on, with an id that is taken now, and with a date that is none.
        let mut undated = demo(2);
        undated.insert("createdAt", DateTime::MAX);
        undated.insert("updatedAt", "yesterday");
        let text = doc! { "_id": "first", "noteId": 7 };
        collection
            .insert_many([demo(1), undated, text])
            .await
            .unwrap();
        let notes = Notes::new(open(&database).await.unwrap(), Limits::default());
        let shared = caller("shared").owner;
        let page = notes.list(&shared, &ListQuery::default()).await.unwrap();
        assert_eq!(page.total, Some(2));
        let id = NoteId::parse("note_2_abc").unwrap();
        let undated = notes.get(&shared, &id).await.unwrap();
        assert_eq!(undated.created_at, undated.updated_at);
        assert!(undated.created_at.as_second() > 1_700_000_000);
    });
}

#[test]
fn several_servers_start_on_one_collection_at_once() {
    on_runtime(async {
        for count in [0, 30] {
            let database = std::sync::Arc::new(Database::new());
            let collection = collection(&database).await;
            if count > 0 {
                let documents: Vec<Document> = (0..count).map(demo).collect();
                collection.insert_many(&documents).await.unwrap();
            }
            let starts: Vec<_> = (0..3)
                .map(|_| {
                    let database = database.clone();
                    tokio::spawn(async move { open(&database).await })
                })
                .collect();
            for start in starts {
                let store = start.await.unwrap().unwrap();
                store.ping().await.unwrap();
                let notes = Notes::new(store, Limits::default());
                let shared = caller("shared").owner;
                let page = notes.list(&shared, &ListQuery::default()).await.unwrap();
                assert_eq!(page.total, u64::try_from(count).ok());
            }
            assert_eq!(collection.list_index_names().await.unwrap().len(), 9);
        }
    });
}

#[test]
fn a_write_to_a_document_that_is_damaged_is_not_said_to_have_failed() {
    on_runtime(async {
        let database = Database::new();
        let store = open(&database).await.unwrap();
        let notes = Notes::new(store, Limits::default());
        let ann = caller("ann");
        for name in ["title", "createdMicros", "createdBy"] {
            let note = notes.create(&ann, new_note("t", "c", &[])).await.unwrap();
            let filter = doc! { "noteId": note.id.as_str() };
            let damage = doc! { "$unset": { name: "" } };
            let collection = collection(&database).await;
            collection.update_one(filter, damage).await.unwrap();
            assert_eq!(kind(notes.get(&ann.owner, &note.id).await), "corrupt");
            let patch = NotePatch::parse(None, Some("d"), None, &Limits::default());
            let changed = notes.update(&ann, &note.id, patch.unwrap(), Some(1)).await;
            assert_eq!(kind(changed), "unconfirmed");
            let gone = notes.delete(&ann, &note.id, None).await;
            assert_eq!(kind(gone), "unconfirmed");
            let missing = notes.get(&ann.owner, &note.id).await;
            assert!(matches!(missing, Err(notes::Error::NotFound { .. })));
        }
    });
}

/// The kind of the error of a store.
fn kind<T>(done: Result<T, notes::Error>) -> &'static str {
    match done.map(|_| ()) {
        Err(notes::Error::Store(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_export_ends_whatever_the_names_are() {
    on_runtime(async {
        let database = Database::new();
        let store = open(&database).await.unwrap();
        let notes = Notes::new(store.clone(), Limits::default());
        let note = notes
            .create(&caller("ann"), new_note("t", "c", &[]))
            .await
            .unwrap();
        let collection = collection(&database).await;
        let filter = doc! { "noteId": note.id.as_str() };
        let mut found = collection.find_one(filter).await.unwrap().unwrap();
        for (owner, id) in [
            ("a", "x"),
            ("a\nb", "x"),
            ("a\nb", "x y\n"),
            ("a b", "1 2"),
            ("", ""),
        ] {
            found.insert("_id", ObjectId::new());
            found.insert("owner", owner);
            found.insert("noteId", id);
            collection.insert_one(&found).await.unwrap();
        }
        let (mut seen, mut after) = (0, None);
        for _ in 0..20 {
            let batch = store.export_notes(after.as_ref(), 1).await.unwrap();
            seen += batch.items.len();
            after = batch.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((seen, after), (6, None));
    });
}

#[test]
fn a_search_that_does_not_see_every_match_does_not_tell_how_many_there_are() {
    on_runtime(async {
        let database = Database::new();
        let store = open(&database).await.unwrap();
        let notes = Notes::new(store.clone(), Limits::default());
        let ann = caller("ann");
        let first = notes.create(&ann, new_note("x a", "y", &[])).await.unwrap();
        // A phrase is looked for in this many notes.
        for part in 0..5 {
            let copy = |number| {
                let mut note = first.clone();
                note.id = NoteId::parse(&format!("{part}-{number}")).unwrap();
                note
            };
            store
                .import_notes((0..400).map(copy).collect())
                .await
                .unwrap();
        }
        let phrase = SearchQuery::new("\"x a\"");
        let found = notes.search(&ann.owner, &phrase).await.unwrap();
        assert_eq!((found.items.len(), found.total), (20, None));
        notes.delete(&ann, &first.id, None).await.unwrap();
        let found = notes.search(&ann.owner, &phrase).await.unwrap();
        assert_eq!((found.items.len(), found.total), (20, Some(2000)));
    });
}

/// Where a change with a condition is one step, as it is in MongoDB, exactly one of those that name the
/// same version wins, whichever server it reaches. `FerretDB` reads the document, compares, and writes it in
/// a step of its own, so that two servers can both be told that they have won; even there the
/// version grows by one, and what is kept is what one of the winners wrote.
#[test]
fn of_updates_of_one_version_through_two_servers_one_wins() {
    on_runtime(async {
        let database = Database::new();
        let handle = handle(&database).await;
        let about = handle.run_command(doc! { "buildInfo": 1 }).await;
        let in_one_step = !about.unwrap().contains_key("ferretdbVersion");
        let stores = [
            open(&database).await.unwrap(),
            open(&database).await.unwrap(),
        ];
        let servers = stores.map(|store| Notes::new(store, Limits::default()));
        let ann = caller("ann");
        let id = servers[0].create(&ann, new_note("t", "c", &[])).await;
        let id = id.unwrap().id;
        for version in 1..=12 {
            let tasks: Vec<_> = (0..6)
                .map(|n| {
                    let (notes, ann, id) = (servers[n % 2].clone(), ann.clone(), id.clone());
                    let text = format!("{version} by {n}");
                    let patch = NotePatch::parse(None, Some(&text), None, &Limits::default());
                    tokio::spawn(async move {
                        notes.update(&ann, &id, patch.unwrap(), Some(version)).await
                    })
                })
                .collect();
            let mut won = Vec::new();
            for task in tasks {
                match task.await.unwrap() {
                    Ok(note) => won.push(note),
                    Err(notes::Error::Conflict { current, .. }) => {
                        assert_eq!(current.version, version + 1);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            assert!(!won.is_empty());
            assert!(!in_one_step || won.len() == 1, "{won:?}");
            assert!(
                won.iter().all(|note| note.version == version + 1),
                "{won:?}"
            );
            let kept = servers[1].get(&ann.owner, &id).await.unwrap();
            assert!(won.contains(&kept), "{kept:?}, {won:?}");
        }
    });
}
