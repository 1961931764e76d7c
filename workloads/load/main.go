// Command k6 is the load generator: k6 with the extension k6/x/llmeval built in.
package main

import (
	"os"
	"runtime/debug"

	"go.k6.io/k6/v2/cmd"

	_ "llmeval/workloads/load/llmeval" // registers k6/x/llmeval
)

// heapGrowthPercent in place of Go's 100: at 500 streams that collects several times a second, and chunks that arrive
// meanwhile are stamped late (docs/peers.md). GOMEMLIMIT bounds the memory that it costs; GOGC overrides it.
const heapGrowthPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowthPercent)
	}
	cmd.Execute()
}
