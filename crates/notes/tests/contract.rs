//! What a store of notes is: one story and its laws, run on every store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a law that does not hold ends its test"
)]

#[path = "contract/access.rs"]
mod access;
#[path = "contract/apart.rs"]
mod apart;
#[path = "contract/archives.rs"]
mod archives;
#[path = "contract/backups.rs"]
mod backups;
#[path = "contract/completing.rs"]
mod completing;
#[cfg(feature = "mongodb")]
#[path = "contract/databases.rs"]
mod databases;
#[cfg(feature = "mongodb")]
#[path = "contract/documents.rs"]
mod documents;
#[cfg(feature = "mongodb")]
#[path = "contract/engine.rs"]
mod engine;
#[path = "contract/finding.rs"]
mod finding;
#[path = "contract/lists.rs"]
mod lists;
#[path = "contract/moving.rs"]
mod moving;
#[cfg(feature = "mongodb")]
#[path = "contract/outages.rs"]
mod outages;
#[path = "contract/properties.rs"]
mod properties;
#[cfg(feature = "mongodb")]
#[path = "contract/proxy.rs"]
mod proxy;
#[path = "contract/questions.rs"]
mod questions;
#[cfg(feature = "mongodb")]
#[path = "contract/server.rs"]
mod server;
#[path = "contract/stage.rs"]
mod stage;
#[path = "contract/story.rs"]
mod story;
#[path = "contract/writes.rs"]
mod writes;

/// One module of tests for each store, with every law in it.
macro_rules! stores {
    ($($(#[$when:meta])? $store:ident: $open:path;)+) => {
        $($(#[$when])? mod $store {
            laws!($open:
                story::a_note_lives_from_creation_to_deletion,
                writes::text_comes_back_byte_for_byte,
                writes::times_and_authors_are_recorded,
                writes::a_patch_changes_only_what_it_names,
                writes::versions_only_grow,
                writes::a_conflict_shows_the_note_as_it_is,
                writes::of_concurrent_updates_of_one_version_one_wins,
                writes::concurrent_updates_without_a_version_all_count,
                writes::an_owner_sees_only_its_own_notes,
                writes::ids_are_unique_for_each_owner,
                apart::what_an_owner_is_told_does_not_depend_on_others,
                apart::the_order_of_hits_tells_nothing_of_the_words_of_others,
                apart::no_words_of_others_move_any_hit,
                apart::a_conflict_with_a_note_of_somebody_else_shows_nothing,
                apart::a_note_of_the_same_id_is_not_shown_to_another,
                apart::a_search_goes_on_when_the_note_at_the_end_of_its_page_is_gone,
                writes::what_is_missing_is_not_found,
                writes::time_never_runs_backwards_for_a_note,
                writes::changes_are_told_once_in_order_and_after_the_fact,
                writes::a_write_whose_caller_leaves_is_done_and_told,
                writes::a_closed_store_refuses,
                writes::a_store_answers_while_it_is_open,
                lists::newest_change_first_and_ties_by_id,
                lists::pages_join_without_gap_or_repetition,
                lists::pages_are_stable_while_notes_change,
                lists::filters_narrow_and_combine,
                lists::a_list_with_a_tag_follows_changes,
                lists::a_title_prefix_ignores_case,
                lists::a_preview_is_the_beginning_of_the_content,
                lists::totals_are_exact,
                questions::limits_are_checked,
                questions::a_cursor_is_good_for_its_own_question_only,
                completing::tags_are_counted_and_completed,
                completing::titles_are_completed,
                finding::the_table_of_searches,
                finding::title_before_tags_before_content_and_ties_go_to_the_newest,
                finding::the_index_follows_every_change,
                finding::pages_of_hits_join_without_gap_or_repetition,
                finding::pages_of_hits_are_stable_while_notes_change,
                finding::snippets_show_the_match,
                finding::symbols_are_found_by_scan_in_pages,
                finding::only_an_empty_search_is_refused,
                access::a_token_is_found_by_its_hash_and_by_its_id,
                access::a_name_is_free_again_when_its_token_is_revoked,
                access::a_token_is_revoked_once_by_id_or_by_name,
                access::the_last_use_only_moves_on,
                access::a_closed_store_knows_no_token,
                moving::an_export_is_complete_in_batches_of_any_size,
                moving::notes_are_found_by_their_names,
                moving::what_is_imported_is_as_if_it_had_been_written_here,
                moving::what_is_there_already_is_left_alone,
                moving::everything_moves_out_and_in_again,
                moving::a_move_that_was_interrupted_goes_on,
                moving::a_target_with_anything_else_is_refused,
                moving::a_source_that_changes_meanwhile_is_seen,
                moving::a_target_that_changes_meanwhile_is_seen,
                moving::a_closed_store_moves_nothing,
                backups::a_backup_holds_everything_and_comes_back,
                backups::a_backup_is_of_one_moment_while_others_write,
                backups::what_is_there_is_overwritten_only_when_that_is_said,
                backups::what_is_broken_or_cut_off_changes_nothing,
                backups::one_server_has_the_turn,
                properties::any_text_that_is_accepted_comes_back,
                properties::any_search_is_answered_as_the_rules_say,
                properties::any_sequence_of_operations_agrees_with_a_model,
            );
        })+
    };
}

macro_rules! laws {
    ($open:path: $($file:ident::$law:ident,)+) => {
        $(#[test]
        fn $law() {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let stage = $open().await;
                crate::$file::$law(&stage).await;
            });
        })+
    };
}

// A further store is one line.
stores! {
    sqlite: crate::stage::sqlite_file;
    sqlite_in_memory: crate::stage::sqlite_memory;
    #[cfg(feature = "mongodb")]
    mongo: crate::stage::mongo;
}
