# Sourced by the scripts beside it: finds the project, installs what is missing, puts the pinned Node first on PATH.
set -euo pipefail

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'keyturn: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# The pinned Node's folder; npm installs only the package of this platform. (Some npm 10 do not link it into .bin.)
runtime() { compgen -G "$root/node_modules/node-*/bin/node" | sed 's,/node$,,'; }

# npm writes node_modules/.package-lock.json last: where it is absent or older, the installation is not whole.
install_dependencies() {
  if ! runtime >/dev/null || [ "$root/package-lock.json" -nt "$root/node_modules/.package-lock.json" ]; then
    command -v npm >/dev/null || die "npm is not on PATH: install Node.js 20 or later with npm 10 or later"
    say "installing the dependencies of package-lock.json"
    # Not `npm ci`: that of npm 11 refuses a lock file without the packages of platforms that nobody here runs on.
    (cd "$root" && npm install --no-save --include=dev --include=optional \
      --no-audit --no-fund --loglevel=error >&2) || die "npm install did not succeed (its own words stand above)"
    runtime >/dev/null ||
      die "npm has no pinned Node for $(uname -s) on $(uname -m): use Linux (x86_64, aarch64) or macOS (arm64)"
  fi
  PATH="$(runtime):$root/node_modules/.bin:$PATH"
  export PATH
}
