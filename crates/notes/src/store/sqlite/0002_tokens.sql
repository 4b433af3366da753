-- Tokens with which programs prove on whose behalf they call.

CREATE TABLE access_tokens (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32), -- the token itself is nowhere
    name       TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    scopes     TEXT    NOT NULL, -- with a space between them
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used  INTEGER,
    revoked_at INTEGER
) STRICT;

-- A name is free again when its token is revoked.
CREATE UNIQUE INDEX access_tokens_by_name ON access_tokens (name) WHERE revoked_at IS NULL;
