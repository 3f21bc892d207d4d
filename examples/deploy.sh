#!/usr/bin/env bash
# Puts a folder live: copies it beside what is live, checks the copy, and switches a symlink to it.
#
#   shipslog run --deployment web --create -- examples/deploy.sh SOURCE TARGET
#
# Nothing in it knows of Shipslog but the name of the release, and that only where there is one. When it is
# told to stop (SIGTERM, which is how a cancel arrives, or Ctrl-C), it leaves what was live as it was.
set -euo pipefail

source=${1:?which folder to put live}
target=${2:?where the symlink "live" is}
release=$target/release-${SHIPSLOG_ATTEMPT_ID:-$(date +%s)}

main() {
  trap 'take_back; exit 143' TERM INT
  mkdir -p "$target"
  echo "copying $source"
  cp -R "$source" "$release"
  echo "checking"
  check || fail 3 "the new release does not answer"
  ln -sfn "$release" "$target/live"
  echo "live: $(readlink "$target/live")"
}

# A release may bring a check of its own.
check() {
  [ -e "$release/index.html" ] || return 1
  [ ! -x "$release/check" ] || "$release/check"
}

fail() {
  echo "$2" >&2
  take_back
  exit "$1"
}

take_back() {
  rm -rf "$release"
}

main
