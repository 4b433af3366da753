#!/bin/sh
# Makes the secrets of docker-compose.prod.yml in deploy/compose/secrets (another folder: the first argument), each
# only if it is not there. As root they belong to those who read them in their containers; as somebody else
# everybody may read them, and nobody else may enter the folder.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$here/secrets}
# The users of the images: mcp-notes, Redis on Alpine, MongoDB.
notes=65532:65532
notes_and_redis=65532:1000
mongo=999:999

mkdir -p "$folder"
chmod 0700 "$folder"

# keep NAME OWNER: keeps what comes in as the secret NAME, unless there is one.
keep() {
    file=$folder/$1
    if [ -s "$file" ]; then
        cat >/dev/null
        return
    fi
    (umask 077 && cat >"$file.new")
    if [ "$(id -u)" -eq 0 ]; then
        chown "$2" "$file.new"
        chmod 0440 "$file.new"
    else
        chmod 0444 "$file.new"
    fi
    mv "$file.new" "$file"
    printf 'made %s\n' "$file"
}

# Letters, digits, - and _ alone, so that it can stand in an address as it is.
random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

random | keep redis_password "$notes_and_redis"
random | keep metrics_token "$notes"
random | keep mongo_root_password "$mongo"
random | keep mongo_password "$mongo"
printf 'mongodb://mcp-notes:%s@mongo:27017/mcp-notes?replicaSet=rs0&authSource=mcp-notes' \
    "$(cat "$folder/mongo_password")" | keep mongodb_uri "$notes"
