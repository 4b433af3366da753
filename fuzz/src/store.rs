//! What people type and clients pass back, against notes in SQLite: searches and cursors.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use notes::{Author, Caller, Error, Limits, ListQuery, NewNote, Notes, Owner, SearchQuery};
use tokio::runtime::{Builder, Runtime};

/// Texts in several scripts, with what searches are made of.
const TEXTS: [&str; 8] = [
    "Bean plan: sow beans in May, peas in March",
    "foo_bar() calls Vec<String>::new() AND NEAR(x, 3) OR * -col:umn",
    "Straße, Äpfel, naïve café, ﬁne ﬀ, ＦＵＬＬ width",
    "東京都の天気 明日は雨 한국어 노트 ข้อความภาษาไทย",
    "Привет, мир! ΑΒΓ αβγ ς σ Σ İstanbul ıI",
    "\"quoted text\" 'apostrophes' ; -- %_ \\ `code`",
    "👩‍👩‍👧 🇩🇪 e\u{301} \u{200d} 1234567890 3.14 1e9",
    "!!! ??? ... --- ### a",
];

struct Shelf {
    runtime: Runtime,
    notes: Notes,
    owner: Owner,
    /// How cursors of the list and of [`QUESTION`] begin: version and digest of what was asked.
    beginnings: [Vec<u8>; 2],
}

/// What the search asks for whose cursors are taken apart.
const QUESTION: &str = "a";

/// Bytes at the beginning of a cursor that say what it belongs to.
const SCOPE_BYTES: usize = 9;

impl Shelf {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let store = runtime
            .block_on(notes::open("sqlite::memory:"))
            .expect("a store");
        let notes = Notes::new(store, Limits::default());
        let owner = Owner::parse("ann").expect("an owner");
        let caller = Caller {
            owner: owner.clone(),
            author: Author::parse("ann").expect("an author"),
        };
        for (number, text) in TEXTS.iter().enumerate() {
            let tags = ["a".to_owned(), "b c".to_owned()];
            let new = NewNote::parse(&format!("a {number}"), text, &tags, notes.limits());
            let new = new.expect("a note");
            runtime
                .block_on(notes.create(&caller, new))
                .expect("a note");
        }
        let mut shelf = Self {
            runtime,
            notes,
            owner,
            beginnings: [Vec::new(), Vec::new()],
        };
        let list = shelf.list(None).expect("a list").expect("a second page");
        let search = shelf
            .search(QUESTION, None)
            .expect("hits")
            .expect("a second page");
        shelf.beginnings = [list, search].map(|cursor| {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).expect("base64");
            bytes[..SCOPE_BYTES].to_vec()
        });
        shelf
    }

    fn list(&self, cursor: Option<String>) -> Result<Option<String>, Error> {
        let query = ListQuery {
            limit: 1,
            cursor,
            ..ListQuery::default()
        };
        let page = self
            .runtime
            .block_on(self.notes.list(&self.owner, &query))?;
        Ok(page.next_cursor)
    }

    fn search(&self, text: &str, cursor: Option<String>) -> Result<Option<String>, Error> {
        let query = SearchQuery {
            limit: 2,
            cursor,
            ..SearchQuery::new(text)
        };
        let page = self
            .runtime
            .block_on(self.notes.search(&self.owner, &query))?;
        Ok(page.next_cursor)
    }
}

thread_local! {
    static SHELF: Shelf = Shelf::new();
}

/// No text is an error but one without any word, and the cursor of a page leads to the next one.
pub fn search(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    SHELF.with(|shelf| match shelf.search(text, None) {
        Ok(Some(next)) => {
            shelf.search(text, Some(next)).expect("the next page");
        }
        Ok(None) => {}
        Err(Error::Invalid(_)) if text.trim().is_empty() => {}
        Err(error) => panic!("{error:?}"),
    });
}

/// Any text is a cursor or is refused as none, and so is anything behind the beginning of a real one.
pub fn cursor(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    SHELF.with(|shelf| {
        let text = String::from_utf8_lossy(rest).into_owned();
        let behind = |beginning: &[u8]| URL_SAFE_NO_PAD.encode([beginning, rest].concat());
        let outcome = match kind % 4 {
            0 => shelf.list(Some(text)),
            1 => shelf.search(QUESTION, Some(text)),
            2 => shelf.list(Some(behind(&shelf.beginnings[0]))),
            _ => shelf.search(QUESTION, Some(behind(&shelf.beginnings[1]))),
        };
        match outcome {
            Ok(_) | Err(Error::BadCursor) => {}
            Err(error) => panic!("{error:?}"),
        }
    });
}
