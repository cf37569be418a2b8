#!/bin/sh
# synth.sh FOLDER [APP ...]: the templates of the examples, of the simulation and of these apps, synthesized offline by the CDK's own command:
# FOLDER/<app>/<stack>.template.json.
# Nothing is done where nothing has changed since. Needs Node 20.19 or newer and npm.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"

# The lock file decides; its own stamp says when there is nothing to do.
if ! cmp -s package-lock.json node_modules/.installed; then
  npm ci --ignore-scripts
  cp package-lock.json node_modules/.installed
fi

sources="lib examples test/simulation.ts $* contract.json package-lock.json synth.sh"
# shellcheck disable=SC2086 # several paths
[ -e "$folder/.done" ] && [ "$(cat "$folder/.done")" = "$*" ] && [ -z "$(find $sources -newer "$folder/.done")" ] && exit
began=$(mktemp)
echo "$*" >"$began"
export CDK_DISABLE_CLI_TELEMETRY=1
rm -rf "$folder"
mkdir -p "$folder"
for app in examples/*/app.ts test/simulation.ts "$@"; do
  case $app in
    */app.ts) name=$(basename "$(dirname "$app")") ;;
    *) name=$(basename "$app" .ts) ;;
  esac
  npx --no-install cdk synth --quiet --no-lookups --no-notices --no-version-reporting --app "npx --no-install tsx $app" --output "$folder/$name"
done
mv "$began" "$folder/.done"
