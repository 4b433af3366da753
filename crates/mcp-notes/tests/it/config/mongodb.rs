//! Settings for notes in MongoDB: one address under several names, and what must agree with it.

#[cfg(feature = "mongodb")]
mod built_in {
    use std::time::Duration;

    use mcp_notes::config::{self, Config};

    use super::super::{load, mistakes, vars};

    const ADDRESS: &str = "mongodb://u:hunter2@a.example.com,b.example.com/notes?replicaSet=rs0";

    #[test]
    fn all_names_of_the_address_mean_the_same() {
        for name in ["NOTES_STORE", "MONGODB_URI", "MONGO_URI"] {
            let loaded = load(&[(name, ADDRESS)]);
            assert_eq!(loaded.config.notes_store.as_str(), ADDRESS);
            let shown = [
                config::text(&loaded),
                config::json(&loaded).to_string(),
                format!("{:?}", loaded.config),
            ];
            for text in shown {
                assert!(!text.contains("hunter2"), "{text}");
                assert!(text.contains("u:***@a.example.com"), "{text}");
            }
        }
        let twice = [("NOTES_STORE", ADDRESS), ("MONGODB_URI", ADDRESS)];
        assert_eq!(load(&twice).config.notes_store.as_str(), ADDRESS);
        for other in ["mongodb://u:hunter2@c/notes", "sqlite:notes.db"] {
            let found = mistakes(&[("MONGODB_URI", ADDRESS), ("NOTES_STORE", other)]);
            let told = found[0].to_string();
            assert_eq!(found[0].setting, "NOTES_STORE");
            assert!(told.contains("give different ones"), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        for name in ["MONGODB_URI", "MONGO_URI"] {
            for other in ["sqlite:notes.db", "redis://h", "h:27017"] {
                let found = mistakes(&[(name, other)]);
                assert_eq!(found[0].setting, name, "{other}");
                assert!(found[0].expected.contains("mongodb://"), "{}", found[0]);
            }
        }
    }

    #[test]
    fn the_database_is_named_once() {
        let plain = "mongodb://h:27017";
        let named = [("MONGO_URI", plain), ("MONGO_DATABASE", "team-notes")];
        let loaded = load(&named);
        assert_eq!(
            loaded.config.mongodb.database.as_deref(),
            Some("team-notes")
        );
        load(&[("MONGO_URI", "mongodb://h/a?w=2"), ("MONGO_DATABASE", "a")]);
        let found = mistakes(&[("MONGO_URI", "mongodb://h/a?w=2"), ("MONGO_DATABASE", "b")]);
        assert_eq!(found[0].setting, "MONGO_DATABASE");
        for wrong in ["a b", "a/b", "$x", "é"] {
            let found = mistakes(&[("MONGO_URI", plain), ("MONGO_DATABASE", wrong)]);
            assert_eq!(found[0].setting, "MONGO_DATABASE");
        }
        let unused = load(&[("MONGO_DATABASE", "notes")]);
        assert!(unused.warnings[0].contains("MONGO_DATABASE"));
    }

    #[test]
    fn pool_and_times_are_set() {
        let given = [
            ("NOTES_STORE", ADDRESS),
            ("MONGODB_MAX_POOL_SIZE", "30"),
            ("MONGODB_MIN_POOL_SIZE", "2"),
            ("MONGODB_TIMEOUT_SECONDS", "4"),
            ("MONGODB_SELECTION_TIMEOUT_SECONDS", "3"),
            ("MONGODB_CONNECT_TIMEOUT_SECONDS", "2"),
        ];
        let options = load(&given).config.mongodb;
        assert_eq!(options.pool_size_max, Some(30));
        assert_eq!(options.pool_size_min, Some(2));
        assert_eq!(options.timeout, Some(Duration::from_secs(4)));
        assert_eq!(options.selection_timeout, Some(Duration::from_secs(3)));
        assert_eq!(options.connect_timeout, Some(Duration::from_secs(2)));
        for (name, wrong) in [
            ("MONGODB_MAX_POOL_SIZE", "0"),
            ("MONGODB_MAX_POOL_SIZE", "1001"),
            ("MONGODB_MAX_POOL_SIZE", "1"),
            ("MONGODB_TIMEOUT_SECONDS", "0"),
            ("MONGODB_TIMEOUT_SECONDS", "45000ms"),
        ] {
            let mut given = given.to_vec();
            given.push((name, wrong));
            assert!(Config::from_vars(&vars(&given)).is_err(), "{name}={wrong}");
        }
        let long = [("NOTES_STORE", ADDRESS), ("CONTENT_CHARS_MAX", "500001")];
        let found = mistakes(&long);
        assert_eq!(found[0].setting, "CONTENT_CHARS_MAX");
    }

    #[test]
    fn an_address_that_would_lose_or_miss_notes_stops_the_start() {
        for (option, word) in [
            ("w=0", "acknowledgement"),
            ("w=1", "acknowledgement"),
            ("readPreference=secondary", "readPreference"),
            ("maxPoolSize=many", "maxPoolSize"),
        ] {
            let address = format!("mongodb://u:hunter2@h/n?{option}");
            let found = mistakes(&[("NOTES_STORE", &address)]);
            let told = found[0].to_string();
            assert!(told.contains(word) && !told.contains("hunter2"), "{told}");
        }
    }
}

#[cfg(not(feature = "mongodb"))]
#[test]
fn without_the_feature_the_mistake_says_how_to_build_it_in() {
    let found = super::mistakes(&[("NOTES_STORE", "mongodb://u:hunter2@h/n")]);
    let told = found[0].to_string();
    assert!(told.contains("--features mongodb"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
