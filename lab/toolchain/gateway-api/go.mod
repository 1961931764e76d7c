module llmeval/lab/gateway-api

go 1.26.0

// No code of it is compiled, so `go mod tidy` would drop it: build.sh takes its CRDs.
require sigs.k8s.io/gateway-api v1.6.1
