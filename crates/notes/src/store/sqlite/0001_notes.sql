-- Notes, what finds them, and counts that are kept true by triggers.

-- The content comes last, so that lists do not read past it.
CREATE TABLE notes (
    seq           INTEGER PRIMARY KEY,
    owner         TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    title         TEXT    NOT NULL,
    title_key     TEXT    NOT NULL, -- the title in lower case
    tags          TEXT    NOT NULL, -- sorted, with a space between them
    version       INTEGER NOT NULL CHECK (version >= 1),
    created_at    INTEGER NOT NULL, -- microseconds since 1970-01-01 UTC, as all times
    updated_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    updated_by    TEXT    NOT NULL,
    content_chars INTEGER NOT NULL,
    content       TEXT    NOT NULL,
    UNIQUE (owner, id)
) STRICT;

CREATE INDEX notes_by_change ON notes (owner, updated_at, id);
CREATE INDEX notes_by_title ON notes (owner, title_key, updated_at);

-- Time and id are those of the note, so that the notes with a tag are listed in order from here.
CREATE TABLE note_tags (
    owner      TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    seq        INTEGER NOT NULL REFERENCES notes (seq) ON DELETE CASCADE,
    PRIMARY KEY (owner, tag, updated_at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX note_tags_by_note ON note_tags (seq, tag);

CREATE TABLE owner_counts (
    owner TEXT    NOT NULL PRIMARY KEY,
    notes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER notes_inserted AFTER INSERT ON notes BEGIN
    INSERT INTO owner_counts (owner, notes) VALUES (new.owner, 1)
    ON CONFLICT (owner) DO UPDATE SET notes = notes + 1;
END;

CREATE TRIGGER notes_deleted AFTER DELETE ON notes BEGIN
    UPDATE owner_counts SET notes = notes - 1 WHERE owner = old.owner;
    DELETE FROM owner_counts WHERE owner = old.owner AND notes = 0;
END;

CREATE TABLE tag_counts (
    owner TEXT    NOT NULL,
    tag   TEXT    NOT NULL,
    notes INTEGER NOT NULL,
    PRIMARY KEY (owner, tag)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER note_tags_inserted AFTER INSERT ON note_tags BEGIN
    INSERT INTO tag_counts (owner, tag, notes) VALUES (new.owner, new.tag, 1)
    ON CONFLICT (owner, tag) DO UPDATE SET notes = notes + 1;
END;

CREATE TRIGGER note_tags_deleted AFTER DELETE ON note_tags BEGIN
    UPDATE tag_counts SET notes = notes - 1 WHERE owner = old.owner AND tag = old.tag;
    DELETE FROM tag_counts WHERE owner = old.owner AND tag = old.tag AND notes = 0;
END;

-- It is given tokens that are already cut and folded, with a space between them; the ascii
-- tokenizer takes them as they are. The owner is a token too (scope), so that a search reads only
-- what belongs to its owner.
CREATE VIRTUAL TABLE notes_fts USING fts5 (
    scope, title, content, tags,
    content = '', contentless_delete = 1,
    tokenize = 'ascii'
);
