#!/bin/sh
# make soak: the long runs of the tests that break things, and what they came to as a table.
#
# Needs what `make test` installs. Takes hours; IMAGED_SOAK_SUITES names some of them only.
set -eu
cd "$(dirname "$0")/../.."
. dist/dev/common.sh

need_toolchain
choose_features
IMAGED_SOAK=1
IMAGED_FIGURES=${IMAGED_FIGURES:-$PWD/target/figures.tsv}
export IMAGED_SOAK IMAGED_FIGURES
rm -f "$IMAGED_FIGURES"
failed=
for suite in ${IMAGED_SOAK_SUITES:-faults endurance}; do
    say "$suite"
    # shellcheck disable=SC2086 # a list of words
    cargo test --locked $features --test "$suite" -- --nocapture || failed="$failed $suite"
done
say "figures"
{
    printf 'promise\tmeasured\tfigure\n'
    sort -s -t "$(printf '\t')" -k1,1 "$IMAGED_FIGURES"
} | column -t -s "$(printf '\t')"
[ -z "$failed" ] || die "failed:$failed"
