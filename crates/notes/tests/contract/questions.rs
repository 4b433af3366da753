//! Laws of asking: which questions are refused.

use notes::{Error, ListQuery, ProblemCode, SearchQuery};

use crate::stage::{Stage, caller, tag, titles};

pub(crate) async fn limits_are_checked(stage: &Stage) {
    let ann = caller("ann");
    for limit in [0, 101, u32::MAX] {
        let list = ListQuery {
            limit,
            ..ListQuery::default()
        };
        let search = SearchQuery {
            limit,
            ..SearchQuery::new("x")
        };
        let results = [
            stage.notes.list(&ann.owner, &list).await.map(|_| ()),
            stage.notes.search(&ann.owner, &search).await.map(|_| ()),
            stage.notes.tags(&ann.owner, "", limit).await.map(|_| ()),
            stage.notes.titles(&ann.owner, "", limit).await.map(|_| ()),
        ];
        for result in results {
            let Err(Error::Invalid(problems)) = result else {
                panic!("{limit} is accepted")
            };
            assert_eq!(problems[0].field, "limit");
            assert_eq!(problems[0].code, ProblemCode::OutOfRange);
        }
    }
    for limit in [1, 100] {
        let list = ListQuery {
            limit,
            ..ListQuery::default()
        };
        assert!(stage.notes.list(&ann.owner, &list).await.is_ok());
    }
}

pub(crate) async fn a_cursor_is_good_for_its_own_question_only(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    for who in [&ann, &bob] {
        for n in 0..3 {
            stage.add(who, &format!("t{n}"), "word", &["x"]).await;
        }
    }
    let one = ListQuery {
        limit: 1,
        ..ListQuery::default()
    };
    let cursor = stage.list(&ann, one.clone()).await.next_cursor;
    assert!(cursor.is_some());
    let word = SearchQuery {
        limit: 1,
        ..SearchQuery::new("word")
    };
    let hits = stage.notes.search(&ann.owner, &word).await.unwrap();
    assert!(hits.next_cursor.is_some());

    let good = ListQuery {
        cursor: cursor.clone(),
        limit: 2,
        ..one.clone()
    };
    assert_eq!(titles(&stage.list(&ann, good.clone()).await), ["t1", "t0"]);
    let bad_lists = [
        (&bob, good.clone()),
        (
            &ann,
            ListQuery {
                tags: vec![tag("x")],
                ..good.clone()
            },
        ),
        (
            &ann,
            ListQuery {
                title_prefix: Some("t".into()),
                ..good.clone()
            },
        ),
        (
            &ann,
            ListQuery {
                cursor: hits.next_cursor.clone(),
                ..one.clone()
            },
        ),
        (
            &ann,
            ListQuery {
                cursor: cursor.as_ref().map(|c| c[..16].into()),
                ..one.clone()
            },
        ),
        (
            &ann,
            ListQuery {
                cursor: Some("garbage".into()),
                ..one.clone()
            },
        ),
        (
            &ann,
            ListQuery {
                cursor: Some(String::new()),
                ..one
            },
        ),
    ];
    for (who, query) in bad_lists {
        let refused = stage.notes.list(&who.owner, &query).await;
        assert!(matches!(refused, Err(Error::BadCursor)));
    }
    let bad_searches = [
        (
            &bob,
            SearchQuery {
                cursor: hits.next_cursor.clone(),
                ..word.clone()
            },
        ),
        (
            &ann,
            SearchQuery {
                cursor: hits.next_cursor,
                ..SearchQuery::new("words")
            },
        ),
        (&ann, SearchQuery { cursor, ..word }),
    ];
    for (who, query) in bad_searches {
        let refused = stage.notes.search(&who.owner, &query).await;
        assert!(matches!(refused, Err(Error::BadCursor)));
    }
}
