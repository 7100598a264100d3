#!/bin/bash
# The integration tests that are scripts: every tests/integration/AREA/run.sh. Each ends with `N passed, N failed`, and so does this.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec scripts/add-counts.sh tests/integration/*/run.sh
