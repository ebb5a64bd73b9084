#!/bin/sh
# Make the five locks anew: hashes, no registry address. Needs uv on the PATH, or UV=/path/to/uv.
# The Airflow lock is solved first, so that the others agree with the versions that Airflow allows.
set -eu
UV=${UV:-uv}
OPTIONS="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet"
rm -f requirements-airflow.lock requirements.lock requirements-dev.lock requirements-bench.lock requirements-training.lock
BUILD=$(mktemp)
trap 'rm -f "$BUILD"' EXIT
echo "setuptools>=80" > "$BUILD"
$UV pip compile $OPTIONS pyproject.toml "$BUILD" --extra airflow -o requirements-airflow.lock
$UV pip compile $OPTIONS -c requirements-airflow.lock pyproject.toml "$BUILD" -o requirements.lock
$UV pip compile $OPTIONS -c requirements-airflow.lock pyproject.toml --extra dev -o requirements-dev.lock
$UV pip compile $OPTIONS pyproject.toml "$BUILD" --extra bench -o requirements-bench.lock
$UV pip compile $OPTIONS -c requirements-airflow.lock pyproject.toml "$BUILD" --extra training -o requirements-training.lock
