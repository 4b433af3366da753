//! What a deployment decides about its notes: whose they are, and what can be done with them.

use std::{collections::BTreeSet, sync::Arc};

use mcp_serve::auth::Principal;
use notes::{Author, Caller, Owner};

use crate::{
    action::Action,
    error_map::{Code, Failure},
};

/// The rules of one server. The default keeps callers apart and allows every action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whose notes a caller reaches.
    pub isolation: Isolation,
    /// Whether notes can only be read.
    pub read_only: bool,
    /// Actions that are switched off, on every face.
    pub disabled: BTreeSet<Action>,
}

/// Whose notes a caller reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Its own, and nobody else's. Callers of whom nobody asks who they are share one owner.
    #[default]
    Owner,
    /// Those of the whole team. Who wrote and who changed a note is recorded all the same.
    Shared,
}

/// The owner of the notes that everybody shares.
pub const SHARED_OWNER: &str = "shared";

impl Rules {
    /// Whether `action` can be done here.
    pub fn allow(&self, action: Action) -> bool {
        self.refusal(action).is_none()
    }

    /// Why `action` cannot be done here; `None` when it can. It is the same for every caller.
    pub fn refusal(&self, action: Action) -> Option<Failure> {
        if self.disabled.contains(&action) {
            let message = format!("{} is switched off on this server", action.tool());
            return Some(Failure::new(Code::SwitchedOff, message));
        }
        let message = "this server is read-only: its notes can be read, not changed";
        (self.read_only && action.writes()).then(|| Failure::new(Code::ReadOnly, message))
    }
}

impl Isolation {
    /// On whose behalf a request is done: the one place where a [`Principal`] becomes an
    /// [`Owner`]. Without one (over stdio) and for [`Principal::anonymous`] the owner is
    /// [`SHARED_OWNER`].
    pub fn caller(self, principal: Option<&Principal>) -> Result<Caller, Failure> {
        let anonymous = Principal::anonymous();
        let principal = principal.unwrap_or(&anonymous);
        let wrong = |_| Failure::new(Code::Internal, "internal error");
        Ok(Caller {
            owner: Owner::parse(self.owner(principal)).map_err(wrong)?,
            author: Author::parse(principal.key()).map_err(wrong)?,
        })
    }

    /// The audience of the change events that `principal` may hear: the name of the owner.
    pub fn audience(self, principal: &Principal) -> Arc<str> {
        self.owner(principal).into()
    }

    fn owner(self, principal: &Principal) -> &str {
        if self == Self::Shared || principal.is_anonymous() {
            SHARED_OWNER
        } else {
            principal.key()
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_serve::auth::Identity;

    use super::*;

    #[test]
    fn any_principal_can_own_and_write_notes() {
        let odd = [
            "",
            " ",
            "a\0b",
            "line\nbreak",
            "\u{85}\u{202e}",
            "o'neill\"; --",
            "日本",
            &"x".repeat(300),
            &"é".repeat(300),
            &"\u{10ffff}".repeat(5_000),
        ];
        for subject in odd {
            for issuer in [None, Some("https://issuer.example"), Some(subject)] {
                let principal = Principal::of(Identity {
                    issuer: issuer.map(Into::into),
                    subject: subject.into(),
                    ..Identity::default()
                });
                for isolation in [Isolation::Owner, Isolation::Shared] {
                    let caller = isolation.caller(Some(&principal));
                    let caller = caller.unwrap_or_else(|failure| {
                        panic!("{:?}: {}", principal.key(), failure.message)
                    });
                    assert_eq!(caller.author.as_str(), principal.key());
                    assert_eq!(*caller.owner.as_str(), *isolation.audience(&principal));
                }
            }
        }
    }

    #[test]
    fn owners_are_apart_unless_the_notes_are_shared() {
        let of = |isolation: Isolation, name: &str| {
            let caller = isolation.caller(Some(&Principal::new(name))).unwrap();
            (caller.owner.as_str().to_owned(), caller.author)
        };
        assert_ne!(of(Isolation::Owner, "ann").0, of(Isolation::Owner, "bob").0);
        assert_eq!(
            of(Isolation::Shared, "ann").0,
            of(Isolation::Shared, "bob").0
        );
        assert_ne!(
            of(Isolation::Shared, "ann").1,
            of(Isolation::Shared, "bob").1
        );
        for isolation in [Isolation::Owner, Isolation::Shared] {
            let nobody = isolation.caller(None).unwrap();
            assert_eq!(nobody.owner.as_str(), SHARED_OWNER);
            let anonymous = isolation.caller(Some(&Principal::anonymous())).unwrap();
            assert_eq!(nobody, anonymous);
        }
    }

    #[test]
    fn a_read_only_server_refuses_what_writes_and_a_switch_what_it_names() {
        let allowed = |rules: &Rules| -> Vec<&str> {
            let all = Action::ALL
                .into_iter()
                .filter(|action| rules.allow(*action));
            all.map(Action::tool).collect()
        };
        let mut rules = Rules::default();
        assert_eq!(allowed(&rules).len(), Action::ALL.len());
        rules.read_only = true;
        assert_eq!(allowed(&rules), ["get_note", "list_notes", "search_notes"]);
        rules.disabled = [Action::Search, Action::Delete].into();
        assert_eq!(allowed(&rules), ["get_note", "list_notes"]);
        let code = |action| rules.refusal(action).map(|failure| failure.code);
        assert_eq!(code(Action::Create), Some(Code::ReadOnly));
        assert_eq!(code(Action::Delete), Some(Code::SwitchedOff));
    }
}
