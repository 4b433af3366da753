//! A store to try the laws on, with a clock that is moved by hand and a record of its changes.

use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use notes::clock::{CountingIds, ManualClock};
use notes::{
    Author, Caller, Change, Limits, ListQuery, NewNote, Note, NotePatch, Notes, Owner, Page,
    Preview, SearchQuery, Store, Tag, open,
};

pub(crate) struct Stage {
    pub(crate) notes: Notes,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    changes: Arc<Mutex<Vec<Change>>>,
    /// By how much what is generated is less, because each operation takes longer.
    slowness: u32,
    /// Where a further store of the same kind can be.
    pub(crate) spare: Spare,
    /// What is to be removed at the end.
    _place: Option<Place>,
}

/// A place for a store, with nothing in it.
pub(crate) struct Spare {
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
    #[cfg(feature = "mongodb")]
    _database: Option<crate::engine::Database>,
}

impl Spare {
    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spare/notes.db");
        Self {
            address: format!("sqlite:{}", path.display()),
            folder,
            #[cfg(feature = "mongodb")]
            _database: None,
        }
    }

    #[cfg(feature = "mongodb")]
    fn database() -> Self {
        let database = crate::engine::Database::new();
        Self {
            address: database.url().to_owned(),
            _database: Some(database),
            ..Self::file()
        }
    }
}

/// Where a store is that leaves something behind.
enum Place {
    #[expect(dead_code, reason = "it is there to be dropped")]
    Folder(tempfile::TempDir),
    #[cfg(feature = "mongodb")]
    #[expect(dead_code, reason = "it is there to be dropped")]
    Database(crate::engine::Database),
}

pub(crate) async fn sqlite_file() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let address = format!(
        "sqlite:{}",
        folder.path().join("deep/er/notes.db").display()
    );
    Stage::new(open(&address).await.unwrap(), Some(Place::Folder(folder)))
}

pub(crate) async fn sqlite_memory() -> Stage {
    Stage::new(open("sqlite::memory:").await.unwrap(), None)
}

#[cfg(feature = "mongodb")]
pub(crate) async fn mongo() -> Stage {
    let database = crate::engine::Database::new();
    let mut options = notes::store::Options::default();
    options.mongodb.timeout = Some(crate::engine::PATIENCE);
    let store = notes::open_with(database.url(), &options).await.unwrap();
    Stage {
        // FerretDB looks at every document for every question.
        slowness: 8,
        spare: Spare::database(),
        ..Stage::new(store, Some(Place::Database(database)))
    }
}

impl Stage {
    /// A stage with this store.
    pub(crate) fn of(store: Arc<dyn Store>) -> Self {
        Self::new(store, None)
    }

    fn new(store: Arc<dyn Store>, place: Option<Place>) -> Self {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let changes = Arc::new(Mutex::new(Vec::new()));
        let told = changes.clone();
        let notes = Notes::new(store.clone(), Limits::default())
            .with_clock(clock.clone())
            .with_ids(Arc::new(CountingIds::default()))
            .on_change(Arc::new(move |change| {
                told.lock().unwrap().push(change.clone());
            }));
        Self {
            notes,
            store,
            clock,
            changes,
            slowness: 1,
            spare: Spare::file(),
            _place: place,
        }
    }

    /// Moves the clock on by a second.
    pub(crate) fn tick(&self) {
        self.clock.advance(SignedDuration::from_secs(1));
    }

    /// How many cases are tried where `count` are on the fastest store.
    pub(crate) fn cases(&self, count: u32) -> u32 {
        (count / self.slowness).max(10)
    }

    /// What has been told so far.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.changes.lock().unwrap().clone()
    }

    /// Creates a note a second after the last.
    pub(crate) async fn add(
        &self,
        who: &Caller,
        title: &str,
        content: &str,
        tags: &[&str],
    ) -> Note {
        self.tick();
        self.notes
            .create(who, new_note(title, content, tags))
            .await
            .unwrap()
    }

    pub(crate) async fn list(&self, who: &Caller, query: ListQuery) -> Page<Preview> {
        self.notes.list(&who.owner, &query).await.unwrap()
    }

    /// The titles that a search finds, in order, over all pages of the given size.
    pub(crate) async fn found(&self, who: &Caller, text: &str, limit: u32) -> Vec<String> {
        let mut titles = Vec::new();
        let mut query = SearchQuery {
            limit,
            ..SearchQuery::new(text)
        };
        loop {
            let page = self.notes.search(&who.owner, &query).await.unwrap();
            titles.extend(
                page.items
                    .iter()
                    .map(|hit| hit.note.title.as_str().to_owned()),
            );
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                return titles;
            }
        }
    }
}

pub(crate) fn caller(name: &str) -> Caller {
    Caller {
        owner: Owner::parse(name).unwrap(),
        author: Author::parse(name).unwrap(),
    }
}

pub(crate) fn new_note(title: &str, content: &str, tags: &[&str]) -> NewNote {
    NewNote::parse(title, content, &strings(tags), &Limits::default()).unwrap()
}

pub(crate) fn patch(
    title: Option<&str>,
    content: Option<&str>,
    tags: Option<&[&str]>,
) -> NotePatch {
    let tags = tags.map(strings);
    NotePatch::parse(title, content, tags.as_deref(), &Limits::default()).unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::parse(text, &Limits::default()).unwrap()
}

pub(crate) fn titles(page: &Page<Preview>) -> Vec<&str> {
    page.items.iter().map(|note| note.title.as_str()).collect()
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}
