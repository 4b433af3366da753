//! What can be done with notes, from wire shapes to wire shapes: the one implementation behind the
//! MCP tools and the REST API.

use notes::{
    Caller, Limits, ListQuery, NoteId, Notes, SearchQuery, Tag, Timestamp,
    query::PAGE_ITEMS_DEFAULT,
};

use crate::{
    error_map::Failure,
    wire::{
        Flaw, ListNotes, NewNote, NoteDeleted, NoteHits, NoteList, NotePatch, NoteView, SearchNotes,
    },
};

/// Keeps a new note.
pub async fn create(notes: &Notes, caller: &Caller, new: NewNote) -> Result<NoteView, Failure> {
    let new = parse(new.tags.as_slice(), notes, |limits| {
        notes::NewNote::parse(&new.title, &new.content, &new.tags, limits)
    })?;
    notes
        .create(caller, new)
        .await
        .map(NoteView::from)
        .map_err(Failure::of)
}

/// Reads a note.
pub async fn get(notes: &Notes, caller: &Caller, id: &str) -> Result<NoteView, Failure> {
    let id = note_id(id)?;
    notes
        .get(&caller.owner, &id)
        .await
        .map(NoteView::from)
        .map_err(Failure::of)
}

/// One page of the notes, newest change first.
pub async fn list(notes: &Notes, caller: &Caller, query: ListNotes) -> Result<NoteList, Failure> {
    let query = list_query(notes.limits(), query)?;
    notes
        .list(&caller.owner, &query)
        .await
        .map(NoteList::from)
        .map_err(Failure::of)
}

/// One page of the notes that match, best match first.
pub async fn search(
    notes: &Notes,
    caller: &Caller,
    query: SearchNotes,
) -> Result<NoteHits, Failure> {
    let limit = page_limit(query.limit);
    let query = SearchQuery {
        text: query.query,
        limit,
        cursor: query.cursor,
    };
    notes
        .search(&caller.owner, &query)
        .await
        .map(NoteHits::from)
        .map_err(Failure::of)
}

/// Changes a note.
pub async fn update(
    notes: &Notes,
    caller: &Caller,
    id: &str,
    patch: NotePatch,
    expected_version: Option<u64>,
) -> Result<NoteView, Failure> {
    let id = note_id(id);
    let NotePatch {
        title,
        content,
        tags,
    } = patch;
    let tags = tags.map(Option::unwrap_or_default);
    let patch = parse(tags.as_deref().unwrap_or_default(), notes, |limits| {
        notes::NotePatch::parse(
            title.as_deref(),
            content.as_deref(),
            tags.as_deref(),
            limits,
        )
    });
    let (id, patch) = both(id, patch)?;
    notes
        .update(caller, &id, patch, expected_version)
        .await
        .map(NoteView::from)
        .map_err(Failure::of)
}

/// Deletes a note.
pub async fn delete(
    notes: &Notes,
    caller: &Caller,
    id: &str,
    expected_version: Option<u64>,
) -> Result<NoteDeleted, Failure> {
    let id = note_id(id)?;
    let gone = notes
        .delete(caller, &id, expected_version)
        .await
        .map_err(Failure::of)?;
    Ok(NoteDeleted {
        id: gone.id.as_str().to_owned(),
        deleted: true,
    })
}

/// Reads the id of a note.
pub fn note_id(text: &str) -> Result<NoteId, Failure> {
    NoteId::parse(text).map_err(|problem| Failure::invalid(vec![problem.into()]))
}

/// Parses what a note is made of. The schema bounds tags as they are given, the domain as they are
/// kept; both hold on every face.
fn parse<T>(
    tags: &[String],
    notes: &Notes,
    domain: impl FnOnce(&Limits) -> notes::Result<T>,
) -> Result<T, Failure> {
    let limits = notes.limits();
    let mut flaws = Vec::new();
    let parsed = domain(limits).map_err(Failure::of);
    if tags.len() > limits.tags_max {
        let most = limits.tags_max;
        let message = format!("has {} tags; at most {most} are allowed", tags.len());
        flaws.push(Flaw::new("tags", "too_many", message));
    }
    let each = tags.iter().enumerate();
    flaws.extend(each.filter_map(|(at, tag)| too_long(format!("tags[{at}]"), tag, limits)));
    if let Err(failure) = &parsed {
        flaws.retain(|flaw| {
            failure
                .problems
                .iter()
                .all(|known| known.field != flaw.field)
        });
    }
    match parsed {
        Ok(parsed) if flaws.is_empty() => Ok(parsed),
        Ok(_) => Err(Failure::invalid(flaws)),
        Err(mut failure) => {
            failure.problems.append(&mut flaws);
            Err(Failure::invalid(failure.problems))
        }
    }
}

/// The flaw of a tag that is too long as it is given.
fn too_long(field: String, tag: &str, limits: &Limits) -> Option<Flaw> {
    let most = limits.tag_chars_max;
    let chars = if tag.len() > most {
        tag.chars().count()
    } else {
        0
    };
    let message = || format!("is {chars} characters long; at most {most} are allowed");
    (chars > most).then(|| Flaw::new(field, "too_long", message()))
}

/// Both values, or the problems with both.
fn both<A, B>(a: Result<A, Failure>, b: Result<B, Failure>) -> Result<(A, B), Failure> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => Err(failure),
        (Err(mut a), Err(mut b)) => {
            a.problems.append(&mut b.problems);
            Err(Failure::invalid(a.problems))
        }
    }
}

fn list_query(limits: &Limits, query: ListNotes) -> Result<ListQuery, Failure> {
    let mut flaws = Vec::new();
    let given = query.tag.into_iter().map(|tag| ("tag".to_owned(), tag));
    let all = query
        .tags
        .into_iter()
        .enumerate()
        .map(|(at, tag)| (format!("tags[{at}]"), tag));
    let mut tags = Vec::new();
    for (field, text) in given.chain(all) {
        if let Some(flaw) = too_long(field.clone(), &text, limits) {
            flaws.push(flaw);
            continue;
        }
        match Tag::parse(&text, limits) {
            Ok(tag) => tags.push(tag),
            Err(problem) => flaws.push(Flaw {
                field,
                ..problem.into()
            }),
        }
    }
    if tags.len() > limits.tags_max {
        let most = limits.tags_max;
        flaws.push(Flaw::new(
            "tags",
            "too_many",
            format!("has too many tags; at most {most} are allowed"),
        ));
    }
    let mut time = |field: &str, text: Option<String>| {
        let time = text.as_deref().map(str::parse::<Timestamp>).transpose();
        time.unwrap_or_else(|_| {
            let message = "is not a time in the form of RFC 3339, such as 2026-01-31T12:00:00Z";
            flaws.push(Flaw::new(field, "bad_format", message));
            None
        })
    };
    let updated_after = time("updated_after", query.updated_after);
    let updated_before = time("updated_before", query.updated_before);
    let created_after = time("created_after", query.created_after);
    let created_before = time("created_before", query.created_before);
    if !flaws.is_empty() {
        return Err(Failure::invalid(flaws));
    }
    Ok(ListQuery {
        limit: page_limit(query.limit),
        cursor: query.cursor,
        tags,
        updated_after,
        updated_before,
        created_after,
        created_before,
        title_prefix: query.title_prefix,
    })
}

/// A limit beyond 32 bits is as far out of range as one can be, and the domain says so.
fn page_limit(limit: Option<u64>) -> u32 {
    limit.map_or(PAGE_ITEMS_DEFAULT, |limit| {
        u32::try_from(limit).unwrap_or(u32::MAX)
    })
}
