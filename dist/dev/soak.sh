#!/bin/sh
# make soak: the long runs of the tests that break things, and what they came to as a table.
#
# Needs what `make test` installs. Takes hours; IMAGED_SOAK_SUITES names some of them only (fuzz is one),
# IMAGED_FUZZ_SECONDS says how long each target is fuzzed.
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
for suite in ${IMAGED_SOAK_SUITES:-faults disks hostile endurance fuzz}; do
    say "$suite"
    if [ "$suite" = fuzz ]; then
        dist/dev/fuzz.sh "${IMAGED_FUZZ_SECONDS:-600}" || failed="$failed $suite"
        continue
    fi
    # shellcheck disable=SC2086 # a list of words
    cargo test --locked $features --test "$suite" -- --nocapture || failed="$failed $suite"
done
say "figures"
{
    printf 'promise\tmeasured\tfigure\n'
    # Numbers that are reported several times are added.
    awk -F '\t' '
        { key = $1 FS $2; if (!(key in value)) order[++count] = key }
        { value[key] = $3 ~ /^[0-9]+$/ ? value[key] + $3 : $3 }
        END { for (n = 1; n <= count; n++) print order[n] FS value[order[n]] }
    ' "$IMAGED_FIGURES" | sort -s -t "$(printf '\t')" -k1,1
} | column -t -s "$(printf '\t')"
[ -z "$failed" ] || die "failed:$failed"
