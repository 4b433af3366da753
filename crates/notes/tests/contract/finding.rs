//! Laws of searching: one table of what finds what, and how hits are ordered and shown.

use notes::{Error, ProblemCode, SearchQuery};

use crate::stage::{Stage, caller, new_note, patch};

/// Title, content and tags of the notes that are searched.
const CORPUS: &[(&str, &str, &[&str])] = &[
    (
        "Groceries",
        "Buy crème fraîche, jalapeños and bread",
        &["home", "to-do"],
    ),
    (
        "Straße",
        "Die Bäckerei in der Hauptstraße öffnet früh",
        &["deutsch"],
    ),
    (
        "Rust generics",
        "let v: Vec<String> = a && b; fn foo_bar() -> C++ {}",
        &["code", "rust-lang"],
    ),
    ("東京旅行", "東京タワーと京都の寺を見る。ｶﾞﾗｽの塔", &["旅"]),
    ("北京", "我们在北京大学学习中文", &["中文"]),
    ("서울", "한국어를 공부합니다", &["한국"]),
    ("ภาษาไทย", "สวัสดีครับ ยินดีต้อนรับ", &[]),
    ("كتاب", "قرأت كِتَابًا جميلاً عن التاريخ", &["عربي"]),
    (
        "Launch 🚀",
        "We ship on 2026-11-22 at 10:30. Party 🎉!",
        &["work"],
    ),
    ("Operators", "AND OR NOT NEAR are words here", &["search"]),
    (
        "Well-known facts",
        "A state-of-the-art e-mail client; don't panic",
        &["misc"],
    ),
    ("Fullwidth", "ＡＢＣ１２３ and ﬁne print", &[]),
    ("Greek", "Ο Σίσυφος ανέβαινε", &[]),
    ("Hindi", "हिन्दी में लिखा हुआ", &[]),
    ("Numbers", "pi is 3.14159 and x = 42", &[]),
    ("Symbols", "a -> b, 100% *** ???", &["c++"]),
];

/// What is searched for, and the titles it finds, in any order.
const SEARCHES: &[(&str, &[&str])] = &[
    // Words, anywhere, all of them, without regard to order, case and diacritics.
    ("bread ", &["Groceries"]),
    ("BREAD Buy ", &["Groceries"]),
    ("creme fraiche ", &["Groceries"]),
    ("Crème ", &["Groceries"]),
    ("jalapenos ", &["Groceries"]),
    ("home ", &["Groceries"]),
    ("groceries home bread ", &["Groceries"]),
    ("bread rust ", &[]),
    ("strasse ", &["Straße"]),
    ("STRAẞE ", &["Straße"]),
    ("fruh ", &["Straße"]),
    ("σισυφος ", &["Greek"]),
    ("ΣΊΣΥΦΟΣ ", &["Greek"]),
    ("abc123 ", &["Fullwidth"]),
    ("fine ", &["Fullwidth"]),
    ("हिन्दी ", &["Hindi"]),
    // The last word as a beginning, and only the last.
    ("gro", &["Groceries"]),
    ("back", &["Straße"]),
    ("haupt", &["Straße"]),
    ("stra", &["Straße"]),
    ("bre ", &[]),
    ("bre buy", &[]),
    ("read", &[]),
    ("x", &["Numbers"]),
    ("b", &["Rust generics", "Symbols"]),
    // Phrases.
    ("\"we ship\"", &["Launch 🚀"]),
    ("\"ship we\"", &[]),
    ("\"we shi\"", &[]),
    ("\"we shi", &["Launch 🚀"]),
    ("“state of the art”", &["Well-known facts"]),
    ("\"home to\"", &[]),
    ("\"groceries buy\"", &[]),
    // Punctuation and code.
    ("state-of-the-art", &["Well-known facts"]),
    ("well-known", &["Well-known facts"]),
    ("e-mail", &["Well-known facts"]),
    ("don't", &["Well-known facts"]),
    ("to-do", &["Groceries"]),
    ("#rust-lang", &["Rust generics"]),
    ("Vec<String>", &["Rust generics"]),
    ("foo_bar()", &["Rust generics"]),
    ("foo_ba", &["Rust generics"]),
    ("foo_b", &[]),
    ("C++", &["Rust generics", "Symbols"]),
    ("a && b", &["Rust generics", "Symbols"]),
    ("2026-11-22", &["Launch 🚀"]),
    ("10:30", &["Launch 🚀"]),
    ("3.14", &["Numbers"]),
    ("42", &["Numbers"]),
    ("'; DROP TABLE notes; --", &[]),
    // What other programs take for operators.
    ("AND", &["Fullwidth", "Groceries", "Numbers", "Operators"]),
    ("and or not near", &["Operators"]),
    ("NEAR(words here, 3)", &[]),
    ("words AND here", &["Operators"]),
    ("NOT ", &["Operators"]),
    ("title:Greek", &[]),
    ("scope: x ", &[]),
    ("bread*", &["Groceries"]),
    ("bre*", &[]),
    ("-bread", &["Groceries"]),
    ("^bread", &["Groceries"]),
    ("(bread", &["Groceries"]),
    ("\"bread", &["Groceries"]),
    ("bread\"", &["Groceries"]),
    ("\" bread", &["Groceries"]),
    ("{title} : bread", &[]),
    // Scripts without spaces: one, two, three and more characters, wherever they stand.
    ("京", &["北京", "東京旅行"]),
    ("東京", &["東京旅行"]),
    ("京都の", &["東京旅行"]),
    ("東京タワー", &["東京旅行"]),
    ("京東", &[]),
    ("ガラス", &["東京旅行"]),
    ("ラス", &["東京旅行"]),
    ("大学", &["北京"]),
    ("学学", &["北京"]),
    ("北京 中文", &["北京"]),
    ("旅", &["東京旅行"]),
    ("국어", &["서울"]),
    ("한국", &["서울"]),
    ("\u{1112}\u{1161}\u{11AB}국어", &["서울"]),
    ("공부합니다", &["서울"]),
    ("ครับ", &["ภาษาไทย"]),
    ("ภาษา", &["ภาษาไทย"]),
    ("寺 tower", &[]),
    // Arabic, with and without vowel signs.
    ("كتابا", &["كتاب"]),
    ("كِتَاب", &["كتاب"]),
    ("التاريخ", &["كتاب"]),
    // Nothing to look up in an index.
    ("🚀", &["Launch 🚀"]),
    ("🎉 🚀", &["Launch 🚀"]),
    ("🎉 🦀", &[]),
    ("->", &["Rust generics", "Symbols"]),
    ("???", &["Symbols"]),
    ("++", &["Rust generics", "Symbols"]),
    ("%", &["Symbols"]),
    (",", &["Groceries", "Symbols"]),
    ("\"", &[]),
    ("🚀 party", &["Launch 🚀"]),
];

pub(crate) async fn the_table_of_searches(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    for (title, content, tags) in CORPUS {
        stage.add(&ann, title, content, tags).await;
        stage
            .add(&bob, &format!("bob's {title}"), content, tags)
            .await;
    }
    let mut wrong = Vec::new();
    for (text, expected) in SEARCHES {
        let mut found = stage.found(&ann, text, 100).await;
        found.sort_unstable();
        let mut wanted = expected.to_vec();
        wanted.sort_unstable();
        if found != wanted {
            wrong.push(format!("{text:?} finds {found:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

pub(crate) async fn title_before_tags_before_content_and_ties_go_to_the_newest(stage: &Stage) {
    let ann = caller("ann");
    let often = "apple ".repeat(50);
    for (title, content, tags) in [
        ("Apple", "some other words", &[][..]),
        ("tagged", "words", &["apple"]),
        ("one", "an apple and other words", &[]),
        ("two", &often, &[]),
        ("three", "apple", &[]),
        ("begun", "words", &["apple-tree"]),
        ("a pineapple", "of the kind", &["apples"]),
        ("apples", "of the kind", &[]),
    ] {
        stage.add(&ann, title, content, tags).await;
    }
    assert_eq!(
        stage.found(&ann, "apple ", 10).await,
        ["Apple", "begun", "tagged", "three", "two", "one"]
    );
    assert_eq!(
        stage.found(&ann, "apple", 10).await,
        [
            "Apple",
            "apples",
            "begun",
            "tagged",
            "a pineapple",
            "three",
            "two",
            "one"
        ]
    );
    // Every term counts, each where it counts most.
    stage.add(&ann, "tree", "apple", &[]).await;
    stage.add(&ann, "wood", "apple tree", &[]).await;
    assert_eq!(
        stage.found(&ann, "apple tree ", 10).await,
        ["tree", "begun", "wood"]
    );
    let two = stage
        .notes
        .titles(&ann.owner, "two", 1)
        .await
        .unwrap()
        .items
        .remove(0)
        .id;
    let change = patch(None, Some("an apple and other words"), None);
    stage.tick();
    stage.notes.update(&ann, &two, change, None).await.unwrap();
    assert_eq!(
        stage.found(&ann, "apple ", 10).await,
        [
            "Apple", "begun", "tagged", "two", "wood", "tree", "three", "one"
        ]
    );
}

pub(crate) async fn the_index_follows_every_change(stage: &Stage) {
    let ann = caller("ann");
    let id = stage.add(&ann, "alpha", "beta", &["gamma"]).await.id;
    let found = async |text: &str| stage.found(&ann, text, 10).await.len();
    assert_eq!(
        (
            found("alpha").await,
            found("beta").await,
            found("gamma").await
        ),
        (1, 1, 1)
    );
    let change = patch(Some("delta"), None, Some(&["epsilon"]));
    stage.notes.update(&ann, &id, change, None).await.unwrap();
    assert_eq!(
        (
            found("alpha").await,
            found("beta").await,
            found("gamma").await
        ),
        (0, 1, 0)
    );
    assert_eq!((found("delta").await, found("epsilon").await), (1, 1));
    let refused = stage
        .notes
        .update(&ann, &id, patch(Some("zeta"), None, None), Some(1))
        .await;
    assert!(refused.is_err());
    assert_eq!((found("zeta").await, found("delta").await), (0, 1));
    stage.notes.delete(&ann, &id, None).await.unwrap();
    assert_eq!(
        (found("delta").await, found("beta").await, found("->").await),
        (0, 0, 0)
    );
    // What a deleted note left behind must not turn up in a new one.
    stage.add(&ann, "eta", "theta", &[]).await;
    assert_eq!((found("delta").await, found("theta").await), (0, 1));
}

pub(crate) async fn pages_of_hits_join_without_gap_or_repetition(stage: &Stage) {
    let ann = caller("ann");
    for n in 0..23 {
        // Some match better than others, some the same.
        let title = format!("n{n}{}", if n % 4 == 0 { " word" } else { "" });
        let tags: &[&str] = if n % 3 == 0 { &["word"] } else { &[] };
        stage.add(&ann, &title, "word other", tags).await;
    }
    let all = stage.found(&ann, "word", 100).await;
    assert_eq!(all.len(), 23);
    for limit in [1, 5, 22, 23, 24] {
        assert_eq!(
            stage.found(&ann, "word", limit).await,
            all,
            "pages of {limit}"
        );
    }
    let first = SearchQuery {
        limit: 5,
        ..SearchQuery::new("word")
    };
    let page = stage.notes.search(&ann.owner, &first).await.unwrap();
    assert_eq!(page.total, Some(23));
    let second = SearchQuery {
        cursor: page.next_cursor,
        ..first
    };
    assert_eq!(
        stage.notes.search(&ann.owner, &second).await.unwrap().total,
        Some(23)
    );
}

pub(crate) async fn pages_of_hits_are_stable_while_notes_change(stage: &Stage) {
    let (ann, bob) = (caller("ann"), caller("bob"));
    for n in 0..20 {
        let title = format!("n{n}{}", if n % 2 == 0 { " word" } else { "" });
        stage.add(&ann, &title, "word other", &[]).await;
    }
    let expected = stage.found(&ann, "word", 100).await;
    let mut query = SearchQuery {
        limit: 3,
        ..SearchQuery::new("word")
    };
    let mut seen = Vec::new();
    loop {
        let page = stage.notes.search(&ann.owner, &query).await.unwrap();
        let shown = page.items.iter();
        seen.extend(shown.map(|hit| hit.note.title.as_str().to_owned()));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
        // What was shown changes or goes, what is new comes before, and others write as well.
        let first = &page.items[0].note.id;
        let change = patch(Some("shown word"), None, None);
        stage.tick();
        stage.notes.update(&ann, first, change, None).await.unwrap();
        let last = &page.items[2].note.id;
        stage.notes.delete(&ann, last, None).await.unwrap();
        stage.add(&ann, "new word", "word", &[]).await;
        stage.add(&ann, "more", "something else", &[]).await;
        stage.add(&bob, "word", "word word", &[]).await;
    }
    assert_eq!(seen, expected);
}

pub(crate) async fn snippets_show_the_match(stage: &Stage) {
    let ann = caller("ann");
    let before = "lorem ipsum ".repeat(100);
    let content = format!("{before}the Nëedle lies here{}", " dolor sit".repeat(100));
    stage.add(&ann, "haystack", &content, &["tagged"]).await;
    let snippet = async |text: &str| {
        let page = stage
            .notes
            .search(&ann.owner, &SearchQuery::new(text))
            .await
            .unwrap();
        page.items[0].snippet.clone()
    };
    for text in ["needle", "need", "\"needle lies\"", "haystack needle"] {
        let shown = snippet(text).await;
        assert!(shown.contains("the Nëedle lies here"), "{text}: {shown}");
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.chars().count() <= 202);
    }
    for text in ["haystack", "tagged"] {
        assert!(
            snippet(text).await.starts_with("lorem ipsum lorem"),
            "{text}"
        );
    }
}

pub(crate) async fn symbols_are_found_by_scan_in_pages(stage: &Stage) {
    let ann = caller("ann");
    for n in 0..7 {
        stage
            .add(
                &ann,
                &format!("n{n}"),
                if n == 3 { "plain" } else { "a 🚀 b" },
                &[],
            )
            .await;
    }
    stage
        .notes
        .create(&ann, new_note("🚀", "in the title", &[]))
        .await
        .unwrap();
    let expected = ["🚀", "n6", "n5", "n4", "n2", "n1", "n0"];
    for limit in [1, 3, 7, 8] {
        let mut found = stage.found(&ann, "🚀", limit).await;
        // The last two were created at the same time.
        found[..2].sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, expected, "pages of {limit}");
    }
    let page = stage
        .notes
        .search(&ann.owner, &SearchQuery::new("🚀"))
        .await
        .unwrap();
    assert_eq!(page.total, Some(7));
}

pub(crate) async fn only_an_empty_search_is_refused(stage: &Stage) {
    let ann = caller("ann");
    stage.add(&ann, "title", "content", &["tag"]).await;
    for text in ["", " ", "\t\r\n \u{3000}"] {
        match stage
            .notes
            .search(&ann.owner, &SearchQuery::new(text))
            .await
        {
            Err(Error::Invalid(problems)) => {
                assert_eq!(
                    (problems[0].field.as_ref(), problems[0].code),
                    ("query", ProblemCode::Empty)
                );
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let junk = "\"(AND* NEAR) -:^ 東京 🚀 \u{1b}[0m ".repeat(500);
    for text in [
        "\"",
        "\"\"",
        "\"\"\"",
        "'",
        "*",
        "* *",
        "a*b",
        "(",
        ")",
        "()",
        "NEAR(",
        "NEAR(a b, 5)",
        "AND",
        "a AND",
        "OR b",
        "NOT",
        "a NOT b",
        "col:",
        ":",
        "-",
        "--",
        "-a",
        "^",
        "^a",
        "{a b}:c",
        "+",
        "a+b",
        "\\",
        "%",
        "_",
        ";",
        "--;",
        "/*",
        "\u{0}",
        "a\u{0}b",
        "\u{1}",
        "\u{1b}[31m",
        "\u{FFFD}",
        "\u{FEFF}",
        "\u{200D}",
        "\u{301}",
        "\u{202E}",
        "a\u{301}",
        "\u{10FFFF}",
        "ﷺ",
        "A",
        "é",
        "ß",
        "İ",
        "👨‍👩‍👧‍👦",
        "\u{A6}",
        "½",
        &junk,
        &"x".repeat(10_000),
        &"\"".repeat(10_000),
        &"東".repeat(10_000),
        &"! ".repeat(5_000),
        &"a ".repeat(5_000),
    ] {
        let result = stage
            .notes
            .search(&ann.owner, &SearchQuery::new(text))
            .await;
        assert!(
            result.is_ok(),
            "{:?}: {result:?}",
            text.chars().take(40).collect::<String>()
        );
    }
}
