#!/bin/sh
# prerequisites.sh build | demo | test | soak | forms | fuzz | bench | bench-quick
#
# Sees to what a make target needs: Rust, make and a C compiler; for demo and test also PostgreSQL's server programs; for test also PgBouncer, Node and
# npm for the Prisma CLI, and Python with venv for moto's AWS services; for soak also psql, root, ip and iptables; for forms the server, and Node and npm for PostgreSQL's
# other versions; for fuzz cargo-fuzz and a C++ compiler; for bench the server, Node, npm, curl and unzip; for bench-quick the server and valgrind. As
# root on Debian or Ubuntu what is a package is installed; anything else is named, and the exit code is 1.
set -eu

case ${1:-} in
  build | demo | test | soak | forms | fuzz | bench | bench-quick) ;;
  *) echo 'usage: prerequisites.sh build | demo | test | soak | forms | fuzz | bench | bench-quick' >&2; exit 2 ;;
esac

missing=0

lacks() {
  echo "missing: $1" >&2
  missing=1
}

can_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

updated=no
install() {
  echo "installing $* with apt-get" >&2
  [ "$updated" = yes ] || apt-get update -qq >&2
  updated=yes
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# The places where the tests look, in their order.
has_postgres() {
  for folder in ${POSTGRES_BIN:+"$POSTGRES_BIN"} /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
    [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && return 0
  done
  command -v initdb >/dev/null && command -v postgres >/dev/null
}

# Debian makes and starts a cluster when the server is installed; nobody here wants one.
install_postgres() {
  install postgresql-common
  sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  install postgresql
}

# Debian starts a service of it; the tests start their own.
install_pgbouncer() {
  install pgbouncer
  if command -v systemctl >/dev/null; then systemctl disable --now pgbouncer >/dev/null 2>&1 || true; fi
}

command -v cargo >/dev/null ||
  lacks 'Rust: install it from https://rustup.rs'
if ! command -v make >/dev/null; then
  if can_install; then install make; else lacks 'make: apt-get install make'; fi
fi
if ! command -v cc >/dev/null; then
  if can_install; then install gcc libc6-dev; else lacks 'a C compiler: apt-get install gcc libc6-dev'; fi
fi

if [ "$1" = fuzz ]; then
  if ! command -v c++ >/dev/null; then
    if can_install; then install g++; else lacks 'a C++ compiler: apt-get install g++'; fi
  fi
  cargo fuzz --version >/dev/null 2>&1 || lacks 'cargo-fuzz: cargo install cargo-fuzz --locked'
  exit $missing
fi
if [ "$1" != build ] && ! has_postgres; then
  if can_install; then
    install_postgres
  else
    lacks 'the PostgreSQL server programs: apt-get install postgresql (or name the folder of initdb and postgres in POSTGRES_BIN)'
  fi
fi

case $1 in
  bench) programs='curl unzip' ;;
  bench-quick) programs=valgrind ;;
  *) programs='' ;;
esac
for program in $programs; do
  if ! command -v "$program" >/dev/null; then
    if can_install; then install "$program"; else lacks "$program: apt-get install $program"; fi
  fi
done

if [ "$1" = test ] || [ "$1" = soak ]; then
  if ! PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null; then
    if can_install; then install_pgbouncer; else lacks 'PgBouncer: apt-get install pgbouncer'; fi
  fi
fi

if [ "$1" = test ] || [ "$1" = soak ] || [ "$1" = forms ] || [ "$1" = bench ]; then
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null ||
    lacks 'Node 20.19 or newer, for the Prisma CLI: install it from https://nodejs.org'
  command -v npm >/dev/null ||
    lacks 'npm, for the Prisma CLI and PostgreSQL: it comes with Node from https://nodejs.org'
fi

if [ "$1" = test ] || [ "$1" = soak ]; then
  # ensurepip is what Debian keeps apart in python3-venv.
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    if can_install; then install python3-venv; else lacks 'Python 3 with venv, for moto: apt-get install python3-venv'; fi
  fi
fi

if [ "$1" = soak ]; then
  [ "$(id -u)" = 0 ] || lacks 'root, for the network of the long migration'
  for tool in ip:iproute2 iptables:iptables psql:postgresql-client; do
    if ! PATH=$PATH:/usr/sbin command -v "${tool%:*}" >/dev/null; then
      if can_install; then install "${tool#*:}"; else lacks "${tool%:*}: apt-get install ${tool#*:}"; fi
    fi
  done
fi

exit $missing
