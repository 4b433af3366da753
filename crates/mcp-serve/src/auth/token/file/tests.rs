//! What a file of tokens may hold, and what becomes of it when it changes.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::auth::token::Token;

const END: &str = "2027-02-20T00:00:00Z";

fn scopes() -> Scopes {
    Scopes::parse("notes:read notes:write")
}

fn hash(seed: u8) -> String {
    format!("sha256:{}", format!("{seed:02x}").repeat(32))
}

fn flaws(text: &str) -> Vec<(usize, String)> {
    let flaws = parse(text, &scopes()).map(|_| ()).unwrap_err();
    flaws.into_iter().map(|f| (f.line, f.what)).collect()
}

#[test]
fn a_line_that_is_written_is_read_as_it_was_meant() {
    let token = Token::random().unwrap();
    let end: Timestamp = END.parse().unwrap();
    let text = format!(
        "# tokens\n\n  {}\t# of the build\n{} desk alice notes:read never\r\n",
        line(&token.hash(), "ci", "shared", &scopes(), Some(end)),
        hash(1)
    );
    let tokens = parse(&text, &scopes()).unwrap_or_default();
    assert_eq!(tokens.by_hash.len(), 2);
    let record = &tokens.by_hash[&token.hash()];
    assert!(record.id.starts_with("ci#") && record.id.len() == 11);
    assert_eq!(tokens.hashes[&record.id], token.hash());
    assert_eq!(
        (record.owner.as_str(), record.expires_at),
        ("shared", Some(end))
    );
    assert_eq!(record.scopes, scopes());
}

#[test]
fn every_wrong_line_is_named_and_none_is_repeated() {
    let secret = Token::random().unwrap();
    let secret = secret.reveal();
    let (a, b) = (hash(1), hash(2));
    let long = "x".repeat(201);
    let text = [
        format!("{a} ci shared notes:read never"),
        format!("{secret} ci2 shared notes:read never"),
        format!("{b} ci shared notes:read never"),
        format!("{a} other shared notes:read never"),
        format!("{b} ci3 anonymous notes:read never"),
        format!("{b} ci3 shared notes:read,notes:all never"),
        format!("{b} ci3 shared notes:read 2027-02-20"),
        format!("{b} ci3 shared notes:read"),
        format!("{b} {long} shared notes:read never"),
        format!("sha256:{} ci3 shared notes:read never", &b[8..]),
    ]
    .join("\n");
    let found = flaws(&text);
    let expected = [
        (2, "the hash"),
        (3, "the name stands"),
        (4, "the hash stands"),
        (5, "the owner"),
        (6, "the scopes"),
        (7, "the end"),
        (8, "4 fields"),
        (9, "the name is longer"),
        (10, "the hash is not"),
    ];
    let matched = found
        .iter()
        .zip(expected)
        .all(|((line, what), (at, start))| *line == at && what.starts_with(start));
    assert!(matched && found.len() == expected.len(), "{found:?}");
    assert!(!format!("{found:?}").contains(secret));
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_a_wrong_one_changes_nothing() {
    let folder = std::env::temp_dir().join(format!("tokens-{}", getrandom::u64().unwrap()));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("tokens");
    let (a, b) = (hash(1), hash(2));
    fs::write(&path, format!("{a} a shared notes:read never\n")).unwrap();
    let file = TokensFile::open(&path, scopes()).await.unwrap();
    let has = async |hash: &str| {
        // As if the time until the next look had passed.
        file.state.lock().unwrap().looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        let hash = TokenHash::parse(&hash[7..]).unwrap();
        file.find(&hash).await.unwrap().is_some()
    };
    assert!(has(&a).await && !has(&b).await);

    fs::write(&path, format!("{b} a shared notes:read never\n")).unwrap();
    assert!(!has(&a).await && has(&b).await);

    assert_eq!(file.check().await, Ok(()));

    fs::write(&path, "nonsense").unwrap();
    assert!(has(&b).await);
    let told = file.check().await.unwrap_err();
    assert!(told.contains("line 1: 1 fields"), "{told}");
    fs::remove_file(&path).unwrap();
    assert!(has(&b).await && has(&b).await);
    let told = file.check().await.unwrap_err();
    assert!(told.contains("cannot be read"), "{told}");

    fs::write(&path, "").unwrap();
    assert!(!has(&b).await);
    assert_eq!(file.check().await, Ok(()));
    // Nobody has to come for a probe to see the file.
    fs::write(&path, "nonsense").unwrap();
    file.state.lock().unwrap().looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
    assert!(file.check().await.is_err());
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_file_that_is_wrong_at_the_start_is_not_opened() {
    let folder = std::env::temp_dir().join(format!("tokens-{}", getrandom::u64().unwrap()));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("tokens");
    let error = async || {
        let error = TokensFile::open(&path, scopes()).await.unwrap_err();
        error.to_string()
    };
    assert_eq!(error().await, "it cannot be read");
    fs::write(&path, "a\n\nb c").unwrap();
    let text = error().await;
    assert!(
        text.contains("line 1: 1 fields") && text.contains("line 3: 2 fields"),
        "{text}"
    );
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    assert!(error().await.contains("chmod o-w"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "#".repeat(1 + (1 << 20))).unwrap();
    assert!(error().await.contains("larger"));
    fs::remove_dir_all(&folder).unwrap();
}
