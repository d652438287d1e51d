#!/usr/bin/env bash
# What takes too long for go test ./capi: a million messages with flat memory,
# and the test programs under valgrind, which must be installed.
set -euo pipefail
cd "$(dirname "$0")"
command -v valgrind >/dev/null || { echo "capi/check.sh: valgrind is not installed" >&2; exit 1; }
go test -count=1 -tags capi_long -v -run 'TestMillion|TestValgrind' .
