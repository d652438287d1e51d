#!/usr/bin/env bash
# Builds the C library: headers in OUTDIR/include, the shared and the static
# library in OUTDIR/lib, with a pkg-config file and a CMake package. To build
# for another system set GOOS, GOARCH and CC, as for any program with cgo.
#
#   capi/build.sh OUTDIR
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: capi/build.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"

case $(go env GOOS) in
darwin) shared=libiothub_client.dylib libs='-framework CoreFoundation -framework Security' ;;
windows) shared=iothub_client.dll libs='-lws2_32' ;;
*) shared=libiothub_client.so libs='-pthread' ;;
esac
export CGO_ENABLED=1
ldflags='-s -w'
[[ $(go env GOOS) == linux ]] && ldflags+=' -extldflags=-Wl,-soname,libiothub_client.so'

mkdir -p "$out/include" "$out/lib/pkgconfig" "$out/lib/cmake/iothub_client"
cp -R include/. "$out/include/"
if [[ $(go env GOOS) == windows ]]; then
	# A DLL has only what is listed: the functions of the headers, and names.
	def=$(mktemp -d)
	trap 'rm -rf "$def"' EXIT
	{
		echo EXPORTS
		grep -rhE '^[A-Za-z_][A-Za-z0-9_ ]*[ *]+[A-Za-z][A-Za-z0-9_]*\([^;{]*\);$' include | grep -v '^typedef' | sed -E 's/^[^(]*[ *]([A-Za-z0-9_]+)\(.*/\1/'
		sed -nE 's/^NAMES\(([A-Z_]+),.*/\1Strings/p' api_names.c
	} >"$def/iothub_client.def"
	ldflags+=" -extldflags=$def/iothub_client.def"
fi
go build -trimpath -buildmode=c-shared -ldflags "$ldflags" -o "$out/lib/$shared" .
go build -trimpath -buildmode=c-archive -o "$out/lib/libiothub_client.a" .
# What Go writes declares what the two languages call each other by; programs
# need only the headers in include.
rm -f "$out"/lib/*.h

sed -e "s|@libs@|$libs|" iothub_client.pc.in >"$out/lib/pkgconfig/iothub_client.pc"
sed -e "s|@shared@|$shared|" -e "s|@libs@|$libs|" iothub_clientConfig.cmake.in >"$out/lib/cmake/iothub_client/iothub_clientConfig.cmake"
cp iothub_clientConfigVersion.cmake "$out/lib/cmake/iothub_client/"
