//! Searching notes: the index of terms, and a bounded look at the newest notes for what has none.

use std::collections::HashMap;

use bson::{Bson, Document, RawDocument, doc};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Inner;
use super::document::{self, fields, number, preview, text, time};
use super::questions::{escaped, regex};
use super::terms::{Key, Keys, matches};
use crate::error::StoreError;
use crate::note::Owner;
use crate::query::Hit;
use crate::search::{LITERAL_NOTES_MAX, Query, Term, snippet};
use crate::store::{Found, HitPosition};
use crate::tag::Tag;

/// How many notes a search looks at, the newest changes first. There are no more hits.
const CANDIDATES_MAX: u32 = 10_000;

/// The same where the contents must be read to know what matches.
const CANDIDATES_READ_MAX: u32 = 2_000;

/// How many bytes of a word without tokens the server looks for; the rest is looked for here.
const PATTERN_BYTES_MAX: usize = 256;

/// How often a search is done anew because its hits changed before they were read.
const TRIES: u32 = 3;

/// A page of the notes that match.
pub(super) async fn search(
    inner: &Inner,
    owner: &Owner,
    query: &Query,
    after: Option<&HitPosition>,
    limit: u32,
) -> Result<Found, StoreError> {
    let deadline = inner.begin()?;
    let nothing = Found {
        items: Vec::new(),
        more: false,
        total: Some(0),
    };
    let mut tries = 1;
    loop {
        let candidates = match query {
            Query::Terms(terms) => by_index(inner, deadline, owner, query, terms).await?,
            Query::Literal(words) => match by_scan(inner, deadline, owner, query, words).await? {
                Some(candidates) => candidates,
                None => return Ok(nothing),
            },
        };
        let Candidates { found, total } = candidates;
        let (best, more) = page(found, after, limit as usize);
        let items = read(inner, deadline, owner, query, &best).await?;
        // What changed meanwhile stands elsewhere now, or nowhere.
        if items.len() == best.len() || tries == TRIES {
            return Ok(Found { items, more, total });
        }
        tries += 1;
    }
}

/// Notes that match.
struct Candidates {
    found: Vec<Ranked>,
    total: Option<u64>,
}

async fn by_index(
    inner: &Inner,
    deadline: Instant,
    owner: &Owner,
    query: &Query,
    terms: &[Term],
) -> Result<Candidates, StoreError> {
    let Keys { keys, exact } = Keys::of(terms);
    let conditions: Vec<Document> = keys.iter().filter_map(condition).collect();
    let most = if exact {
        CANDIDATES_MAX
    } else {
        CANDIDATES_READ_MAX
    };
    let pipeline = [
        doc! { "$match": { "owner": owner.as_str(), "$and": conditions } },
        // What is sorted is small.
        doc! { "$project": projection(!exact) },
        doc! { "$sort": { "updatedMicros": -1, "noteId": -1 } },
        doc! { "$limit": i64::from(most) + 1 },
    ];
    let hit = |note: &RawDocument| {
        if exact || matches(terms, &Texts::of(note)?.all()) {
            ranked(note, query).map(Some)
        } else {
            Ok(None)
        }
    };
    let (found, more) = inner.aggregate(deadline, &pipeline, most, hit).await?;
    Ok(Candidates {
        total: (!more).then_some(found.len() as u64),
        found,
    })
}

/// A note that has `key` in its title, its tags or its content.
fn condition(key: &Key) -> Option<Document> {
    let wanted = match key {
        Key::Whole(term) => Bson::from(term.as_str()),
        Key::Beginning(start) => Bson::from(regex(&format!("^{}", escaped(start)))?),
    };
    let places = ["titleTerms", "tagTerms", "contentTerms"];
    let places: Vec<Document> = places
        .iter()
        .map(|place| doc! { *place: wanted.clone() })
        .collect();
    Some(doc! { "$or": places })
}

/// Nothing if no note can have one of the words.
async fn by_scan(
    inner: &Inner,
    deadline: Instant,
    owner: &Owner,
    query: &Query,
    words: &[String],
) -> Result<Option<Candidates>, StoreError> {
    let mut conditions = Vec::new();
    for word in words {
        let Some(pattern) = regex(&escaped(beginning(word))) else {
            return Ok(None);
        };
        let places = ["title", "content", "tagList"];
        let places: Vec<Document> = places
            .iter()
            .map(|place| doc! { *place: pattern.clone() })
            .collect();
        conditions.push(doc! { "$or": places });
    }
    let exact = words.iter().all(|word| beginning(word) == word);
    let of_owner = doc! { "owner": owner.as_str() };
    let pipeline = [
        doc! { "$match": of_owner.clone() },
        doc! { "$sort": { "updatedMicros": -1, "noteId": -1 } },
        doc! { "$limit": i64::from(LITERAL_NOTES_MAX) },
        doc! { "$match": { "$and": conditions } },
        doc! { "$project": projection(!exact) },
    ];
    let notes = inner.count(deadline, of_owner, LITERAL_NOTES_MAX.into());
    let hit = |note: &RawDocument| {
        let has = |texts: &[&str], word: &str| texts.iter().any(|text| text.contains(word));
        let has_all = |texts: &[&str]| words.iter().all(|word| has(texts, word));
        if exact || has_all(&Texts::of(note)?.all()) {
            ranked(note, query).map(Some)
        } else {
            Ok(None)
        }
    };
    let found = inner.aggregate(deadline, &pipeline, LITERAL_NOTES_MAX, hit);
    let ((found, _), notes) = tokio::try_join!(found, notes)?;
    Ok(Some(Candidates {
        total: notes.map(|_| found.len() as u64),
        found,
    }))
}

/// As much of a word as the server looks for.
fn beginning(word: &str) -> &str {
    let end = word
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= PATTERN_BYTES_MAX)
        .last();
    &word[..end.unwrap_or(0)]
}

/// What is read of a candidate.
fn projection(with_content: bool) -> Document {
    let mut projection = fields(&["noteId", "title", "tags", "version", "updatedMicros"]);
    if with_content {
        projection.insert("content", 1);
    }
    projection
}

/// What is searched of a note.
struct Texts<'a> {
    title: &'a str,
    content: &'a str,
    tags: Vec<String>,
}

impl<'a> Texts<'a> {
    fn of(note: &'a RawDocument) -> Result<Self, StoreError> {
        let tags = document::tags(note)?;
        Ok(Self {
            title: text(note, "title")?,
            content: text(note, "content")?,
            tags: tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        })
    }

    fn all(&self) -> Vec<&str> {
        let tags = self.tags.iter().map(String::as_str);
        [self.title, self.content].into_iter().chain(tags).collect()
    }
}

/// A hit before its content is read.
struct Ranked {
    score: u32,
    updated_at: Timestamp,
    id: String,
    version: i64,
}

fn ranked(note: &RawDocument, query: &Query) -> Result<Ranked, StoreError> {
    let tags = document::tags(note)?;
    let title = text(note, "title")?;
    Ok(Ranked {
        score: query.score(title, tags.iter().map(Tag::as_str)),
        updated_at: time(note, "updatedMicros")?,
        id: text(note, "noteId")?.to_owned(),
        version: number(note, "version")?,
    })
}

impl Ranked {
    /// What the order of hits depends on, the best being the greatest.
    fn key(&self) -> (u32, Timestamp, &str) {
        (self.score, self.updated_at, &self.id)
    }
}

/// The best of the hits after `after`, and whether there are more.
fn page(mut hits: Vec<Ranked>, after: Option<&HitPosition>, limit: usize) -> (Vec<Ranked>, bool) {
    if let Some(after) = after {
        let after = (after.score, after.updated_at, after.id.as_str());
        hits.retain(|hit| hit.key() < after);
    }
    hits.sort_unstable_by(|a, b| b.key().cmp(&a.key()));
    let more = hits.len() > limit;
    hits.truncate(limit);
    (hits, more)
}

/// The hits as they are shown, without those that changed meanwhile.
async fn read(
    inner: &Inner,
    deadline: Instant,
    owner: &Owner,
    query: &Query,
    best: &[Ranked],
) -> Result<Vec<Hit>, StoreError> {
    if best.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = best.iter().map(|hit| hit.id.as_str()).collect();
    let filter = doc! { "owner": owner.as_str(), "noteId": { "$in": ids } };
    let mut shown = document::preview_fields();
    shown.insert("content", 1);
    let limit = i64::try_from(best.len()).unwrap_or(i64::MAX);
    let found = inner.find(deadline, filter, shown, limit).await?;
    let mut hits = HashMap::new();
    for note in &found {
        let hit = Hit {
            note: preview(note)?,
            snippet: snippet(text(note, "content")?, query),
        };
        hits.insert((text(note, "noteId")?, number(note, "version")?), hit);
    }
    let in_order = best
        .iter()
        .filter_map(|hit| hits.remove(&(hit.id.as_str(), hit.version)));
    Ok(in_order.collect())
}
