# Runs one PostgreSQL server: supervisor.sh <folder of its programs> <its own folder>
# Obeys one word a line on stdin (init, start, stop <mode>) and answers each with its exit code. When stdin closes, whoever asked is gone,
# however it ended: the server is stopped and its folder removed.
# The answer to a command may find nobody left to read it; that must not end the shell before it has cleaned up.
trap '' PIPE
bin=$1
dir=$2
while read -r verb mode; do
  case $verb in
    init)
      "$bin/initdb" --pgdata="$dir/data" --no-sync --encoding=UTF8 --locale=C.UTF-8 --username=postgres --auth-local=trust \
        --auth-host=scram-sha-256 ;;
    start) "$bin/pg_ctl" start --pgdata="$dir/data" --log="$dir/log" --wait --timeout=60 ;;
    stop) "$bin/pg_ctl" stop --pgdata="$dir/data" --mode="$mode" --wait --timeout=60 ;;
  esac >"$dir/output" 2>&1 </dev/null
  echo $?
done
"$bin/pg_ctl" stop --pgdata="$dir/data" --mode=immediate --wait --timeout=60 >/dev/null 2>&1
cd /
rm -rf "$dir"
