//! What replicas stand on fails in every way that can be brought about here, under load, and
//! `docs/faults.md` says what callers felt.

mod alone;
mod between;
mod database;
mod groups;
mod load;
mod network;
mod page;
mod stage;

/// One row of the page and the test that measures it.
macro_rules! faults {
    ($($name:ident $row:literal $measured:path,)*) => {
        /// The rows of the page, in order.
        const ROWS: &[&str] = &[$($row),*];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                page::keep($row, &$measured().await);
            }
        )*
    };
}

faults! {
    redis_is_killed_and_keeps_a_log
        "Redis is killed, and back with its log after 4 s" alone::killed,
    redis_is_killed_and_keeps_nothing
        "Redis is killed, and back empty after 4 s" alone::emptied,
    redis_is_frozen
        "Redis is frozen for 10 s" alone::frozen,
    redis_is_full
        "Redis is full for 6 s (`noeviction`)" alone::full,
    redis_answers_are_cut
        "Connections to Redis are cut within an answer, every 0.5 s for 4 s" network::redis_cut,
    redis_is_slow
        "Redis answers 0.3 s late for 4 s" network::redis_slow,
    redis_is_too_slow
        "Redis answers 3 s late for 6 s" network::redis_too_slow,
    redis_is_half_closed
        "Redis's side of connections is closed for 4 s" network::redis_half_closed,
    redis_is_a_black_hole
        "Nothing passes to or from Redis for 6 s" network::redis_silent,
    a_sentinel_primary_is_killed
        "Sentinel: the primary is killed" groups::sentinel_killed,
    a_sentinel_primary_is_frozen
        "Sentinel: the primary is frozen for 10 s" groups::sentinel_frozen,
    a_cluster_primary_is_killed
        "Cluster: a primary is killed" groups::cluster_killed,
    a_cluster_primary_is_frozen
        "Cluster: a primary is frozen for 10 s" groups::cluster_frozen,
    the_database_is_killed
        "The database is killed, and back after 4 s" database::killed,
    the_database_is_frozen
        "The database is frozen for 10 s" database::frozen,
    database_answers_are_cut
        "Connections to the database are cut within an answer, every 0.5 s for 4 s"
        network::database_cut,
    the_database_is_slow
        "The database answers 0.3 s late for 4 s" network::database_slow,
    the_database_is_too_slow
        "The database answers 6 s late for 8 s" network::database_too_slow,
    the_database_is_half_closed
        "The database's side of connections is closed for 4 s" network::database_half_closed,
    the_database_is_a_black_hole
        "Nothing passes to or from the database for 8 s" network::database_silent,
}
