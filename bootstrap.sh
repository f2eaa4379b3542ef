#!/usr/bin/env bash
# From a fresh clone to a trained model or a tested build, in one command:
#   ./bootstrap.sh train [OPTION...]   install what is missing, build the program, train the embedded default (tessera train --data where)
#   ./bootstrap.sh test  [OPTION...]   install what is missing, build everything, run the whole test suite (options go to ctest)
#   ./bootstrap.sh build [TARGET...]   install what is missing and build everything, or those targets
# On Debian 12+, Ubuntu 24.04+ missing packages are installed with apt-get (with sudo unless root); elsewhere the list of what is
# needed is printed. The build goes to build/release; TESSERA_PRESET chooses another preset of CMakePresets.json.
set -euo pipefail
cd "$(dirname "$0")"
preset=${TESSERA_PRESET:-release}
packages=(g++ cmake ninja-build pkg-config libopenblas-dev libtbb-dev libfmt-dev libpng-dev libjpeg-dev zlib1g-dev
          libcurl4-openssl-dev libssl-dev ca-certificates libsndfile1-dev libkissfft-dev libcli11-dev libboost-dev libtomlplusplus-dev nlohmann-json3-dev doctest-dev)

say() { printf '%s\n' "$*" >&2; }

install_missing() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "This is no Debian or Ubuntu. Needed: a C++20 compiler (g++ >= 12 or clang >= 15), CMake >= 3.25, Ninja, pkg-config, and"
    say "the development files of OpenBLAS (pthread build), oneTBB >= 2021, fmt >= 9, zlib, CLI11 >= 2.1, Boost >= 1.74 (headers), toml++ >= 3.3,"
    say "nlohmann-json >= 3.10, doctest >= 2.4; if they are there, libpng, libjpeg, libcurl, OpenSSL, libsndfile and KissFFT. Going on with what is there."
    return
  fi
  local missing=() p
  for p in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { say "Missing packages: ${missing[*]}. Install them as root and run this again."; exit 1; }
    root=(sudo)
  fi
  say "Installing: ${missing[*]}"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >&2
}

build() {  # [TARGET...]
  install_missing
  cmake --preset "$preset" >&2
  cmake --build --preset "$preset" ${1:+--target "$@"} >&2
}

case "${1:-}" in
  build) shift; build "$@" ;;
  train) shift; build tessera_program; exec "build/$preset/tessera" train --data where "$@" ;;
  test) shift; build; exec ctest --preset "$preset" -j "$(nproc)" "$@" ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
