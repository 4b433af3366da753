//! API tokens: the form of one, and the file that keeps their hashes. The import of notes has its place beside these
//! once there is one.

use std::{fs, path::PathBuf};

use mcp_serve::auth::{
    Scopes,
    token::{Token, TokenHash, TokensFile, TokensFileError},
};
use tokio::runtime::{Builder, Runtime};

/// What is taken as a token is shown as it was given, and so is its hash.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(token) = Token::parse(text) {
        assert_eq!(token.reveal(), text);
        let hash = token.hash();
        assert_eq!(TokenHash::parse(&hash.to_string()).as_ref(), Some(&hash));
    }
    if let Some(hash) = TokenHash::parse(text) {
        assert!(hash.to_string().eq_ignore_ascii_case(text));
    }
}

struct Desk {
    runtime: Runtime,
    path: PathBuf,
}

/// A file is taken, or every flaw of it is named, and none repeats what may be a token.
pub fn tokens_file(data: &[u8]) {
    thread_local! {
        static DESK: Desk = Desk {
            runtime: Builder::new_current_thread().enable_all().build().expect("a runtime"),
            path: std::env::temp_dir().join(format!("notes-fuzz-tokens-{}", std::process::id())),
        };
    }
    DESK.with(|desk| {
        fs::write(&desk.path, data).expect("a file");
        let scopes = Scopes::parse("notes:read notes:write");
        let opened = desk.runtime.block_on(TokensFile::open(&desk.path, scopes));
        fs::remove_file(&desk.path).expect("the file");
        match opened {
            Ok(_) => assert!(std::str::from_utf8(data).is_ok()),
            Err(error) => no_word_of(data, &error),
        }
    });
}

fn no_word_of(data: &[u8], error: &TokensFileError) {
    let said = error.to_string();
    let text = String::from_utf8_lossy(data);
    for word in text
        .split_ascii_whitespace()
        .filter(|word| word.chars().count() >= 24)
    {
        assert!(!said.contains(word), "{said}");
    }
}
