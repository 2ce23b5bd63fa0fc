#!/bin/sh
# Brings a fresh Debian 12 to where our own programs can run: says what is missing and why, installs it, nothing else.
# Needs Node >= 20 with npm, a C compiler and rustup. With everything there it asks nobody and takes a second.
# Usage: bootstrap.sh [test]   ("test" also installs what only the tests need)
set -eu
cd "$(dirname "$0")/../.."

now() { date +%s%N; }
done_in() { printf '  %-16s %6s.%01d s\n' "$1" $((($(now) - $2) / 1000000000)) $((($(now) - $2) / 100000000 % 10)); }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

check_machine() {
  [ "$(uname -s)" = Linux ] || fail "exAI runs on Linux; this is $(uname -s)"
  [ "$(uname -m)" = x86_64 ] || fail "this build is for x86_64; this machine is $(uname -m)"
  have apt-get || fail "this needs Debian 12 (or one of its kin): there is no apt-get"
  have node || fail "Node.js (20 or newer) is missing; it starts our own Node 24, which npm brings"
  [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || fail "Node.js is $(node -v); 20 or newer is needed"
  have npm || fail "npm is missing; it brings the packages that package-lock.json names"
  have cc || fail "a C compiler is missing; Rust links with it: apt-get install gcc"
  have cargo && have rustup || fail "Rust is missing (1.85 or newer, by rustup); the guest agent is written in it"
}

debian_packages() {
  started=$(now)
  missing=''
  reasons=''
  # One question for all; a package that was never known is not in the answer.
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null | sed -n 's/ installed$//p')
  while read -r name kind why; do
    case "$name$kind" in '#'* | '') continue ;; esac
    [ "$kind" != test ] || [ "$wanted" = test ] || continue
    printf '%s\n' "$installed" | grep -qxF "$name" && continue
    missing="$missing $name"
    reasons="$reasons    $(printf '%-18s %s' "$name" "$why")
"
  done <tools/setup/packages.txt
  [ -n "$missing" ] || return 0
  printf 'These Debian packages are missing:\n%s' "$reasons"
  command="apt-get install -y --no-install-recommends$missing"
  [ "$(id -u)" = 0 ] || fail "run this, then start again:  sudo apt-get update && sudo $command"
  printf 'Running: %s\n' "$command"
  update_lists
  # shellcheck disable=SC2086 # the names are our own
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get failed; its output is in $log"; }
  done_in 'Debian packages' "$started"
}

# Only when something has to be fetched, and not twice a day.
update_lists() {
  [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | head -n 1)" ] || return 0
  apt-get update -qq >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "apt-get update failed; its output is in $log"; }
}

# The packages of images come by the machine's apt too; the nested host is for tests.
image_lists() {
  cache=${EXAI_CACHE:-/var/cache/exai}
  [ "$(id -u)" = 0 ] || return 0
  [ ! -e "$cache/images/index.json" ] || [ "$wanted" = test ] && [ ! -e "$cache/build/nested-host/.current" ] || return 0
  started=$(now)
  update_lists
  done_in 'package lists' "$started"
}

rust_target() {
  target=x86_64-unknown-linux-musl
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && return 0
  started=$(now)
  echo "Rust's target $target is missing; the guest agent is linked statically. Running: rustup target add $target"
  rustup target add "$target" >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "rustup failed; its output is in $log"; }
  done_in 'Rust target' "$started"
}

node_packages() {
  node tools/setup/in-step.mjs && return 0
  started=$(now)
  # Not "npm ci": it wants every other platform's optional packages in the lockfile, which registries need not have.
  echo 'node_modules is not what package-lock.json says. Running: npm install --no-save'
  npm install --no-save --no-progress --loglevel=error >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "npm failed; its output is in $log"; }
  node tools/setup/in-step.mjs || fail "npm did not install what package-lock.json says"
  done_in 'npm packages' "$started"
}

wanted=${1:-}
log=$(mktemp "${TMPDIR:-/tmp}/exai-setup.XXXXXX")
check_machine
debian_packages
rust_target
node_packages
image_lists
rm -f "$log"
