//! Opens the database file, makes sure that it is ours, and brings it to the newest schema.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::Options;
use crate::error::StoreError;

/// The migrations in order; the schema version is how many have been applied. Only added to.
const MIGRATIONS: &[&str] = &[
    include_str!("0001_notes.sql"),
    include_str!("0002_tokens.sql"),
];

/// Marks the file as a database of notes: "MCPN".
const APPLICATION_ID: i64 = 0x4D43_504E;

/// How many prepared statements a connection keeps.
const STATEMENTS_KEPT: usize = 64;

/// How long to wait before a lock is tried again that SQLite itself does not wait for.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// How long a check waits for a lock that another process holds.
const CHECK_WAIT_MAX: Duration = Duration::from_millis(500);

/// A file that holds this much log is cut back to it after a checkpoint.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Opens the connection that writes: makes the file and its folder if there is none, and applies
/// the migrations it lacks. A file that is not ours, or of a newer schema, is left untouched.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    create_file(path)?;
    let conn = connect(path, options)?;
    if conn.is_readonly("main").map_err(store_error)? {
        return Err(StoreError::ReadOnly);
    }
    check(&conn)?;
    log_ahead(&conn, options)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)
        .map_err(store_error)?;
    prepare_writer(conn, options)
}

/// Turns the write-ahead log on. SQLite does not wait for a lock here if another process does the
/// same at the same time, because one of the two has to step back; so this waits.
fn log_ahead(conn: &Connection, options: &Options) -> Result<(), StoreError> {
    let deadline = Instant::now() + Duration::from_millis(options.busy_millis_max.into());
    loop {
        let mode = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        let mode: Result<String, _> = mode.map_err(store_error);
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::Unavailable(format!(
                    "the file system cannot keep its write-ahead log (journal mode {mode})"
                )));
            }
            Err(StoreError::Busy) if Instant::now() < deadline => thread::sleep(RETRY_EVERY),
            Err(error) => return Err(error),
        }
    }
}

/// Prepares a new database that is for one connection only.
pub(super) fn prepare_alone(conn: Connection, options: &Options) -> Result<Connection, StoreError> {
    configure(&conn, options)?;
    prepare_writer(conn, options)
}

/// Opens a connection that only reads a database [`open_writer`] has opened.
pub(super) fn open_reader(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let conn = connect(path, options)?;
    conn.pragma_update(None, "query_only", true)
        .map_err(store_error)?;
    Ok(conn)
}

/// Opens a connection for any use.
pub(super) fn connect(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(store_error)?;
    configure(&conn, options)?;
    Ok(conn)
}

fn configure(conn: &Connection, options: &Options) -> Result<(), StoreError> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    conn.busy_timeout(Duration::from_millis(options.busy_millis_max.into()))
        .map_err(store_error)?;
    conn.pragma_update(None, "trusted_schema", false)
        .map_err(store_error)?;
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(store_error)
}

fn prepare_writer(mut conn: Connection, options: &Options) -> Result<Connection, StoreError> {
    conn.pragma_update(None, "synchronous", "full")
        .map_err(store_error)?;
    migrate(&mut conn)?;
    if let Some(pages) = options.pages_max {
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .map_err(store_error)?;
    }
    Ok(conn)
}

/// Makes the folder of a file if there is none; nobody else can look into it.
pub(super) fn create_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent();
    let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(file_error)
}

/// A new file can be read by nobody else, and neither can what SQLite puts beside it.
fn create_file(path: &Path) -> Result<(), StoreError> {
    create_folder(path)?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let metadata = std::fs::metadata(path).map_err(file_error)?;
            if !metadata.is_file() {
                return Err(StoreError::NotOurs);
            }
            // SQLite keeps a log beside the name under which it is opened, and two logs of one file
            // destroy it.
            if metadata.nlink() > 1 {
                return Err(StoreError::Unavailable(
                    "its file has several names (hard links), and SQLite can use it by one only; \
                     keep one of them"
                        .to_owned(),
                ));
            }
            // The superuser can write what is marked read-only, and should not.
            if metadata.permissions().readonly() {
                Err(StoreError::ReadOnly)
            } else {
                Ok(())
            }
        }
        Err(error) => Err(file_error(error)),
    }
}

/// What an error of the file system means.
pub(super) fn file_error(error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        kind @ (ErrorKind::PermissionDenied
        | ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists) => {
            StoreError::Unavailable(format!("its file cannot be opened ({kind})"))
        }
        _ => StoreError::Other(Box::new(error)),
    }
}

/// The schema version, read at one moment: another process may be migrating.
fn check(conn: &Connection) -> Result<usize, StoreError> {
    let snapshot = conn.unchecked_transaction().map_err(store_error)?;
    stored_version(&snapshot)
}

/// The schema version of the database; 0 for an empty one. Refuses what is not ours or too new.
/// To be called in a transaction.
fn stored_version(conn: &Connection) -> Result<usize, StoreError> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(store_error)?;
    let version = pragma("user_version").map_err(store_error)?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(store_error)?;
    let empty = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !empty {
        return Err(StoreError::NotOurs);
    }
    let known = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(StoreError::NewerSchema {
            found: version,
            known: i64::try_from(known).unwrap_or(i64::MAX),
        }),
    }
}

fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    if check(conn)? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(store_error)?;
    // Another process may have migrated while this one waited for the lock.
    let version = stored_version(&transaction)?;
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration).map_err(store_error)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(store_error)?;
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction
        .pragma_update(None, "user_version", newest)
        .map_err(store_error)?;
    transaction.commit().map_err(store_error)?;
    tracing::info!(from = version, to = newest, "notes database migrated");
    Ok(())
}

/// Whether a write could begin now. Waits for a lock only a moment, because writes wait for this.
pub(super) fn check_writable(conn: &Connection, options: &Options) -> Result<(), StoreError> {
    let usual = Duration::from_millis(options.busy_millis_max.into());
    conn.busy_timeout(usual.min(CHECK_WAIT_MAX))
        .map_err(store_error)?;
    let begun = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
        .and_then(Transaction::rollback)
        .map_err(store_error);
    conn.busy_timeout(usual).map_err(store_error)?;
    begun
}

/// What an error of SQLite means.
pub(super) fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly,
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::NotADatabase) => StoreError::NotOurs,
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt,
        Some(ErrorCode::CannotOpen) => {
            StoreError::Unavailable("its file cannot be opened".to_owned())
        }
        _ => StoreError::Other(Box::new(error)),
    }
}
