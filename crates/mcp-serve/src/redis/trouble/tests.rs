//! What errors of Redis mean and say.

use super::*;

fn error(line: &str) -> redis::RedisError {
    let value = redis::parse_redis_value(line.as_bytes()).expect(line);
    value.extract_error().expect_err(line)
}

#[test]
fn what_may_be_done_soon_is_told_from_what_is_refused() {
    for line in [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MASTERDOWN Link with MASTER is down\r\n",
        "-CLUSTERDOWN The cluster is down\r\n",
        "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        "-BUSY Redis is busy running a script\r\n",
        "-NOREPLICAS Not enough good replicas to write.\r\n",
    ] {
        let lost = of_command(error(line));
        assert!(matches!(lost, Lost::NotDone { demoted: false }), "{line}");
    }
    let demoted = of_command(error("-READONLY You can't write\r\n"));
    assert!(matches!(demoted, Lost::NotDone { demoted: true }));
    for line in [
        "-MOVED 3999 127.0.0.1:6381\r\n",
        "-ASK 3999 127.0.0.1:6381\r\n",
    ] {
        assert!(
            matches!(of_command(error(line)), Lost::Elsewhere(_)),
            "{line}"
        );
    }
    for (line, said) in [
        (
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            "OOM command not allowed when used memory > 'maxmemory'.",
        ),
        (
            "-WRONGTYPE Operation against a key\r\n",
            "WRONGTYPE Operation against a key",
        ),
        (
            "-NOSCRIPT No matching script.\r\n",
            "NOSCRIPT No matching script.",
        ),
        (
            "-NOPERM this user has no permissions\r\n",
            "NOPERM this user has no permissions",
        ),
        (
            "-NOAUTH Authentication required.\r\n",
            "NOAUTH Authentication required.",
        ),
    ] {
        match of_command(error(line)) {
            Lost::Refused(why) => assert_eq!(why, said),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn what_redis_repeats_of_a_command_is_not_shown() {
    let line =
        "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `hunter2`, \r\n";
    assert_eq!(
        of_connection(&error(line)),
        "it says ERR unknown command `HELLO`"
    );
    let Lost::Refused(why) = of_command(error(line)) else {
        panic!("not refused");
    };
    assert!(!why.contains("hunter2"), "{why}");
    let long = format!("-ERR {}\r\n", "x\u{1b}".repeat(400));
    let said = of_connection(&error(&long));
    assert!(said.len() < 220 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn reasons_tell_an_operator_what_to_do() {
    for (line, said) in [
        (
            "-WRONGPASS invalid username-password pair\r\n",
            "it refuses the user or the password",
        ),
        (
            "-NOAUTH Authentication required.\r\n",
            "it wants a password",
        ),
        ("-LOADING Redis is loading\r\n", "it is loading its data"),
    ] {
        assert_eq!(of_connection(&error(line)), said);
    }
}
