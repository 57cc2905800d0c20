#!/usr/bin/env bash
# The C++ tests on machines that this one is not: cross-compiled for aarch64 and run by qemu, for Windows and run by Wine, each
# where both are installed (on Debian: g++-aarch64-linux-gnu qemu-user, g++-mingw-w64-x86-64-posix wine64).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(mktemp -d)
trap 'wineserver64 -k 2>/dev/null || true; rm -rf "$out"' EXIT  # Wine leaves a server that writes there
export UNROLLED_TEST_NO_FORK=1 WINEPREFIX="$out/wine" WINEDEBUG=-all
PATH="$PATH:/usr/lib/wine"

on() { # system, processor, compiler, what runs the program
  local system=$1 processor=$2 compiler=$3 runner=$4 build="$out/$1"
  if ! command -v "$compiler" >/dev/null || ! command -v "$runner" >/dev/null; then
    echo "$system on $processor is not tested here: $compiler or $runner is missing"
    return
  fi
  cmake -S "$here" -B "$build" -DCMAKE_SYSTEM_NAME="$system" -DCMAKE_SYSTEM_PROCESSOR="$processor" \
    -DCMAKE_CXX_COMPILER="$compiler" -DUNROLLED_MODULE=OFF -DUNROLLED_TESTS=ON -DCMAKE_EXE_LINKER_FLAGS=-static >/dev/null
  cmake --build "$build" --parallel "$(nproc)" >/dev/null
  "$runner" "$build"/core_tests*
}

qemu=qemu-aarch64
command -v "$qemu" >/dev/null || qemu=qemu-aarch64-static  # Debian's qemu-user-static
on Linux aarch64 aarch64-linux-gnu-g++ "$qemu"
on Windows AMD64 x86_64-w64-mingw32-g++-posix wine64
