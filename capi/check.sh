#!/usr/bin/env bash
# What takes too long for go test ./capi, or needs valgrind, cmake and pkg-config: a
# million messages and thousands of files with flat memory, the test programs under
# valgrind, and the examples built as users of CMake and pkg-config build them.
set -euo pipefail
cd "$(dirname "$0")"
for tool in valgrind cmake pkg-config; do
	command -v "$tool" >/dev/null || { echo "capi/check.sh: $tool is not installed" >&2; exit 1; }
done
go test -count=1 -tags capi_long -v -run 'TestMillion|TestManyUploads|TestValgrind|TestCMake|TestPkgConfig' .
