#!/bin/sh
# check.sh: types, tests with the newest and the oldest CDK, and the templates of the examples, the simulation and the layouts: synthesized offline, read by
# cfn-lint and parliament, created in moto. Needs Node 20.19 or newer with npm, and Python 3 with venv; the Python tools come from PyPI.
set -eu
cd "$(dirname "$0")"

./synth.sh cdk.out test/layouts.ts
npm run --silent check
npm test --silent
npm run --silent test:lowest

tools=../target/cfn-lint
if ! [ -x "$tools/bin/cfn-lint" ] || ! cmp -s requirements.txt "$tools/requirements.txt"; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --requirement requirements.txt
  cp requirements.txt "$tools/requirements.txt"
fi
templates=$(ls cdk.out/*/*.template.json)
# W3010: the zones are given by name so that synthesis asks nobody. W3005: the CDK says again what a reference implies. W6001: run and wait read the
# outputs of the task's stack, also of what the task has from another one.
# shellcheck disable=SC2086 # several paths
"$tools/bin/cfn-lint" --ignore-checks W3005 W3010 W6001 --regions eu-west-1 -- $templates
echo "cfn-lint has nothing to say of $(echo "$templates" | wc -w) templates"
# shellcheck disable=SC2086 # several paths
"$tools/bin/python" policies.py $templates
# Those that import from others come after them.
layouts=cdk.out/layouts
others=$(find "$layouts" -name '*.template.json' ! -name 'two-stacks-*' | sort)
# shellcheck disable=SC2086 # several paths
"$tools/bin/python" create-in-moto.py $layouts/two-stacks-data.template.json $layouts/two-stacks-app.template.json $layouts/two-stacks-gate.template.json \
  $others
