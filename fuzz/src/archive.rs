//! Archives of backups: bytes that are none, and lines that no backup writes.

use std::io::Cursor;

use notes::{
    backup::{Broken, Keys, Reader},
    transfer::Tally,
};

/// The first line of an archive.
const HEADER: &str = r#"{"mcp_notes_backup":1,"created_at":"2026-11-22T03:00:00Z","version":"0.1.0","store":"sqlite","one_moment":true,"notes":1,"tokens":1}"#;

/// An archive is read to its end or refused, as it is and as the lines of one; nothing is taken whose end is not
/// what its beginning asks for, and no line is taken for whole that is not.
pub fn archive(data: &[u8]) {
    let _ = read(data);
    // Its last line would have to hold its own hash.
    let lines = zstd::encode_all(data, 1).expect("memory");
    let written = [HEADER.as_bytes(), b"\n", &lines, data].concat();
    assert!(read(&written).is_err());
    let cut = &written[..HEADER.len() + 1 + lines.len()];
    assert!(read(cut).is_err());
}

fn read(bytes: &[u8]) -> Result<Tally, Broken> {
    let mut archive = Reader::unlock(Cursor::new(bytes.to_vec()), &Keys::default())?;
    let mut items = 0;
    while let Some(part) = archive.part()? {
        items += match part {
            notes::transfer::Part::Notes(notes) => notes.len(),
            notes::transfer::Part::Tokens(tokens) => tokens.len(),
        };
    }
    let tally = archive.tally();
    assert_eq!(tally.notes + tally.tokens, items as u64);
    Ok(tally)
}
