#!/usr/bin/env bash
# The C++ tests on another processor: cross-compiled for aarch64 and run by qemu, where both are installed (on Debian:
# g++-aarch64-linux-gnu qemu-user).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if ! command -v aarch64-linux-gnu-g++ >/dev/null || [ -z "$qemu" ]; then
  echo "NEON is not tested here: aarch64-linux-gnu-g++ or qemu-aarch64 is missing"
  exit 0
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cmake -S "$here" -B "$out" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DUNROLLED_MODULE=OFF -DUNROLLED_TESTS=ON -DCMAKE_EXE_LINKER_FLAGS=-static >/dev/null
cmake --build "$out" --parallel "$(nproc)" >/dev/null
UNROLLED_TEST_NO_FORK=1 "$qemu" "$out/core_tests"
