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
        // MongoDB says why, FerretDB only that.
        let refused = open(&doubled).await.map(|_| ()).unwrap_err();
        let told = refused.to_string();
        assert!(
            told.contains("noteId") || refused.kind() == "other",
            "{refused:?}"
        );
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
