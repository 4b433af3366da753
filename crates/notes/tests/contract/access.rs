//! Laws of tokens: how they are found, named and revoked.

use notes::{AccessHash, AccessToken, Owner, StoreError, Timestamp, TokenName};

use crate::stage::Stage;

fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_001 + second * 1_000_000).unwrap()
}

fn token(id: &str, name: &str) -> AccessToken {
    AccessToken {
        id: id.into(),
        name: TokenName::parse(name).unwrap(),
        owner: Owner::parse("ann").unwrap(),
        scopes: vec!["notes:read".into(), "notes:write".into()],
        created_at: at(0),
        expires_at: None,
        last_used: None,
        revoked_at: None,
    }
}

const A: AccessHash = [1; 32];
const B: AccessHash = [2; 32];

pub(crate) async fn a_token_is_found_by_its_hash_and_by_its_id(stage: &Stage) {
    let store = &stage.store;
    let ends = AccessToken {
        expires_at: Some(at(9)),
        scopes: Vec::new(),
        ..token("2", "desk")
    };
    assert!(store.add_token(token("1", "ci"), A).await.unwrap());
    assert!(store.add_token(ends.clone(), B).await.unwrap());
    let found = store.token_of_hash(A).await.unwrap();
    assert_eq!(found, Some(token("1", "ci")));
    assert_eq!(store.token("2").await.unwrap(), Some(ends.clone()));
    assert_eq!(store.token_of_hash([3; 32]).await.unwrap(), None);
    assert_eq!(store.token("desk").await.unwrap(), None);
    let all = store.tokens(10).await.unwrap();
    assert_eq!(all, [ends.clone(), token("1", "ci")]);
    assert_eq!(store.tokens(1).await.unwrap(), [ends]);
}

pub(crate) async fn a_name_is_free_again_when_its_token_is_revoked(stage: &Stage) {
    let store = &stage.store;
    assert!(store.add_token(token("1", "ci"), A).await.unwrap());
    assert!(!store.add_token(token("2", "ci"), B).await.unwrap());
    assert_eq!(store.token("2").await.unwrap(), None);
    store.revoke_token("1", at(1)).await.unwrap();
    assert!(store.add_token(token("2", "ci"), B).await.unwrap());
    // Neither an id nor a hash is ever free again.
    assert!(store.add_token(token("1", "other"), [3; 32]).await.is_err());
    assert!(store.add_token(token("3", "other"), A).await.is_err());
    for wrong in ["", "a b", "a\u{a0}b", "a\nb", "a\u{7f}", &"x".repeat(65)] {
        assert!(TokenName::parse(wrong).is_err(), "{wrong:?}");
    }
}

pub(crate) async fn a_token_is_revoked_once_by_id_or_by_name(stage: &Stage) {
    let store = &stage.store;
    for (token, hash) in [(token("1", "ci"), A), (token("2", "desk"), B)] {
        assert!(store.add_token(token, hash).await.unwrap());
    }
    let revoked = store.revoke_token("1", at(1)).await.unwrap().unwrap();
    assert_eq!(
        (revoked.id.as_str(), revoked.revoked_at),
        ("1", Some(at(1)))
    );
    let again = store.revoke_token("1", at(2)).await.unwrap();
    assert_eq!(again.as_ref(), Some(&revoked));
    assert_eq!(store.token_of_hash(A).await.unwrap(), Some(revoked));
    let by_name = store.revoke_token("desk", at(3)).await.unwrap().unwrap();
    assert_eq!(
        (by_name.id.as_str(), by_name.revoked_at),
        ("2", Some(at(3)))
    );
    for gone in ["desk", "ci", "3", ""] {
        assert_eq!(store.revoke_token(gone, at(4)).await.unwrap(), None);
    }
    // A name that is another token's id means that one.
    assert!(store.add_token(token("3", "2"), [3; 32]).await.unwrap());
    store.revoke_token("2", at(5)).await.unwrap();
    assert_eq!(store.token("3").await.unwrap().unwrap().revoked_at, None);
}

pub(crate) async fn the_last_use_only_moves_on(stage: &Stage) {
    let store = &stage.store;
    assert!(store.add_token(token("1", "ci"), A).await.unwrap());
    for (used, expected) in [(5, 5), (3, 5), (7, 7)] {
        store.token_used("1", at(used)).await.unwrap();
        let last = store.token("1").await.unwrap().unwrap().last_used;
        assert_eq!(last, Some(at(expected)));
    }
    store.token_used("2", at(1)).await.unwrap();
}

pub(crate) async fn a_closed_store_knows_no_token(stage: &Stage) {
    let store = &stage.store;
    store.close().await.unwrap();
    let found = store.token_of_hash(A).await;
    assert!(matches!(found, Err(StoreError::Unavailable(_))));
    let added = store.add_token(token("1", "ci"), A).await;
    assert!(matches!(added, Err(StoreError::Unavailable(_))));
}
