//! Lists of notes, and what completes a tag or a title, each read along an index.

use std::cmp::Reverse;
use std::collections::HashMap;

use bson::{Document, RawDocument, doc};

use super::Inner;
use super::document::{self, fields, text};
use super::questions::{escaped, regex};
use crate::error::StoreError;
use crate::note::{NoteId, Owner, Title};
use crate::query::{Completion, ListQuery, TagCount, TitleMatch};
use crate::search::{after_prefix, title_key};
use crate::store::{ListPosition, Listed};
use crate::tag::Tag;

/// How many notes are counted that an index alone gives, before a total is said to be unknown.
const COUNT_MAX: u64 = 100_000;

/// The same for notes that must be looked at.
const COUNT_FILTERED_MAX: u64 = 10_000;

/// How many different sets of tags of one owner are looked at.
const TAG_SETS_MAX: u32 = 50_000;

/// A page of a list.
pub(super) async fn list(
    inner: &Inner,
    owner: &Owner,
    query: &ListQuery,
    after: Option<&ListPosition>,
) -> Result<Listed, StoreError> {
    let deadline = inner.begin()?;
    let all = filter(owner, query);
    let mut page = all.clone();
    if let Some(ListPosition { updated_at, id }) = after {
        let at = updated_at.as_microsecond();
        let same_time = doc! { "updatedMicros": at, "noteId": { "$lt": id.as_str() } };
        let rest = doc! { "$or": [{ "updatedMicros": { "$lt": at } }, same_time] };
        // The first half says where in the index to begin.
        let rest = vec![doc! { "updatedMicros": { "$lte": at } }, rest];
        and(&mut page, rest);
    }
    let found = inner.find(
        deadline,
        page,
        document::preview_fields(),
        i64::from(query.limit) + 1,
    );
    let most = if is_indexed(query) {
        COUNT_MAX
    } else {
        COUNT_FILTERED_MAX
    };
    let (found, total) = tokio::try_join!(found, inner.count(deadline, all, most))?;
    let mut items = found
        .iter()
        .map(|document| document::preview(document))
        .collect::<Result<Vec<_>, _>>()?;
    let more = items.len() > query.limit as usize;
    items.truncate(query.limit as usize);
    // Page and total are of two moments; what one page has is a total that agrees with it.
    let total = match after {
        None if !more => Some(items.len() as u64),
        _ => total,
    };
    Ok(Listed { items, more, total })
}

/// Whether an index alone tells which notes a list has.
fn is_indexed(query: &ListQuery) -> bool {
    query.tags.len() < 2
        && query.title_prefix.is_none()
        && query.created_after.is_none()
        && query.created_before.is_none()
}

/// What a list asks for, without where it begins.
fn filter(owner: &Owner, query: &ListQuery) -> Document {
    let mut filter = doc! { "owner": owner.as_str() };
    let mut more = Vec::new();
    for tag in &query.tags {
        more.push(doc! { "tags": tag.as_str() });
    }
    for (name, operator, time) in [
        ("updatedMicros", "$gte", query.updated_after),
        ("updatedMicros", "$lt", query.updated_before),
        ("createdMicros", "$gte", query.created_after),
        ("createdMicros", "$lt", query.created_before),
    ] {
        if let Some(time) = time {
            more.push(doc! { name: { operator: time.as_microsecond() } });
        }
    }
    let key = query.title_prefix.as_deref().map(title_key);
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        more.extend(begins(&key));
    }
    and(&mut filter, more);
    filter
}

/// Conditions for a title that begins with `key`.
fn begins(key: &str) -> Vec<Document> {
    let mut conditions = vec![doc! { "titleKey": { "$gte": key } }];
    if let Some(end) = after_prefix(key) {
        conditions.push(doc! { "titleKey": { "$lt": end } });
    }
    conditions
}

fn and(filter: &mut Document, conditions: Vec<Document>) {
    if conditions.is_empty() {
        return;
    }
    let conditions = conditions.into_iter().map(bson::Bson::from);
    match filter.get_array_mut("$and") {
        Ok(all) => all.extend(conditions),
        Err(_) => {
            filter.insert("$and", conditions.collect::<Vec<_>>());
        }
    }
}

/// Tags that complete what was typed.
pub(super) async fn tags(
    inner: &Inner,
    owner: &Owner,
    typed: &str,
    limit: u32,
) -> Result<Completion<TagCount>, StoreError> {
    let deadline = inner.begin()?;
    // Many notes have the same tags, and the index has them in one text.
    let pipeline = [
        doc! { "$match": { "owner": owner.as_str(), "tagList": { "$gt": "" } } },
        doc! { "$group": { "_id": "$tagList", "notes": { "$sum": 1_i64 } } },
        doc! { "$limit": i64::from(TAG_SETS_MAX) + 1 },
    ];
    let set = |set: &RawDocument| {
        let notes = u64::try_from(document::number(set, "notes")?).unwrap_or(0);
        Ok(Some((text(set, "_id")?.to_owned(), notes)))
    };
    let (sets, more) = inner
        .aggregate(deadline, &pipeline, TAG_SETS_MAX, set)
        .await?;
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (tags, notes) in &sets {
        for tag in tags.split(' ').filter(|tag| tag.contains(typed)) {
            *counts.entry(tag).or_default() += notes;
        }
    }
    let total = counts.len() as u64;
    let mut found: Vec<(&str, u64)> = counts.into_iter().collect();
    found.sort_unstable_by(|(a, a_notes), (b, b_notes)| {
        let order = |tag: &str, notes| (!tag.starts_with(typed), Reverse(notes));
        order(a, *a_notes).cmp(&order(b, *b_notes)).then(a.cmp(b))
    });
    found.truncate(limit as usize);
    let items = found.into_iter().map(|(tag, notes)| TagCount {
        tag: Tag::from_stored(tag.to_owned()),
        notes,
    });
    Ok(Completion {
        items: items.collect(),
        total: (!more).then_some(total),
    })
}

/// Titles that complete what was typed.
pub(super) async fn titles(
    inner: &Inner,
    owner: &Owner,
    typed: &str,
    limit: u32,
) -> Result<Completion<TitleMatch>, StoreError> {
    let deadline = inner.begin()?;
    let key = title_key(typed);
    let of_owner = doc! { "owner": owner.as_str() };
    let (mut starting, mut holding) = (of_owner.clone(), of_owner.clone());
    if !key.is_empty() {
        and(&mut starting, begins(&key));
        // No title holds what cannot be asked for.
        let Some(pattern) = regex(&escaped(&key)) else {
            return Ok(Completion {
                items: Vec::new(),
                total: Some(0),
            });
        };
        holding.insert("titleKey", pattern);
    }
    let elsewhere = match regex(&format!("^{}", escaped(&key))) {
        Some(start) if !key.is_empty() => {
            let mut filter = holding.clone();
            and(&mut filter, vec![doc! { "titleKey": { "$not": start } }]);
            Some(filter)
        }
        _ => None,
    };
    let limit = i64::from(limit);
    let read = |filter| inner.find(deadline, filter, fields(&["noteId", "title"]), limit);
    let others = async {
        match elsewhere {
            Some(filter) => read(filter).await,
            None => Ok(Vec::new()),
        }
    };
    let counted = inner.count(deadline, holding, COUNT_FILTERED_MAX);
    let (mut found, others, total) = tokio::try_join!(read(starting), others, counted)?;
    found.extend(others);
    let items = found.iter().take(usize::try_from(limit).unwrap_or(0));
    let items = items.map(|found| {
        Ok(TitleMatch {
            id: NoteId::from_stored(text(found, "noteId")?.to_owned()),
            title: Title::from_stored(text(found, "title")?.to_owned()),
        })
    });
    Ok(Completion {
        items: items.collect::<Result<_, StoreError>>()?,
        total,
    })
}
