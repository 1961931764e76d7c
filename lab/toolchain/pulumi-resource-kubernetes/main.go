// The Kubernetes provider plug-in of Pulumi, built from its own module; the published plug-in cannot be
// downloaded where there is no internet. The build copies schema.json here from that module.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

//go:embed schema.json
var schema []byte

func main() {
	// The version must be that of the npm package: the engine matches plug-ins by it.
	provider.Serve("kubernetes", "4.25.0", schema, []byte("{}"))
}
