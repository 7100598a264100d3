#!/bin/bash
# The layer matrix of docs/architecture.md, checked on every #include of our own headers.
#
# A rule is: folder, then what its files may include: a folder (that folder's headers, not those below it) or one header.
# Every folder may include itself. Third-party headers have homes too, below. Prints each breach as file:line: reason.
set -euo pipefail
cd "$(dirname "$0")/.."

base="core/base"
loop="$base core/loop core/config"
state="$loop core/state"
cri="$state core/life core/run/spec.h core/run/cgroup.h core/run/runtime_info.h core/image/store.h cri/proto"

rules="
core/base:
core/loop: $loop
core/config: $loop
core/state: $base
core/journal: $state
core/monitor: $base core/state/exit_record.h
core/run: $state core/monitor/proto.h
core/net: $state
core/image: $state core/run/mount.h
core/life: $state core/journal core/run core/net core/image
nri: $state core/run/spec.h core/life/gate.h core/life/inbox.h nri/proto
cri/proto: $base
nri/proto: $base
cri/grpc: $loop cri/proto
cri/stream: $state core/life core/run/spec.h core/run/cgroup.h
cri/spec: $cri
cri/rpc: $cri cri/grpc cri/spec cri/stream/server.h
cri: $cri cri/rpc cri/grpc cri/stream/http1.h
"

# Third-party header, then the folders that may see it. One home per library keeps it replaceable.
vendor="
ini.h: core/config
nghttp2/: cri/grpc
mbedtls/: core/image cri/stream
psa/: core/image cri/stream
zlib.h: core/image cri/stream
zstd.h: core/image
isa-l/: core/image
cmocka.h:
"

# cmd is where everything meets; tests and generated code are not judged.
files=$(find $(ls -d core nri cri 2>/dev/null) -name '*.[ch]' | LC_ALL=C sort)
[ -n "$files" ] || exit 0

awk -v rules="$rules" -v vendor="$vendor" '
BEGIN {
	n = split(rules, line, "\n")
	for (i = 1; i <= n; i++) {
		if (split(line[i], part, ":") < 2)
			continue
		known[part[1]] = 1
		m = split(part[2], word, " ")
		for (j = 1; j <= m; j++)
			may[part[1], word[j]] = 1
	}
	n = split(vendor, line, "\n")
	for (i = 1; i <= n; i++) {
		if (split(line[i], part, ":") < 2)
			continue
		foreign[part[1]] = part[2] " "
	}
}

function dir_of(path) {
	sub("/[^/]*$", "", path)
	return path
}

function breach(why) {
	printf "%s:%d: %s\n", FILENAME, FNR, why
	bad++
}

FNR == 1 {
	folder = dir_of(FILENAME)
	if (!(folder in known))
		breach("folder " folder " has no row in scripts/check-layers.sh")
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, quoted, "\"")
	header = quoted[2]
	target = dir_of(header)
	if (header !~ "/")
		breach("\"" header "\": includes go by path from the root")
	else if (target != folder && !((folder, target) in may) && !((folder, header) in may))
		breach(folder " may not include " header)
}

/^[ \t]*#[ \t]*include[ \t]*</ {
	split($0, angle, "[<>]")
	header = angle[2]
	for (name in foreign)
		if (index(header, name) == 1 && index(" " foreign[name], " " folder " ") == 0)
			breach(folder " may not include <" header ">, whose home is" (foreign[name] ~ /[^ ]/ ? foreign[name] : " tests"))
}

END { exit bad > 0 }
' $files
