// Command k6 is the load generator: k6 with the extension k6/x/llmeval built in.
package main

import (
	"math"
	"os"
	"runtime/debug"

	"go.k6.io/k6/v2/cmd"

	_ "llmeval/workloads/load/llmeval" // registers k6/x/llmeval
)

// heapGrowthPercent in place of Go's 100, where nothing bounds the memory: at 500 streams that collects several times a
// second, and on one core a chunk that arrives meanwhile is stamped late (docs/peers.md).
const heapGrowthPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent(debug.SetMemoryLimit(-1)))
	}
	cmd.Execute()
}

// gcPercent is negative, for no collection before the memory is used up, where there is a limit (GOMEMLIMIT).
func gcPercent(memoryLimitBytes int64) int {
	if memoryLimitBytes < math.MaxInt64 {
		return -1
	}
	return heapGrowthPercent
}
