#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# From a clone on a bare Debian or Ubuntu machine to a running fathom:
#
#   cmake/bootstrap.sh deps [extra…]  install what is missing; clang and libcxx where they are named
#   cmake/bootstrap.sh demo [option…] deps, build, train the demo's models (options go to the program)
#   cmake/bootstrap.sh test           deps, build, run the tests
#
# CXX names the compiler (g++ unless set). CMake >= 3.25 and g++ >= 12 or clang >= 18 are the floor.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly backports=/etc/apt/sources.list.d/fathom-backports.list
build=build/release

say() { printf '== %s\n' "$*"; }
fail() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '4,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# ---- what is there: asked of the tools themselves, so that nothing that came another way is installed again

compiler() { echo "${CXX:-g++}"; }
at_least() { [[ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" == "$1" ]]; }  # at_least FLOOR VERSION

# holds CONDITION: the preprocessor condition is true; "#include"s may come before it, separated by newlines
holds() { printf '%b\n#else\n#error\n#endif\n' "$1" | "$(compiler)" -std=c++20 -E -x c++ - >/dev/null 2>&1; }
links() { echo 'int main() {}' | "$(compiler)" -x c++ - "$1" -o /dev/null >/dev/null 2>&1; }

has_compiler() { holds '#if __has_include(<concepts>) && (__clang_major__ >= 18 || (!defined(__clang__) && __GNUC__ >= 12))'; }
has_cmake() { local found; found=$(cmake --version 2>/dev/null) && at_least 3.25 "$(sed -n '1s/.* //p' <<<"$found")"; }
has_ninja() { command -v ninja >/dev/null; }
has_eigen() { holds '#if __has_include(<eigen3/Eigen/Core>) || __has_include(<Eigen/Core>)'; }
has_openblas() { holds '#if __has_include(<cblas.h>)' && links -lopenblas; }
has_catch2() { holds '#include <catch2/catch_version_macros.hpp>\n#if CATCH_VERSION_MAJOR >= 3' && links -lCatch2; }
has_benchmark() { holds '#if __has_include(<benchmark/benchmark.h>)' && links -lbenchmark; }
has_cli11() { holds '#if __has_include(<CLI/CLI.hpp>)'; }
has_json() { holds '#if __has_include(<nlohmann/json.hpp>)'; }
has_zlib() { holds '#if __has_include(<zlib.h>)' && links -lz; }
has_sentencepiece() { holds '#if __has_include(<sentencepiece_trainer.h>)' && links -lsentencepiece_train; }
has_clang() { command -v clang++-19 >/dev/null; }
has_libcxx() { clang++-19 -std=c++20 -stdlib=libc++ -x c++ -include version -fsyntax-only /dev/null 2>/dev/null; }

declare -A package=([compiler]=g++ [cmake]=cmake [ninja]=ninja-build [eigen]=libeigen3-dev [openblas]=libopenblas-dev
                    [catch2]=catch2 [benchmark]=libbenchmark-dev [cli11]=libcli11-dev [json]=nlohmann-json3-dev
                    [zlib]=zlib1g-dev [sentencepiece]=libsentencepiece-dev
                    [clang]=clang-19 [libcxx]=libc++-19-dev)

# missing NAME…: the packages of those that are not there
missing() {
  local name
  for name in "$@"; do "has_$name" || echo "${package[$name]}"; done
}

# ---- how the rest gets there

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

apt() {
  local log; log=$(mktemp)
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fail "apt-get $* failed"
  fi
  rm -f "$log"
}

# Debian 12 itself has Catch2 2; version 3 is in its backports, which need a line of their own.
enable_backports() {
  apt-cache policy | grep -q 'n=bookworm-backports' && return
  say "adding bookworm-backports in $backports (for Catch2 3)"
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
    "${mirror:-http://deb.debian.org/debian} bookworm-backports main" | as_root tee "$backports" >/dev/null
  apt update
}

install() {
  say "installing: $*"
  local names=("$@")
  if [[ " $* " == *" catch2 "* && $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]]; then
    enable_backports
    names=("${names[@]/#catch2/catch2/bookworm-backports}")
  fi
  apt install -y --no-install-recommends "${names[@]}"
}

deps() {
  local wanted=(compiler cmake ninja eigen openblas catch2 benchmark cli11 json zlib sentencepiece "$@")
  local packages
  packages=($(missing "${wanted[@]}"))
  if ((${#packages[@]} == 0)); then
    say "dependencies: all there"
    return
  fi
  command -v apt-get >/dev/null ||
    fail "missing: ${packages[*]} (Debian's names; this is no Debian or Ubuntu: install them with your package manager)"
  ((EUID == 0)) || sudo -n true 2>/dev/null ||
    fail "missing: ${packages[*]}; no root and no password-less sudo here: have them installed, then run this again"

  say "updating apt's lists"
  apt update
  if ! has_compiler; then  # it is what tells which of the others are there
    install "${package[compiler]}"
    packages=($(missing "${wanted[@]}"))
  fi
  ((${#packages[@]} == 0)) || install "${packages[@]}"
  packages=($(missing "${wanted[@]}"))
  ((${#packages[@]} == 0)) ||
    fail "still missing or too old here: ${packages[*]} (needed: g++ 12 or clang 18, CMake 3.25, Catch2 3)"
  say "dependencies: all there now"
}

# ---- what to do with it

demo() {
  deps
  say "building the demo in $build"
  cmake --preset release
  cmake --build --preset release --target fathom-demo
  say "running the demo; its files go to runs/demo"
  "$build/bin/fathom-demo" --output runs/demo "$@"
}

case "${1:-}" in
  deps) shift; deps "$@" ;;
  demo) shift; demo "$@" ;;
  test)
    deps
    say "building in $build and running the tests"
    cmake --workflow --preset release
    ;;
  *) usage >&2; exit 2 ;;
esac
