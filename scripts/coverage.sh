#!/bin/bash
# Line coverage by folder, from the counters below DIR: scripts/coverage.sh DIR
set -euo pipefail

find "$1" -name '*.gcda' -path '*/obj/*' ! -path '*/tests/*' -print0 |
	xargs -0 -r -n 50 gcov -n 2>/dev/null |
	awk -F"'" '
		/^File / { file = $2 }
		/^Lines executed:/ {
			split($0, part, /[:% ]+/) # "Lines executed:91.30% of 23"
			if (file ~ /^(cmd|core|nri|cri)\/.*[.]c$/) {
				folder = file
				sub(/\/[^\/]*$/, "", folder)
				lines[folder] += part[5]
				hit[folder] += part[3] * part[5] / 100
			}
			file = ""
		}
		END {
			for (folder in lines) {
				printf "%-16s %5.1f %%  of %6d lines\n", folder, 100 * hit[folder] / lines[folder], lines[folder]
				all += lines[folder]
				all_hit += hit[folder]
			}
			if (all)
				printf "%-16s %5.1f %%  of %6d lines\n", "~ all", 100 * all_hit / all, all
		}' | LC_ALL=C sort
