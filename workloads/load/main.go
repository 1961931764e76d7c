// Command k6 is the load generator: k6 with the extension k6/x/llmeval built in.
package main

import (
	"go.k6.io/k6/v2/cmd"

	_ "llmeval/workloads/load/llmeval" // registers k6/x/llmeval
)

func main() {
	cmd.Execute()
}
