//! Settings of backups.

use super::{load, mistakes};

#[test]
fn an_archive_has_keys_or_a_passphrase() {
    let config = load(&[("BACKUP_PASSPHRASE", "correct horse battery")]).config;
    assert!(config.backup.seal().unwrap().is_some());
    assert!(!format!("{config:?}").contains("horse"));
    assert_eq!(load(&[]).config.backup.seal().unwrap(), None);
    let found = mistakes(&[
        ("BACKUP_PASSPHRASE", "correct horse battery"),
        ("BACKUP_ENCRYPT_TO", "keys"),
    ]);
    assert_eq!(found[0].setting, "BACKUP_PASSPHRASE");
    let missing = load(&[("BACKUP_ENCRYPT_TO", "/no/such/keys")]).config;
    let mistake = missing.backup.seal().unwrap_err();
    assert_eq!(mistake.setting, "BACKUP_ENCRYPT_TO");
}

#[test]
fn what_is_no_setting_of_backups_is_refused() {
    for (name, value) in [
        ("BACKUP_SCHEDULE", "0 3 * * *"),
        ("BACKUP_SCHEDULE", "daily"),
        ("BACKUP_KEEP", "0"),
        ("BACKUP_KEEP", "-1"),
        ("BACKUP_VERIFY", "yes"),
        ("BACKUP_PASSPHRASE", "hunter2"),
    ] {
        let found = mistakes(&[(name, value)]);
        assert_eq!(found[0].setting, name, "{value}");
        assert!(!found[0].to_string().contains("hunter2"));
    }
    assert_eq!(load(&[("BACKUP_KEEP", "all")]).config.backup.keep, None);
}
