#!/usr/bin/env bash
# Builds a collector of OpenTelemetry in this directory, of parts of one release. It takes minutes the first time.
set -euo pipefail
directory="$1"
mkdir -p "$directory"
cp "$(dirname "$0")/main.go" "$directory/"
cd "$directory"
[ -f go.mod ] || go mod init otelcol
go get go.opentelemetry.io/collector/{otelcol,receiver/otlpreceiver,exporter/debugexporter}@v0.165.0 \
    go.opentelemetry.io/collector/confmap/provider/yamlprovider@v1.71.0
go mod tidy
go build -p 1 -o otelcol .
