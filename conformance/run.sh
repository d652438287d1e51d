#!/usr/bin/env bash
# Runs the official device SDKs, unmodified, against a hub built from this tree,
# and says which features work. Needs Go, Node 20 or newer with npm,
# Debian's python3-qpid-proton and swtpm, and, for the WebSockets, the right to bind port
# 443.
#
#   conformance/run.sh                 everything
#   conformance/run.sh --only 'twin'   features whose names contain the text
#   conformance/run.sh --accept        and expect from now on what passed
#
# Exit code 1: a feature that expected.json names did not pass.
set -euo pipefail
cd "$(dirname "$0")"

for tool in go node npm swtpm; do
	if ! command -v "$tool" >/dev/null; then
		echo "conformance: $tool is missing" >&2
		exit 1
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Only when the lock file has changed since the last time.
if ! cmp -s node/package-lock.json node/node_modules/.installed; then
	(cd node && npm ci --ignore-scripts)
	cp node/package-lock.json node/node_modules/.installed
fi
(cd .. && go build -o "$work/iothub" ./cmd/iothub)
go build -o "$work/embedded" ./embedded
go run ./mkcert "$work" client stranger provisioned member/intermediate/root
node node/run.js --hub "$work/iothub" --embedded "$work/embedded" --certs "$work" "$@"
