# Runs one PgBouncer: supervisor.sh <the program> <its own folder>
# When stdin closes, whoever started it is gone, however it ended: PgBouncer is stopped and its folder removed.
trap '' PIPE
"$1" "$2/ini" </dev/null &
pid=$!
cat >/dev/null
kill -TERM $pid 2>/dev/null
wait $pid
cd /
rm -rf "$2"
