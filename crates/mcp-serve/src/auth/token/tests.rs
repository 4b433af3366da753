//! Who is let in by a token, and how soon a change of it is felt.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use http::Request;
use tokio::time::advance;

use super::*;

/// Tokens that a test can change.
#[derive(Default)]
struct Shelf {
    records: Mutex<Vec<(TokenHash, TokenRecord)>>,
    questions: AtomicUsize,
    is_down: AtomicBool,
    uses: Mutex<Vec<String>>,
}

impl Shelf {
    fn answer(
        &self,
        fits: impl Fn(&TokenHash, &TokenRecord) -> bool,
    ) -> Result<Option<TokenRecord>, SourceError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(SourceError::new("down"));
        }
        let records = self.records.lock().unwrap();
        let found = records.iter().find(|(hash, record)| fits(hash, record));
        Ok(found.map(|(_, record)| record.clone()))
    }

    fn change(&self, change: impl Fn(&mut TokenRecord)) {
        for (_, record) in &mut *self.records.lock().unwrap() {
            change(record);
        }
    }
}

#[async_trait]
impl TokenSource for Shelf {
    async fn find(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, SourceError> {
        self.answer(|kept, _| kept == hash)
    }

    async fn get(&self, id: &str) -> Result<Option<TokenRecord>, SourceError> {
        self.answer(|_, record| record.id == id)
    }

    async fn used(&self, id: &str, _at: Timestamp) -> Result<(), SourceError> {
        self.uses.lock().unwrap().push(id.to_owned());
        Ok(())
    }
}

fn stage() -> (Arc<Shelf>, Tokens, String) {
    let token = Token::random().unwrap();
    let record = TokenRecord {
        id: "id-1".into(),
        owner: "alice".into(),
        scopes: Scopes::parse("notes:read"),
        expires_at: None,
        last_used: None,
        revoked_at: None,
    };
    let shelf = Arc::new(Shelf::default());
    shelf.records.lock().unwrap().push((token.hash(), record));
    let tokens = Tokens::new(shelf.clone(), "no\"tes", Scopes::parse("notes:read"));
    (shelf, tokens, token.reveal().to_owned())
}

async fn present(tokens: &Tokens, token: Option<&str>) -> Result<Principal, AuthError> {
    let mut request = Request::get("/mcp");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    tokens.authenticate(&parts).await
}

/// The same from a network that sent too many tokens that were refused.
async fn present_from_suspect(tokens: &Tokens, token: &str) -> Result<Principal, AuthError> {
    let request = Request::get("/mcp").header("authorization", format!("Bearer {token}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    parts.extensions.insert(Suspect);
    tokens.authenticate(&parts).await
}

fn refused(result: Result<Principal, AuthError>) -> (&'static str, String) {
    match result {
        Err(AuthError::Unauthenticated { reason, challenge }) => (reason, challenge),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_holder_of_a_token_is_its_owner() {
    let (_, tokens, token) = stage();
    let principal = present(&tokens, Some(&token)).await.unwrap();
    assert_eq!(principal.key(), "alice");
    let identity = principal.identity();
    assert_eq!(identity.credential.as_deref(), Some("id-1"));
    assert_eq!(identity.scopes, Some(Scopes::parse("notes:read")));
    assert!(tokens.is_current(&principal).await);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_has_an_error_only_when_a_token_was_presented() {
    let (shelf, tokens, token) = stage();
    let none = refused(present(&tokens, None).await);
    let bare = "Bearer realm=\"notes\", scope=\"notes:read\"";
    assert_eq!(none, ("missing", bare.into()));
    let mistyped = format!("{}x", &token[..53]);
    let other = Token::random().unwrap();
    for (token, reason) in [
        (mistyped.as_str(), "checksum"),
        ("some-jwt", "checksum"),
        (other.reveal(), "unknown"),
    ] {
        let (why, challenge) = refused(present(&tokens, Some(token)).await);
        assert_eq!(why, reason);
        assert!(
            challenge.starts_with("Bearer realm=\"notes\", error=\"invalid_token\", ")
                && challenge.ends_with(", scope=\"notes:read\""),
            "{challenge}"
        );
        assert!(!challenge.contains(token));
    }
    // Of these three, one was a question to the source.
    assert_eq!(shelf.questions.load(Ordering::Relaxed), 1);
    let (parts, ()) = Request::new(()).into_parts();
    assert_eq!(
        tokens.insufficient_scope(&parts, &Scopes::parse("a b")),
        "Bearer realm=\"notes\", error=\"insufficient_scope\", scope=\"a b\""
    );
}

#[tokio::test(start_paused = true)]
async fn the_source_is_not_asked_for_a_network_that_made_up_too_many_tokens() {
    let (shelf, tokens, token) = stage();
    let asked = || shelf.questions.load(Ordering::Relaxed);
    let (reason, _) = refused(present_from_suspect(&tokens, &token).await);
    assert_eq!((reason, asked()), ("suspect", 0));
    assert!(present(&tokens, Some(&token)).await.is_ok());
    for _ in 0..20 {
        let guess = Token::random().unwrap();
        let answer = present_from_suspect(&tokens, guess.reveal()).await;
        assert_eq!(refused(answer).0, "suspect");
    }
    assert_eq!(asked(), 1);
    // A token that was valid is asked about again all the same.
    advance(ANSWER_LIFE).await;
    assert!(present_from_suspect(&tokens, &token).await.is_ok());
    assert_eq!(asked(), 2);
    shelf.change(|record| record.revoked_at = Some(Timestamp::now()));
    advance(ANSWER_LIFE).await;
    let (reason, _) = refused(present_from_suspect(&tokens, &token).await);
    assert_eq!((reason, asked()), ("revoked", 3));
    advance(PROVEN_LIFE).await;
    let (reason, _) = refused(present_from_suspect(&tokens, &token).await);
    assert_eq!((reason, asked()), ("suspect", 3));
}

#[tokio::test(start_paused = true)]
async fn revocation_is_felt_after_two_seconds_and_the_source_is_asked_no_more_often() {
    let (shelf, tokens, token) = stage();
    let principal = present(&tokens, Some(&token)).await.unwrap();
    assert!(tokens.is_current(&principal).await);
    let now = Timestamp::now();
    shelf.change(|record| record.revoked_at = Some(now));
    for _ in 0..100 {
        present(&tokens, Some(&token)).await.unwrap();
        assert!(tokens.is_current(&principal).await);
    }
    assert_eq!(shelf.questions.load(Ordering::Relaxed), 2);
    advance(ANSWER_LIFE).await;
    assert_eq!(refused(present(&tokens, Some(&token)).await).0, "revoked");
    assert!(!tokens.is_current(&principal).await);
    // What is refused is remembered no longer than that either.
    shelf.change(|record| record.revoked_at = None);
    assert_eq!(refused(present(&tokens, Some(&token)).await).0, "revoked");
    advance(ANSWER_LIFE).await;
    assert!(present(&tokens, Some(&token)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_when_it_expires_whatever_is_remembered() {
    let (shelf, tokens, token) = stage();
    // Real time, in which tokens expire, is not the time of the runtime.
    let end = Timestamp::now() + Duration::from_millis(200);
    shelf.change(|record| record.expires_at = Some(end));
    let principal = present(&tokens, Some(&token)).await.unwrap();
    while Timestamp::now() <= end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(refused(present(&tokens, Some(&token)).await).0, "expired");
    assert!(!tokens.is_current(&principal).await);
    advance(ANSWER_LIFE).await;
    assert_eq!(refused(present(&tokens, Some(&token)).await).0, "expired");
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_keep_what_the_token_has_lost() {
    let (shelf, tokens, token) = stage();
    let principal = present(&tokens, Some(&token)).await.unwrap();
    shelf.change(|record| record.scopes = Scopes::default());
    assert!(!tokens.is_current(&principal).await);
    assert!(!tokens.is_current(&Principal::anonymous()).await);
    let oauth = Principal::of(Identity {
        credential: Some("id-2".into()),
        ..Identity::default()
    });
    assert!(!tokens.is_current(&oauth).await);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_lets_nobody_in_and_ends_no_stream() {
    let (shelf, tokens, token) = stage();
    let principal = present(&tokens, Some(&token)).await.unwrap();
    advance(ANSWER_LIFE).await;
    shelf.is_down.store(true, Ordering::Relaxed);
    let answer = present(&tokens, Some(&token)).await;
    assert_eq!(answer, Err(AuthError::Unavailable));
    assert!(tokens.is_current(&principal).await);
    shelf.is_down.store(false, Ordering::Relaxed);
    assert!(present(&tokens, Some(&token)).await.is_ok());
}

/// Keeps the lines at `info` and above of this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_while_the_source_is_down_is_one_line_in_the_log() {
    let (shelf, tokens, token) = stage();
    let principal = present(&tokens, Some(&token)).await.unwrap();
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || written.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    for _ in 0..2 {
        advance(ANSWER_LIFE).await;
        shelf.is_down.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            let made_up = Token::random().unwrap();
            let answer = present(&tokens, Some(made_up.reveal())).await;
            assert_eq!(answer, Err(AuthError::Unavailable));
            assert!(tokens.is_current(&principal).await);
        }
        shelf.is_down.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            assert!(present(&tokens, Some(&token)).await.is_ok());
        }
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let levels: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(levels, ["ERROR", "INFO", "ERROR", "INFO"], "{text}");
}

#[tokio::test(start_paused = true)]
async fn use_is_taken_down_once_an_hour() {
    let (shelf, tokens, token) = stage();
    let uses = || shelf.uses.lock().unwrap().len();
    for expected in [1, 2] {
        for _ in 0..100 {
            present(&tokens, Some(&token)).await.unwrap();
            advance(ANSWER_LIFE).await;
        }
        assert_eq!(uses(), expected);
        advance(Duration::from_hours(1)).await;
    }
    // Another replica has done it.
    shelf.change(|record| record.last_used = Some(Timestamp::now()));
    present(&tokens, Some(&token)).await.unwrap();
    advance(ANSWER_LIFE).await;
    assert_eq!(uses(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_made_up_tokens_takes_bounded_room() {
    let (_, tokens, token) = stage();
    for _ in 0..REFUSED_MAX + 100 {
        let made_up = Token::random().unwrap();
        let answer = present(&tokens, Some(made_up.reveal())).await;
        assert_eq!(refused(answer).0, "unknown");
    }
    assert!(present(&tokens, Some(&token)).await.is_ok());
}
