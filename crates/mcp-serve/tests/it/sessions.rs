//! What a store of sessions means: its laws, which every store passes, and what Redis adds.
#![expect(
    deprecated,
    reason = "logging is deprecated since 2026-07-28 and part of what came before"
)]

mod laws;
mod outages;
mod redis;
mod served;
mod stories;
mod world;

pub(crate) use self::world::{Kind, World};

/// Runs every law on every kind of store.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $law() {
                super::laws::$law(super::Kind::Memory).await;
            })*
        }

        mod one_redis {
            $(#[tokio::test]
            async fn $law() {
                super::laws::$law(super::Kind::Redis).await;
            })*
        }

        mod redis_cluster {
            $(#[tokio::test]
            async fn $law() {
                super::laws::$law(super::Kind::Cluster).await;
            })*
        }
    };
}

laws!(
    a_session_comes_back_as_it_was_opened,
    an_unknown_id_is_no_session,
    a_used_session_outlives_its_idle_time_and_an_idle_one_does_not,
    a_change_is_use_too,
    a_session_in_use_ends_at_its_lifetime,
    to_others_a_session_does_not_exist,
    changes_are_seen_by_the_next_touch,
    subscriptions_are_bounded,
    a_deleted_session_is_gone_at_once_and_told_once,
    over_the_cap_the_longest_idle_gives_way_and_a_busy_server_refuses,
    one_principal_cannot_take_the_sessions_of_others,
    ended_sessions_are_not_counted_and_give_their_places_back,
    every_end_is_told_once_with_its_age,
    the_longest_idle_of_many_gives_way,
    the_longest_idle_of_all_gives_way,
    no_crowd_gets_more_than_one_principals_share,
);
