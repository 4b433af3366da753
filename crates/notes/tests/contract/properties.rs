//! Laws tried on generated input: texts, searches, and sequences of operations beside a model.

use std::cmp::Reverse;
use std::collections::HashMap;

use notes::search::{Query, Term, tokens};
use notes::{
    Caller, Content, Error, Limits, ListQuery, NewNote, Note, NoteId, NotePatch, SearchQuery, Tag,
    Tags, Title,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::stage::{Stage, caller, tag};

/// Tries `law` on generated values. Every case gets an owner of its own, so that one store serves
/// all. The value on which it fails is printed.
pub(crate) async fn for_all<S: Strategy>(
    cases: u32,
    strategy: S,
    law: impl AsyncFn(Caller, S::Value),
) where
    S::Value: Clone,
{
    let mut runner = TestRunner::new(Config::default());
    for case in 0..cases {
        let value = strategy.new_tree(&mut runner).unwrap().current();
        let context = Shown(format!("case {case}: {value:?}"));
        law(caller(&format!("owner {case}")), value).await;
        context.pass();
    }
}

/// Prints what was tried if the law does not hold.
struct Shown(String);

impl Shown {
    fn pass(mut self) {
        self.0.clear();
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            eprintln!("failed on {}", self.0);
        }
    }
}

/// Text as people and programs write it, with what is hard mixed in.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,6}",
        2 => Just(" ".to_owned()),
        1 => prop::sample::select(vec![
            "\"", "-", "*", "(", ")", "AND", "NOT", "NEAR(", ":", "^", "<b>", "Vec<String>", "foo_bar",
            "\r\n", "\t", "\u{0}", "\u{1b}", "東京", "京", "ガ", "한국", "ภาษา", "🚀", "👨‍👩‍👧", "é", "e\u{301}",
            "ß", "İ", "Σ", "ς", "ﬁ", "שלום", "كِتَاب", "\u{202E}", "\u{202C}", "\u{2067}", "\u{2069}",
            "\u{E0067}", "\u{200D}", "\u{FE0F}", "'", ";", "%", "_", "\\",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

pub(crate) async fn any_text_that_is_accepted_comes_back(stage: &Stage) {
    let limits = Limits::default();
    for_all(
        stage.cases(300),
        (text(), text(), prop::collection::vec(text(), 0..4)),
        async |who, given| {
            let (title, content, tags) = given;
            let Ok(new) = NewNote::parse(&title, &content, &tags, &limits) else {
                // What is refused is refused for a part of it.
                assert!(
                    Title::parse(&title, &limits).is_err()
                        || Content::parse(&content, &limits).is_err()
                        || Tags::parse(&tags, &limits).is_err()
                );
                return;
            };
            let created = stage.notes.create(&who, new.clone()).await.unwrap();
            let read = stage.notes.get(&who.owner, &created.id).await.unwrap();
            assert_eq!(read.title.as_str(), title);
            assert_eq!(read.content.as_str(), content);
            assert_eq!(read.tags, new.tags);
            assert_eq!(read, created);
        },
    )
    .await;
}

/// Whether a note matches, in the words of the documentation of [`notes::search`].
fn matches(note: &Note, text: &str) -> bool {
    let fields: Vec<&str> = [note.title.as_str(), note.content.as_str()]
        .into_iter()
        .chain(note.tags.iter().map(Tag::as_str))
        .collect();
    match Query::parse(text).unwrap() {
        Query::Literal(words) => words
            .iter()
            .all(|word| fields.iter().any(|field| field.contains(word.as_str()))),
        Query::Terms(terms) => terms
            .iter()
            .all(|term| fields.iter().any(|field| has_term(field, term))),
    }
}

fn has_term(field: &str, term: &Term) -> bool {
    let found: Vec<String> = tokens(field).map(|token| token.text).collect();
    let (last, first) = term.tokens.split_last().unwrap();
    found.windows(term.tokens.len()).any(|window| {
        let (end, start) = window.split_last().unwrap();
        let end_matches = if term.prefix {
            end.starts_with(last)
        } else {
            end == last
        };
        start == first && end_matches
    })
}

pub(crate) async fn any_search_is_answered_as_the_rules_say(stage: &Stage) {
    let limits = Limits::default();
    let notes = prop::collection::vec((text(), text(), prop::collection::vec(text(), 0..3)), 1..5);
    let search = (text(), any::<prop::sample::Index>(), 0..9_usize, 1..5_u32);
    let searches = prop::collection::vec(search, 1..6);
    for_all(
        stage.cases(150),
        (notes, searches),
        async |who, (given, searches)| {
            let mut kept = Vec::new();
            for (title, content, tags) in given {
                if let Ok(new) = NewNote::parse(&title, &content, &tags, &limits) {
                    kept.push(stage.notes.create(&who, new).await.unwrap());
                }
            }
            for (typed, index, chars, limit) in searches {
                // Half of them are a piece of a note, which must find that note if it is whole words.
                let text = match kept.get(index.index(kept.len().max(1))) {
                    Some(note) if chars > 4 => note.content.as_str().chars().take(chars).collect(),
                    _ => typed,
                };
                let query = SearchQuery {
                    limit,
                    ..SearchQuery::new(text.clone())
                };
                match all_hits(stage, &who, query).await {
                    Ok((found, totals)) => {
                        let wanted = in_order(&kept, &text);
                        assert_eq!(found, wanted, "searching {text:?}");
                        let total = Some(wanted.len() as u64);
                        assert!(totals.iter().all(|&said| said == total), "{totals:?}");
                    }
                    Err(Error::Invalid(_)) => {
                        assert!(text.trim().is_empty(), "{text:?} is refused");
                    }
                    Err(error) => panic!("searching {text:?}: {error:?}"),
                }
            }
        },
    )
    .await;
}

/// The notes that match, in the order in which a search shows them.
fn in_order(notes: &[Note], text: &str) -> Vec<NoteId> {
    let query = Query::parse(text).unwrap();
    let score = |note: &Note| query.score(note.title.as_str(), note.tags.iter().map(Tag::as_str));
    let mut found: Vec<&Note> = notes.iter().filter(|note| matches(note, text)).collect();
    found.sort_by_key(|note| Reverse((score(note), note.updated_at, &note.id)));
    found.into_iter().map(|note| note.id.clone()).collect()
}

/// The hits on all pages of a search, and the total that each page names.
async fn all_hits(
    stage: &Stage,
    who: &Caller,
    mut query: SearchQuery,
) -> Result<(Vec<NoteId>, Vec<Option<u64>>), Error> {
    let (mut ids, mut totals) = (Vec::new(), Vec::new());
    loop {
        let page = stage.notes.search(&who.owner, &query).await?;
        ids.extend(page.items.into_iter().map(|hit| hit.note.id));
        totals.push(page.total);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok((ids, totals));
        }
    }
}

/// An operation on one of a few notes of one of two owners.
#[derive(Clone, Debug)]
enum Step {
    Create {
        title: u8,
        tag: u8,
    },
    Update {
        note: usize,
        title: Option<u8>,
        tag: Option<u8>,
        expected: Option<u64>,
    },
    Delete {
        note: usize,
        expected: Option<u64>,
    },
    Tick,
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let small = 0..4_u8;
    let expected = prop::option::weighted(0.3, 1..4_u64);
    let step = prop_oneof![
        3 => (small.clone(), small.clone()).prop_map(|(title, tag)| Step::Create { title, tag }),
        4 => (0..6_usize, prop::option::of(small.clone()), prop::option::of(small), expected.clone())
            .prop_map(|(note, title, tag, expected)| Step::Update { note, title, tag, expected }),
        1 => (0..6_usize, expected).prop_map(|(note, expected)| Step::Delete { note, expected }),
        1 => Just(Step::Tick),
    ];
    prop::collection::vec((any::<bool>(), step), 1..30)
}

/// What the store should hold, kept in the simplest way.
type Model = HashMap<NoteId, Note>;

pub(crate) async fn any_sequence_of_operations_agrees_with_a_model(stage: &Stage) {
    for_all(stage.cases(60), steps(), async |who, steps| {
        let other = caller(&format!("other {}", who.owner.as_str()));
        let mut models = [Model::new(), Model::new()];
        let mut ids = Vec::new();
        for (first, step) in steps {
            let (who, model) = if first {
                (&who, &mut models[0])
            } else {
                (&other, &mut models[1])
            };
            run(stage, who, model, &mut ids, step).await;
        }
        for (who, model) in [&who, &other].into_iter().zip(&models) {
            agrees(stage, who, model).await;
        }
    })
    .await;
}

async fn run(stage: &Stage, who: &Caller, model: &mut Model, ids: &mut Vec<NoteId>, step: Step) {
    let limits = Limits::default();
    let title = |n: u8| Title::parse(&format!("title {n}"), &limits).unwrap();
    let tags = |n: u8| Tags::parse(&[format!("tag{n}")], &limits).unwrap();
    let unknown = NoteId::parse("unknown").unwrap();
    match step {
        Step::Tick => stage.tick(),
        Step::Create { title: t, tag } => {
            let content = Content::parse(&format!("content {t}"), &limits).unwrap();
            let new = NewNote {
                title: title(t),
                content,
                tags: tags(tag),
            };
            let note = stage.notes.create(who, new).await.unwrap();
            ids.push(note.id.clone());
            assert!(model.insert(note.id.clone(), note).is_none());
        }
        Step::Update {
            note,
            title: t,
            tag,
            expected,
        } => {
            let id = ids.get(note).unwrap_or(&unknown);
            let patch = NotePatch {
                title: t.map(title),
                content: None,
                tags: tag.map(tags),
            };
            let result = stage.notes.update(who, id, patch.clone(), expected).await;
            match (model.get_mut(id), result) {
                _ if patch == NotePatch::default() => {}
                (None, Err(Error::NotFound { .. })) => {}
                (Some(kept), Err(Error::Conflict { current, .. })) => {
                    assert!(expected.is_some_and(|expected| expected != kept.version));
                    assert_eq!(*current, *kept);
                }
                (Some(kept), Ok(updated)) => {
                    assert!(expected.is_none_or(|expected| expected == kept.version));
                    patch.apply(kept);
                    kept.version += 1;
                    kept.updated_at = updated.updated_at.max(kept.updated_at);
                    assert_eq!(updated, *kept);
                }
                (kept, result) => panic!("{kept:?} {result:?}"),
            }
        }
        Step::Delete { note, expected } => {
            let id = ids.get(note).unwrap_or(&unknown);
            let version = model.get(id).map(|kept| kept.version);
            match (version, stage.notes.delete(who, id, expected).await) {
                (None, Err(Error::NotFound { .. })) => {}
                (Some(version), Err(Error::Conflict { .. })) => {
                    assert!(expected.is_some_and(|expected| expected != version));
                }
                (Some(version), Ok(deleted)) => {
                    assert!(expected.is_none_or(|expected| expected == version));
                    assert_eq!(deleted.version, version);
                    model.remove(id);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Every way of reading shows what the model holds.
async fn agrees(stage: &Stage, who: &Caller, model: &Model) {
    let mut wanted: Vec<&Note> = model.values().collect();
    wanted.sort_by(|a, b| (b.updated_at, &b.id).cmp(&(a.updated_at, &a.id)));
    for note in &wanted {
        assert_eq!(stage.notes.get(&who.owner, &note.id).await.unwrap(), **note);
    }
    let page = stage
        .list(
            who,
            ListQuery {
                limit: 100,
                ..ListQuery::default()
            },
        )
        .await;
    let listed: Vec<_> = page
        .items
        .iter()
        .map(|note| (&note.id, note.version))
        .collect();
    assert_eq!(
        listed,
        wanted
            .iter()
            .map(|note| (&note.id, note.version))
            .collect::<Vec<_>>()
    );
    assert_eq!(page.total, Some(wanted.len() as u64));
    let tags = stage.notes.tags(&who.owner, "", 100).await.unwrap();
    for n in 0..4 {
        let tagged = |note: &&Note| {
            note.tags
                .iter()
                .any(|tag| tag.as_str() == format!("tag{n}"))
        };
        let count = tags
            .items
            .iter()
            .find(|t| t.tag.as_str() == format!("tag{n}"));
        let wanted_count = wanted.iter().copied().filter(|note| tagged(note)).count() as u64;
        assert_eq!(count.map_or(0, |t| t.notes), wanted_count);
        let name = format!("tag{n}");
        let query = ListQuery {
            tags: vec![tag(&name)],
            limit: 1,
            ..ListQuery::default()
        };
        let in_order = wanted.iter().copied().filter(|note| tagged(note));
        assert_eq!(
            pages(stage, who, query).await,
            in_order.map(|note| note.id.clone()).collect::<Vec<_>>()
        );
        let found = stage.found(who, &format!("tag{n}"), 2).await;
        assert_eq!(found.len() as u64, wanted_count);
        let titled = stage
            .notes
            .titles(&who.owner, &format!("title {n}"), 100)
            .await
            .unwrap();
        let with_title = |note: &&&Note| note.title.as_str() == format!("title {n}");
        assert_eq!(titled.items.len(), wanted.iter().filter(with_title).count());
    }
}

/// The ids on all pages of a list.
async fn pages(stage: &Stage, who: &Caller, mut query: ListQuery) -> Vec<NoteId> {
    let mut ids = Vec::new();
    loop {
        let page = stage.list(who, query.clone()).await;
        ids.extend(page.items.into_iter().map(|note| note.id));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return ids;
        }
    }
}
