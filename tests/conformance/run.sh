#!/bin/bash
# Real peers against the real daemon: crictl and critest (built here with Go), docker-registry over TLS, crun, CNI plugins.
#
# usage: tests/conformance/run.sh [critest-focus-regex]     (root; Go; docker-registry, skopeo, nginx-light, openssl)
#
# Everything lives under a directory of its own. The last line is `N passed, N failed, N skipped`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
focus=${1:-}
coracle=${CORACLE:-$top/build/coracle}
peers=$top/build/peers
work=$(mktemp -d /var/tmp/coracle-conformance.XXXXXX)
chmod 711 "$work" # pods with user namespaces look for their files as other users
root=$work/root state=$work/state
pids=()
passed=0 failed=0 skipped=0

cleanup() {
	local status=$?

	set +e
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	"$here/leftovers.sh" --remove "$root" "$state"
	if [ "$status" -eq 0 ] && [ -z "${CORACLE_KEEP:-}" ]; then
		rm -rf "$work"
	else
		echo "logs are kept in $work" >&2
	fi
}
trap cleanup EXIT

# ---- peers, built once
mkdir -p "$peers"
build_peer() {
	[ "$peers/$1" -nt "$here/go.sum" ] || (cd "$here" && shift && "$@")
}
build_peer crictl env CGO_ENABLED=0 go build -o "$peers/crictl" sigs.k8s.io/cri-tools/cmd/crictl
build_peer critest env CGO_ENABLED=0 go test -c -o "$peers/critest" sigs.k8s.io/cri-tools/cmd/critest

# ---- images and registry
[ -f "$peers/images/names" ] || /usr/bin/python3 "$here/make_images.py" "$peers/images"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=coracle test CA" -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$work/tls.key" -out "$work/tls.csr" 2>/dev/null
openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 -out "$work/tls.crt" \
	-extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1') 2>/dev/null
port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<-TEXT
	version: 0.1
	log: { level: error }
	storage: { filesystem: { rootdirectory: $work/registry } }
	http: { addr: "127.0.0.1:$port", tls: { certificate: $work/tls.crt, key: $work/tls.key } }
TEXT
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
pids+=($!)
for _ in $(seq 50); do
	curl -sf --cacert "$work/ca.crt" "https://localhost:$port/v2/" >/dev/null && break
	sleep 0.1
done
while read -r name; do
	skopeo copy -q --insecure-policy --dest-tls-verify=false "oci:$peers/images:$name" "docker://localhost:$port/$name"
done <"$peers/images/names"

# ---- configuration: the registries that the specs name are mirrored here; a network of its own
hosts=$work/hosts.d
for registry in registry.k8s.io k8s.gcr.io gcr.io "localhost:$port"; do
	mkdir -p "$hosts/$registry"
	cat >"$hosts/$registry/hosts.toml" <<-TEXT
		server = "https://localhost:$port"
		[host."https://localhost:$port"]
		capabilities = ["pull", "resolve"]
		ca = "$work/ca.crt"
	TEXT
done
cat >"$work/coracle.conf" <<-TEXT
	[registry]
	config_path = $hosts
TEXT

start_daemon() {
	"$coracle" daemon -c "$work/coracle.conf" --root "$root" --state "$state" --log-level "${LOG_LEVEL:-info}" >>"$work/daemon.log" 2>&1 &
	daemon=$!
	pids+=("$daemon")
	for _ in $(seq 100); do
		"$peers/crictl" --config /dev/null -r "unix://$state/coracle.sock" version >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "daemon does not answer" >&2
	tail "$work/daemon.log" >&2
	return 1
}
"$here/host.sh" # what this kind of machine needs for crun
start_daemon

# ---- crictl, as an administrator would use it
echo "crictl:"
if CRICTL="$peers/crictl" ENDPOINT="unix://$state/coracle.sock" IMAGE="localhost:$port/e2e-test-images/busybox:1.29-2" \
	WORK="$work" "$here/crictl.sh" >"$work/crictl.log" 2>&1; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
	tail -n 20 "$work/crictl.log"
fi

# ---- critest
skip=$(sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$here/skip" | paste -sd '|')
echo "critest:"
status=0
"$peers/critest" --runtime-endpoint "unix://$state/coracle.sock" --image-endpoint "unix://$state/coracle.sock" \
	--ginkgo.no-color --ginkgo.json-report "$work/report.json" --ginkgo.skip "$skip" \
	${focus:+--ginkgo.focus "$focus"} --ginkgo.timeout 40m >"$work/critest.log" 2>&1 || status=$?
read -r p f s < <(/usr/bin/python3 "$here/report.py" "$work/report.json")
passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
[ "$f" -eq 0 ] || grep -E '^\s*\[FAIL\]' "$work/critest.log" | sort -u || true
if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
	echo "critest ended with status $status and reported no failure" >&2
	failed=$((failed + 1))
fi

# ---- nothing may be left once every pod is gone
kill "$daemon"
wait "$daemon" 2>/dev/null || true
if ! "$here/leftovers.sh" "$root" "$state"; then
	failed=$((failed + 1))
else
	passed=$((passed + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
