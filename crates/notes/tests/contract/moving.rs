//! Laws of moving everything: what a store gives is complete, and what it takes it keeps as it is.

use notes::transfer::{Batch, Counts, KeptToken, Mark, Phase, Tally, TransferError};
use notes::{
    AccessToken, Caller, ListQuery, Note, NoteId, Owner, Store, StoreError, Timestamp, TokenName,
    open, transfer,
};

use crate::stage::{Stage, caller, new_note, patch, tag, titles};

/// A further store, on which no law depends.
async fn elsewhere() -> std::sync::Arc<dyn Store> {
    open("sqlite::memory:").await.unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_001 + micros).unwrap()
}

fn kept(number: u8, name: &str) -> KeptToken {
    let token = AccessToken {
        id: format!("t{number}"),
        name: TokenName::parse(name).unwrap(),
        owner: Owner::parse("ann").unwrap(),
        scopes: vec!["notes:write".into(), "notes:read".into()],
        created_at: at(number.into()),
        expires_at: None,
        last_used: None,
        revoked_at: None,
    };
    let hash = [number; 32];
    KeptToken { token, hash }
}

/// Tokens that hold, have ended and were revoked; two of one name.
pub(crate) fn tokens() -> Vec<KeptToken> {
    let mut tokens = vec![kept(1, "ci"), kept(2, "ci"), kept(3, "desk"), kept(4, "ü")];
    tokens[0].token.revoked_at = Some(at(77));
    tokens[2].token.last_used = Some(at(1_000_003));
    tokens[2].token.expires_at = Some(at(5));
    tokens[3].token.scopes.clear();
    tokens
}

/// Notes of three owners, some changed by somebody else, with texts of all kinds.
pub(crate) async fn fill(stage: &Stage) -> Vec<Note> {
    let (ann, bob, all) = (caller("ann"), caller("bob"), caller("ann|x y"));
    let mut notes = Vec::new();
    for (number, who) in [&ann, &bob, &all, &ann, &bob].into_iter().enumerate() {
        stage
            .clock
            .advance(jiff::SignedDuration::from_micros(1_001));
        let title = format!("Title {number} 語");
        let text = format!("line {number}\r\n\u{1F469}\u{200D}\u{1F4BB} e\u{301} $set.a \"'\\");
        let new = new_note(&title, &text, &["to-do", "größe", "a.b"]);
        notes.push(stage.notes.create(who, new).await.unwrap());
    }
    let editor = Caller {
        author: caller("eve").author,
        ..ann.clone()
    };
    let change = patch(None, Some("changed"), Some(&[]));
    stage.tick();
    let changed = stage.notes.update(&editor, &notes[0].id, change, None);
    notes[0] = changed.await.unwrap();
    notes
}

pub(crate) async fn every_note(store: &dyn Store, limit: u32) -> Vec<Note> {
    let (mut notes, mut after): (Vec<Note>, Option<Mark>) = (Vec::new(), None);
    loop {
        let batch: Batch<Note> = store.export_notes(after.as_ref(), limit).await.unwrap();
        assert!(batch.items.len() <= limit as usize);
        notes.extend(batch.items);
        after = batch.next;
        if after.is_none() {
            return notes;
        }
    }
}

pub(crate) async fn every_token(store: &dyn Store, limit: u32) -> Vec<KeptToken> {
    let (mut tokens, mut after) = (Vec::new(), None);
    loop {
        let batch = store.export_tokens(after.as_ref(), limit).await.unwrap();
        assert!(batch.items.len() <= limit as usize);
        tokens.extend(batch.items);
        after = batch.next;
        if after.is_none() {
            return tokens;
        }
    }
}

pub(crate) fn sorted(mut notes: Vec<Note>) -> Vec<Note> {
    notes.sort_by_key(|note| (note.owner.clone(), note.id.clone()));
    notes
}

pub(crate) async fn an_export_is_complete_in_batches_of_any_size(stage: &Stage) {
    let store = stage.store.as_ref();
    assert!(every_note(store, 3).await.is_empty());
    assert!(every_token(store, 3).await.is_empty());
    let notes = sorted(fill(stage).await);
    store.import_tokens(tokens()).await.unwrap();
    for limit in [1, 2, 4, 5, 6, 1000] {
        assert_eq!(sorted(every_note(store, limit).await), notes, "{limit}");
        assert_eq!(every_token(store, limit).await, tokens(), "{limit}");
    }
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.notes, counts.tokens), (5, 4));
    // Nothing else is missed when something goes and something comes in between.
    let batch = store.export_notes(None, 2).await.unwrap();
    let ann = caller("ann");
    let gone = &batch.items[1];
    let by = Caller {
        owner: gone.owner.clone(),
        ..ann.clone()
    };
    stage.notes.delete(&by, &gone.id, None).await.unwrap();
    stage.add(&ann, "new", "new", &[]).await;
    let mut seen = batch.items.clone();
    let mut after = batch.next;
    while let Some(mark) = after {
        let batch = store.export_notes(Some(&mark), 1).await.unwrap();
        seen.extend(batch.items);
        after = batch.next;
    }
    seen.retain(|note| note.title.as_str() != "new");
    assert_eq!(sorted(seen), notes);
}

pub(crate) async fn notes_are_found_by_their_names(stage: &Stage) {
    let store = stage.store.as_ref();
    let notes = fill(stage).await;
    let name = |note: &Note| (note.owner.clone(), note.id.clone());
    assert!(store.find_notes(Vec::new()).await.unwrap().is_empty());
    let mut names: Vec<_> = notes.iter().map(name).collect();
    // Those of somebody else, or of nobody, are not among them.
    names.push((notes[1].owner.clone(), notes[0].id.clone()));
    names.push((Owner::parse("nobody").unwrap(), notes[0].id.clone()));
    let found = store.find_notes(names).await.unwrap();
    assert_eq!(sorted(found), sorted(notes.clone()));
    let found = store.find_notes(vec![name(&notes[2])]).await.unwrap();
    assert_eq!(found, [notes[2].clone()]);
}

pub(crate) async fn what_is_imported_is_as_if_it_had_been_written_here(stage: &Stage) {
    let from = Stage::of(elsewhere().await);
    let notes = fill(&from).await;
    let store = stage.store.as_ref();
    store.import_notes(notes.clone()).await.unwrap();
    store.import_tokens(tokens()).await.unwrap();
    // Nobody is told.
    assert_eq!(stage.changes(), []);
    for note in &notes {
        let found = store.get(&note.owner, &note.id).await.unwrap();
        assert_eq!(&found, note);
        assert_eq!(found.content.as_str(), note.content.as_str());
    }
    let ann = caller("ann");
    let expected = from.list(&ann, ListQuery::default()).await;
    let listed = stage.list(&ann, ListQuery::default()).await;
    assert_eq!(
        (titles(&listed), listed.total),
        (titles(&expected), Some(2))
    );
    assert_eq!(stage.found(&ann, "changed", 10).await, ["Title 0 語"]);
    assert_eq!(stage.found(&ann, "line title", 10).await, ["Title 3 語"]);
    let tagged = ListQuery {
        tags: vec![tag("größe")],
        ..ListQuery::default()
    };
    assert_eq!(titles(&stage.list(&ann, tagged).await), ["Title 3 語"]);
    let counted = stage.notes.tags(&ann.owner, "to", 10).await.unwrap();
    assert_eq!(counted.items[0].notes, 1);
    let change = patch(Some("Title 3 changed"), None, None);
    let changed = stage.notes.update(&ann, &notes[3].id, change, Some(1));
    assert_eq!(changed.await.unwrap().version, 2);
    for KeptToken { token, hash } in tokens() {
        let found = store.token_of_hash(hash).await.unwrap();
        assert_eq!(found.as_ref(), Some(&token));
        assert_eq!(store.token(&token.id).await.unwrap(), Some(token));
    }
    let revoked = store.revoke_token("ci", at(9)).await.unwrap().unwrap();
    assert_eq!(revoked.id, "t2");
}

pub(crate) async fn what_is_there_already_is_left_alone(stage: &Stage) {
    let store = stage.store.as_ref();
    let notes = fill(stage).await;
    store.import_tokens(tokens()).await.unwrap();
    let mut others = notes.clone();
    for note in &mut others {
        note.version += 7;
    }
    let mut more = kept(9, "more");
    let mut other_tokens = tokens();
    other_tokens[3].token.last_used = Some(at(99));
    // Among those that are there, one is new.
    others[2].id = NoteId::parse("new").unwrap();
    other_tokens.push(more.clone());
    store.import_notes(others.clone()).await.unwrap();
    store.import_tokens(other_tokens).await.unwrap();
    let mut expected = notes.clone();
    expected.push(others[2].clone());
    assert_eq!(sorted(every_note(store, 10).await), sorted(expected));
    let mut expected = tokens();
    expected.push(more.clone());
    assert_eq!(every_token(store, 10).await, expected);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.notes, counts.tokens), (6, 5));
    // What has the name or the hash of another token is no copy of it.
    more.token.id = "t10".into();
    assert!(store.import_tokens(vec![more]).await.is_err());
}

pub(crate) async fn everything_moves_out_and_in_again(stage: &Stage) {
    let notes = fill(stage).await;
    stage.store.import_tokens(tokens()).await.unwrap();
    let mut expected = Tally::default();
    for note in &notes {
        expected.note(note);
    }
    for kept in tokens() {
        expected.token(&kept);
    }

    let there = elsewhere().await;
    let mut told = Vec::new();
    let mut watch = |progress| {
        told.push(progress);
        true
    };
    let moved = transfer(stage.store.as_ref(), there.as_ref(), &mut watch).await;
    assert_eq!(moved.unwrap(), expected);
    assert_eq!(sorted(every_note(there.as_ref(), 3).await), sorted(notes));
    let phases: Vec<_> = told.iter().map(|progress| progress.phase).collect();
    assert!(phases.is_sorted_by_key(|phase| *phase as u8), "{told:?}");
    let last = told.last().unwrap();
    assert_eq!(
        (last.phase, last.done, last.total),
        (Phase::Compare, 18, 18)
    );

    // Once more is the same, in both directions.
    let again = transfer(stage.store.as_ref(), there.as_ref(), &mut |_| true).await;
    assert_eq!(again.unwrap(), expected);
    let back = transfer(there.as_ref(), stage.store.as_ref(), &mut |_| true).await;
    assert_eq!(back.unwrap(), expected);

    // And what came from elsewhere goes into an empty store of this kind.
    for note in every_note(stage.store.as_ref(), 100).await {
        let gone = stage.store.delete(&note.owner, &note.id, None).await;
        gone.unwrap();
    }
    let back = transfer(there.as_ref(), stage.store.as_ref(), &mut |_| true).await;
    assert_eq!(back.unwrap(), expected);
}

pub(crate) async fn a_move_that_was_interrupted_goes_on(stage: &Stage) {
    let from = Stage::of(elsewhere().await);
    let ann = caller("ann");
    for number in 0..1234 {
        let new = new_note(&format!("note {number}"), "x", &[]);
        from.notes.create(&ann, new).await.unwrap();
    }
    from.store.import_tokens(tokens()).await.unwrap();
    let store = stage.store.as_ref();
    let mut halves = 0;
    let mut stop = |progress: notes::transfer::Progress| {
        halves += u32::from(progress.phase == Phase::Copy);
        progress.phase != Phase::Copy
    };
    let stopped = transfer(from.store.as_ref(), store, &mut stop).await;
    assert!(matches!(stopped, Err(TransferError::Stopped)));
    assert_eq!(halves, 1);
    let begun = store.counts().await.unwrap().notes;
    assert!((1..1234).contains(&begun), "{begun}");
    let moved = transfer(from.store.as_ref(), store, &mut |_| true).await;
    assert_eq!(moved.unwrap().notes, 1234);
    let counts = store.counts().await.unwrap();
    assert_eq!(
        counts,
        Counts {
            notes: 1234,
            tokens: 4
        }
    );
}

pub(crate) async fn a_target_with_anything_else_is_refused(stage: &Stage) {
    let from = Stage::of(elsewhere().await);
    let notes = fill(&from).await;
    from.store.import_tokens(tokens()).await.unwrap();
    let source = from.store.as_ref();
    let store = stage.store.as_ref();
    let refused = async |words: &str| {
        let before = store.counts().await.unwrap();
        let refused = transfer(source, store, &mut |_| true).await.unwrap_err();
        assert!(matches!(refused, TransferError::Taken { .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(store.counts().await.unwrap(), before);
    };
    let foreign = stage.add(&caller("ann"), "foreign", "x", &[]).await;
    refused("the note note-1 of \"ann\"").await;
    store
        .delete(&foreign.owner, &foreign.id, None)
        .await
        .unwrap();
    // The same note at another version is another.
    let mut older = notes[0].clone();
    older.version -= 1;
    store.import_notes(vec![older]).await.unwrap();
    refused("the note note-1 of \"ann\"").await;
    let gone = store.delete(&notes[0].owner, &notes[0].id, None).await;
    gone.unwrap();
    store.import_tokens(vec![kept(9, "other")]).await.unwrap();
    refused("the token other (t9)").await;
}

pub(crate) async fn a_source_that_changes_meanwhile_is_seen(stage: &Stage) {
    fill(stage).await;
    let there = elsewhere().await;
    let (owner, by) = (caller("ann").owner, caller("ann").author);
    let store = stage.store.clone();
    let note = every_note(store.as_ref(), 1)
        .await
        .into_iter()
        .find(|note| note.owner == owner)
        .unwrap();
    let handle = tokio::runtime::Handle::current();
    let mut changed = false;
    let mut change = |progress: notes::transfer::Progress| {
        if progress.phase == Phase::Compare && !changed {
            changed = true;
            let stamp = notes::store::Stamp {
                at: note.updated_at,
                by: by.clone(),
            };
            let change = patch(Some("late"), None, None);
            let (store, handle) = (store.clone(), handle.clone());
            let (owner, id) = (owner.clone(), note.id.clone());
            let write = async move { store.update(&owner, &id, change, None, stamp).await };
            tokio::task::block_in_place(|| handle.block_on(write)).unwrap();
        }
        true
    };
    let moved = transfer(stage.store.as_ref(), there.as_ref(), &mut change).await;
    let refused = matches!(moved, Err(TransferError::SourceChanged));
    assert!(refused, "{moved:?}");
}

pub(crate) async fn a_target_that_changes_meanwhile_is_seen(stage: &Stage) {
    let from = Stage::of(elsewhere().await);
    fill(&from).await;
    let (store, handle) = (stage.store.clone(), tokio::runtime::Handle::current());
    let mut added = false;
    let mut add = |progress: notes::transfer::Progress| {
        if progress.phase == Phase::Copy && !added {
            added = true;
            let mut tokens = tokens();
            tokens.truncate(1);
            let (store, handle) = (store.clone(), handle.clone());
            let write = async move { store.import_tokens(tokens).await };
            tokio::task::block_in_place(|| handle.block_on(write)).unwrap();
        }
        true
    };
    let moved = transfer(from.store.as_ref(), stage.store.as_ref(), &mut add).await;
    let refused = matches!(moved, Err(TransferError::Differs { .. }));
    assert!(refused, "{moved:?}");
}

pub(crate) async fn a_closed_store_moves_nothing(stage: &Stage) {
    fill(stage).await;
    let store = stage.store.as_ref();
    store.close().await.unwrap();
    let closed = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    assert!(closed(store.export_notes(None, 1).await.unwrap_err()));
    assert!(closed(store.export_tokens(None, 1).await.unwrap_err()));
    assert!(closed(store.counts().await.unwrap_err()));
    assert!(closed(store.import_notes(Vec::new()).await.unwrap_err()));
    assert!(closed(store.import_tokens(Vec::new()).await.unwrap_err()));
}

#[test]
fn a_checksum_is_of_every_part_and_of_no_order() {
    let note = |tags: &[&str]| {
        let new = new_note("title", "content", tags);
        Note {
            id: NoteId::parse("id").unwrap(),
            owner: caller("ann").owner,
            title: new.title,
            content: new.content,
            tags: new.tags,
            version: 1,
            created_at: at(0),
            updated_at: at(0),
            created_by: caller("ann").author,
            updated_by: caller("ann").author,
        }
    };
    let mut notes = vec![note(&[]), note(&["a", "b"]), note(&["ab"])];
    let mut other = |change: &dyn Fn(&mut Note)| {
        let mut changed = note(&[]);
        change(&mut changed);
        notes.push(changed);
    };
    other(&|note| note.id = NoteId::parse("other").unwrap());
    other(&|note| note.owner = caller("bob").owner);
    other(&|note| note.title = new_note("other", "x", &[]).title);
    other(&|note| note.content = new_note("x", "other", &[]).content);
    other(&|note| note.version = 2);
    other(&|note| note.created_at = at(1));
    other(&|note| note.updated_at = at(1));
    other(&|note| note.created_by = caller("eve").author);
    other(&|note| note.updated_by = caller("eve").author);
    let mut tokens = vec![kept(1, "ci")];
    let mut other = |change: &dyn Fn(&mut KeptToken)| {
        let mut changed = kept(1, "ci");
        change(&mut changed);
        tokens.push(changed);
    };
    other(&|kept| kept.hash = [7; 32]);
    other(&|kept| kept.token.id.push('x'));
    other(&|kept| kept.token.name = TokenName::parse("cd").unwrap());
    other(&|kept| kept.token.owner = caller("bob").owner);
    other(&|kept| kept.token.scopes.reverse());
    other(&|kept| kept.token.created_at = at(9));
    other(&|kept| kept.token.expires_at = Some(at(9)));
    other(&|kept| kept.token.last_used = Some(at(9)));
    other(&|kept| kept.token.revoked_at = Some(at(9)));

    let of = |notes: &[&Note], tokens: &[&KeptToken]| {
        let mut tally = Tally::default();
        for note in notes {
            tally.note(note);
        }
        for kept in tokens {
            tally.token(kept);
        }
        tally.to_string()
    };
    let each = notes.iter().map(|note| of(&[note], &[]));
    let mut each: Vec<_> = each
        .chain(tokens.iter().map(|kept| of(&[], &[kept])))
        .collect();
    let count = each.len();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), count, "{each:?}");

    let one_way = of(&[&notes[0], &notes[1]], &[&tokens[0]]);
    let other_way = of(&[&notes[1], &notes[0]], &[&tokens[0]]);
    assert_eq!(one_way, other_way);
    // 256 times the same is the same sum moved up by a byte.
    let sum = |times| {
        let tally = of(&vec![&notes[0]; times], &[]);
        tally.rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(sum(256), format!("{}00", &sum(1)[2..]));
    // Twice the same is not the same as nothing, nor as once.
    assert_ne!(
        of(&[&notes[0], &notes[0]], &[]),
        of(&[&notes[1], &notes[1]], &[])
    );
    // It is the same in every version of this program.
    assert_eq!(
        one_way,
        "notes 2, tokens 1, checksum 2ae345e0bd84e0dbe66b193599c7e411320c8d64428eb28e2bf3e80dd4881083"
    );
}
