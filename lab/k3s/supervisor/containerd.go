// containerd: its configuration, the registry mirrors of registries.yaml and the import of images that lie on disk.

package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	containerdSocket = "/run/k3s/containerd/containerd.sock"
	registriesFile   = "/etc/rancher/k3s/registries.yaml"
)

// registries is registries.yaml; rewrites are read and have no effect here.
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string          `json:"endpoint"`
		Rewrite  map[string]string `json:"rewrite"`
	} `json:"mirrors"`
	Configs map[string]struct {
		Auth struct {
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"auth"`
		TLS struct {
			CAFile             string `json:"ca_file"`
			CertFile           string `json:"cert_file"`
			KeyFile            string `json:"key_file"`
			InsecureSkipVerify bool   `json:"insecure_skip_verify"`
		} `json:"tls"`
	} `json:"configs"`
}

func loadRegistries(file string) (*registries, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return &registries{}, nil
	}
	r := &registries{}
	if err == nil {
		err = yaml.UnmarshalStrict(text, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// containerdConfig renders containerd's config.toml (version 2, containerd 1.6).
func containerdConfig(c *config, r *registries) string {
	agent := filepath.Join(c.DataDir, "agent")
	// Without a network of our own the CNI paths are the common ones, where a CNI that is installed later puts itself.
	binDirectory, confDirectory := "/usr/lib/cni", filepath.Join(agent, "etc/cni/net.d")
	if c.FlannelBackend == "none" {
		binDirectory, confDirectory = "/opt/cni/bin", "/etc/cni/net.d"
	}
	text := fmt.Sprintf(`# Written by the k3s stand-in at each start.
version = 2
root = %q
state = "/run/k3s/containerd"
oom_score = 0

[grpc]
  address = %q

[plugins."io.containerd.internal.v1.opt"]
  path = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = %q
  conf_dir = %q

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = %q
`, filepath.Join(agent, "containerd"), containerdSocket, filepath.Join(agent, "containerd/opt"), c.image(c.PauseImage),
		binDirectory, confDirectory, filepath.Join(agent, "etc/containerd/certs.d"))
	for _, host := range sortedKeys(r.Configs) {
		if auth := r.Configs[host].Auth; auth.Username != "" {
			text += fmt.Sprintf("\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.%q.auth]\n  username = %q\n  password = %q\n", host, auth.Username, auth.Password)
		}
	}
	return text
}

// hostsConfig renders certs.d/<host>/hosts.toml for one registry; endpoints are tried in order, the registry last.
func hostsConfig(host string, r *registries) string {
	text := ""
	if host != "*" {
		server := host
		if host == "docker.io" {
			server = "registry-1.docker.io"
		}
		text = fmt.Sprintf("server = %q\n", "https://"+server)
	}
	endpoints := r.Mirrors[host].Endpoint
	if len(endpoints) == 0 {
		endpoints = []string{"https://" + host}
	}
	for _, endpoint := range endpoints {
		// containerd adds /v2 itself.
		endpoint = strings.TrimSuffix(strings.TrimSuffix(endpoint, "/"), "/v2")
		text += fmt.Sprintf("\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", endpoint)
		_, registry, _ := strings.Cut(endpoint, "://")
		registry, _, _ = strings.Cut(registry, "/")
		tls := r.Configs[registry].TLS
		if tls.InsecureSkipVerify {
			text += "  skip_verify = true\n"
		}
		if tls.CAFile != "" {
			text += fmt.Sprintf("  ca = %q\n", tls.CAFile)
		}
		if tls.CertFile != "" {
			text += fmt.Sprintf("  client = [[%q, %q]]\n", tls.CertFile, tls.KeyFile)
		}
	}
	return text
}

// writeContainerd writes config.toml and certs.d anew and returns the path of config.toml.
func writeContainerd(c *config) (string, error) {
	r, err := loadRegistries(registriesFile)
	if err != nil {
		return "", err
	}
	directory := filepath.Join(c.DataDir, "agent/etc/containerd")
	if err := os.RemoveAll(filepath.Join(directory, "certs.d")); err != nil {
		return "", err
	}
	hosts := sortedKeys(r.Mirrors)
	for host := range r.Configs {
		if _, mirrored := r.Mirrors[host]; !mirrored {
			hosts = append(hosts, host)
		}
	}
	for _, host := range hosts {
		folder := host
		if host == "*" {
			folder = "_default"
		}
		if err := writeFile(filepath.Join(directory, "certs.d", folder, "hosts.toml"), []byte(hostsConfig(host, r)), 0o600); err != nil {
			return "", err
		}
	}
	file := filepath.Join(directory, "config.toml")
	return file, writeFile(file, []byte(containerdConfig(c, r)), 0o600)
}

// importImages loads the archives of <data-dir>/agent/images, for hosts that reach no registry.
func importImages(c *config) {
	archives, _ := filepath.Glob(filepath.Join(c.DataDir, "agent/images/*.tar*"))
	for _, archive := range archives {
		if output, err := exec.Command("ctr", "--address", containerdSocket, "--namespace", "k8s.io", "images", "import", archive).CombinedOutput(); err != nil {
			logf("image archive %s: %v: %s", archive, err, strings.TrimSpace(string(output)))
		}
	}
}
