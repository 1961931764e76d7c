// Manifests: the built-in ones, the objects that nodes need to join, and the automatic application of
// <data-dir>/server/manifests.

package supervisor

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed manifests/*.yaml scripts/*.sh
var files embed.FS

const (
	clusterConfigMap = "k3s-cluster-config"
	manifestInterval = 5 * time.Second
)

// optional maps the manifests that `disable` can leave out to the name that it uses for them.
var optional = map[string]string{"coredns.yaml": "coredns", "local-storage.yaml": "local-storage", "metrics-server.yaml": "metrics-server"}

// renderManifest fills the placeholders of one embedded manifest.
func renderManifest(c *config, name string, values ...string) []byte {
	text, err := files.ReadFile("manifests/" + name)
	if err != nil {
		panic(err) // the name is a constant of this program
	}
	rendered := strings.NewReplacer(append([]string{"%{CLUSTER_DNS}", c.ClusterDNS, "%{STORAGE_PATH}", c.StoragePath}, values...)...).Replace(string(text))
	return []byte(c.image(rendered))
}

// joinManifest holds the tokens, the rights and the settings with which nodes join.
func joinManifest(c *config, clientCA []byte, passwords []string) []byte {
	var text bytes.Buffer
	text.Write(renderManifest(c, "join.yaml", "%{CLUSTER_CIDR}", c.ClusterCIDR, "%{FLANNEL_BACKEND}", c.FlannelBackend,
		"%{DISABLE_KUBE_PROXY}", fmt.Sprint(c.DisableKubeProxy), "%{CLIENT_CA}", fmt.Sprintf("%q", clientCA)))
	groups := "system:bootstrappers:k3s,system:bootstrappers:k3s-server" // the first password is the server's
	for _, password := range passwords {
		id, secret := bootstrapToken(password)
		fmt.Fprintf(&text, `---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-%s, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: %q
  token-secret: %q
  usage-bootstrap-authentication: "true"
  auth-extra-groups: %q
`, id, id, secret, groups)
		groups = "system:bootstrappers:k3s"
	}
	return text.Bytes()
}

// writeManifests puts the built-in manifests where k3s has them; a disabled one is taken away, also from the cluster.
func writeManifests(c *config, kubeconfigFile string) error {
	for _, name := range sortedKeys(optional) {
		file := filepath.Join(c.DataDir, "server/manifests", name)
		if !slices.Contains(c.Disable, optional[name]) {
			if err := writeFile(file, renderManifest(c, name), 0o600); err != nil {
				return err
			}
			continue
		}
		if _, err := os.Stat(file); err != nil {
			continue
		}
		if err := run(selfPath(), "kubectl", "--kubeconfig", kubeconfigFile, "delete", "--ignore-not-found", "--wait=false", "-f", file); err != nil {
			return err
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// runManifests applies every manifest when it is new or changed and tries again what failed.
func runManifests(c *config, kubeconfigFile string) {
	applied, failures := map[string][sha256.Size]byte{}, map[string]string{}
	for ; ; time.Sleep(manifestInterval) {
		names, _ := filepath.Glob(filepath.Join(c.DataDir, "server/manifests/*.yaml"))
		for _, file := range names {
			text, err := os.ReadFile(file)
			if err != nil || applied[file] == sha256.Sum256(text) {
				continue
			}
			if _, err := os.Stat(file + ".skip"); err == nil {
				continue
			}
			if err := apply(kubeconfigFile, text); err != nil {
				if failures[file] != err.Error() {
					logf("manifest %s: %v", file, err)
				}
				failures[file] = err.Error()
				continue
			}
			delete(failures, file)
			applied[file] = sha256.Sum256(text)
		}
	}
}

// apply gives a manifest to the API server and takes over fields that others hold, as the files are the truth.
// It does not validate: for that kubectl reads the schema of all APIs, and while one of them is served by a pod that a
// reboot has ended, the API server answers after 30 s only.
func apply(kubeconfigFile string, manifest []byte) error {
	command := exec.Command(selfPath(), "kubectl", "--kubeconfig", kubeconfigFile, "apply", "--validate=false",
		"--server-side", "--force-conflicts", "--field-manager=k3s", "-f", "-")
	command.Stdin = bytes.NewReader(manifest)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
