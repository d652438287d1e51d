#!/usr/bin/env bash
# Uses the hub's web page in headless Chromium. Needs Go, Node 20 or newer with
# npm, and Chromium, which it installs where it is root on Debian.
#
#   conformance/page.sh                        everything
#   conformance/page.sh --screenshots FOLDER   and keep pictures
set -euo pipefail
cd "$(dirname "$0")"

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [[ -z $chromium ]]; then
	sudo=
	[[ $(id -u) == 0 ]] || sudo='sudo -n'
	{ $sudo apt-get update && $sudo apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 || true
	chromium=$(command -v chromium) || {
		echo 'page: Chromium is missing and could not be installed' >&2
		exit 1
	}
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! cmp -s page/package-lock.json page/node_modules/.installed; then
	(cd page && npm ci --ignore-scripts)
	cp page/package-lock.json page/node_modules/.installed
fi
(cd .. && go build -o "$work/iothub" ./cmd/iothub)
go build -o "$work/device" ./page/device
node page/run.js --hub "$work/iothub" --device "$work/device" --chromium "$chromium" "$@"
