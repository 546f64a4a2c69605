#!/usr/bin/env bash
# Pins requirements/dev.in with hashes, without the address of any index. Needs `pip install uv`.
set -euo pipefail
cd "$(dirname "$0")"
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --upgrade dev.in --output-file dev.txt
