#!/bin/bash
# The daemon and its monitors, killed at every turn. usage: tests/integration/kill/run.sh [points|churn|monitors]...
set -euo pipefail

exec /usr/bin/python3 "$(dirname "$0")/kill.py" "$@"
