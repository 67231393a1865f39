# Starts and stops a PostgreSQL for the tests: source it, call `start_postgres`, and give the tests `TEST_POSTGRES`.
# Nothing in it outlives the tests, so it never waits for the disk.

# The folder with the newest PostgreSQL's programs.
postgres_programs() {
    find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2> /dev/null | sort -V | tail -n 1
}

# Runs a command among PostgreSQL's programs, which refuse to run as root.
as_postgres() {
    local as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    (cd "$postgres_folder" && PATH="$(postgres_programs):$PATH" && "${as[@]}" "$@")
}

start_postgres() {
    postgres_folder=$(mktemp -d)
    [ "$(id -u)" != 0 ] || chown postgres "$postgres_folder"
    as_postgres initdb --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync > /dev/null
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    as_postgres pg_ctl start --silent --wait --pgdata=data --log=log --options="-p $port -k $postgres_folder -c listen_addresses=127.0.0.1 \
        -c fsync=off -c full_page_writes=off -c max_connections=800 -c shared_buffers=128MB -c max_wal_size=4GB"
    export TEST_POSTGRES=postgres://postgres@127.0.0.1:$port
}

stop_postgres() {
    [ -n "${postgres_folder:-}" ] || return 0
    as_postgres pg_ctl stop --silent --mode=immediate --pgdata=data || true
    rm -rf "$postgres_folder"
}
