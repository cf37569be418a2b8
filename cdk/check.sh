#!/bin/sh
# check.sh: types, tests, the templates of the examples and of the simulation synthesized offline, and cfn-lint's word on them. Needs Node 20.19 or
# newer and npm; cfn-lint comes from PyPI where there is Python 3 with venv.
set -eu
cd "$(dirname "$0")"

./synth.sh cdk.out
npm run --silent check
npm test --silent

tools=../target/cfn-lint
if [ ! -x "$tools/bin/cfn-lint" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet cfn-lint==1.51.0
fi
# W3010: the zones are given by name so that synthesis asks nobody. W3005: the CDK says again what a reference implies.
"$tools/bin/cfn-lint" --ignore-checks W3005 W3010 --regions eu-west-1 -- cdk.out/*/*.template.json
echo "cfn-lint has nothing to say of $(echo cdk.out/*/*.template.json | wc -w) templates"
