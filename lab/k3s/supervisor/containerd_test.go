package supervisor

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const containerdWant = `# Written by the k3s stand-in at each start.
version = 2
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
oom_score = 0

[grpc]
  address = "/run/k3s/containerd/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/rancher/k3s/agent/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/rancher/mirrored-pause:3.6"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/var/lib/rancher/k3s/agent/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/var/lib/rancher/k3s/agent/etc/containerd/certs.d"

[plugins."io.containerd.grpc.v1.cri".registry.configs."10.0.0.9:5000".auth]
  username = "reader"
  password = "secret"
`

func TestContainerdConfig(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "registries.yaml"), `
mirrors:
  docker.io:
    endpoint: ["http://10.0.0.9:5000", "https://mirror.example/v2/"]
    rewrite: {"^(.*)$": "hub/$1"}
  "*":
    endpoint: ["http://10.0.0.9:5000"]
configs:
  "10.0.0.9:5000":
    auth: {username: reader, password: secret}
    tls: {insecure_skip_verify: true, ca_file: /etc/ca.crt}
`)
	r, err := loadRegistries(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &config{DataDir: "/var/lib/rancher/k3s", FlannelBackend: "vxlan", PauseImage: "docker.io/rancher/mirrored-pause:3.6"}
	if got := containerdConfig(c, r); got != containerdWant {
		t.Errorf("got\n%s", got)
	}
	for host, want := range map[string]string{
		"docker.io": `server = "https://registry-1.docker.io"

[host."http://10.0.0.9:5000"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  ca = "/etc/ca.crt"

[host."https://mirror.example"]
  capabilities = ["pull", "resolve"]
`,
		"*": `
[host."http://10.0.0.9:5000"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  ca = "/etc/ca.crt"
`,
		"10.0.0.9:5000": `server = "https://10.0.0.9:5000"

[host."https://10.0.0.9:5000"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  ca = "/etc/ca.crt"
`,
	} {
		if got := hostsConfig(host, r); got != want {
			t.Errorf("%s: got\n%s", host, got)
		}
	}
}

func TestRegistriesRefusesAnUnknownKey(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "registries.yaml"), "mirror: {}\n")
	if _, err := loadRegistries(file); err == nil || err.Error() != file+`: error unmarshaling JSON: while decoding JSON: json: unknown field "mirror"` {
		t.Error(err)
	}
}

func TestNetworkPlan(t *testing.T) {
	node := func(name, podCIDR, address string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: podCIDR},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}}}
	}
	own, routes := networkPlan([]corev1.Node{node("a", "10.42.0.0/24", "10.0.0.1"), node("b", "10.42.1.0/24", "10.0.0.2"), node("c", "", "10.0.0.3")}, "a")
	if own != "10.42.0.0/24" || len(routes) != 1 || routes["10.42.1.0/24"] != "10.0.0.2" {
		t.Error(own, routes)
	}
}

func TestDashed(t *testing.T) {
	if got := dashed([]string{"max-pods=50", "--v=2"}); len(got) != 2 || got[0] != "--max-pods=50" || got[1] != "--v=2" {
		t.Error(got)
	}
}
