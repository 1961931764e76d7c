package supervisor

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// write puts text into a file of a fresh directory and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := writeFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfigReadsEveryKey(t *testing.T) {
	directory := t.TempDir()
	tokenFile := write(t, filepath.Join(directory, "token"), "secret-of-file\n")
	base := write(t, filepath.Join(directory, "config.yaml"), `
token-file: `+tokenFile+`
agent-token: agents
tls-san: [lab.example, 10.0.0.9]
disable: [traefik, coredns]
node-label: [zone=a]
node-taint: ["gpu=true:NoSchedule"]
node-name: Server-1
node-ip: 10.0.0.1
node-external-ip: 192.0.2.4
kubelet-arg: [max-pods=50]
kube-apiserver-arg: "v=2"
flannel-backend: none
disable-network-policy: true
disable-kube-proxy: true
cluster-cidr: 10.52.0.0/16
service-cidr: 10.53.0.0/16
data-dir: /data/k3s
server: https://10.0.0.2:6443
write-kubeconfig-mode: "0640"
cluster-init: true
system-default-registry: 10.0.0.9:5000
`)
	write(t, filepath.Join(directory, "config.yaml.d/10-more.yaml"), "node-label+: [disk=ssd]\nkubelet-arg: [max-pods=60]\n")
	got, err := loadConfig(base, []string{"--node-taint", "a=b:NoExecute", "--node-taint=c=d:NoExecute", "--disable-kube-proxy=false", "-s", "https://10.0.0.3:6443"})
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		DataDir: "/data/k3s", NodeName: "server-1", NodeIP: "10.0.0.1", NodeExternalIP: "192.0.2.4", ServerURL: "https://10.0.0.3:6443",
		Token: "secret-of-file", AgentToken: "agents", ClusterCIDR: "10.52.0.0/16", ServiceCIDR: "10.53.0.0/16", ClusterDNS: "10.53.0.10",
		FlannelBackend: "none", KubeconfigMode: "0640", ImageRegistry: "10.0.0.9:5000", PauseImage: "docker.io/rancher/mirrored-pause:3.6",
		StoragePath: "/data/k3s/storage", TLSSANs: []string{"lab.example", "10.0.0.9"}, Disable: []string{"traefik", "coredns"},
		NodeLabels: []string{"zone=a", "disk=ssd"}, NodeTaints: []string{"a=b:NoExecute", "c=d:NoExecute"},
		KubeletArgs: []string{"max-pods=60"}, APIServerArgs: []string{"v=2"}, ClusterInit: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadConfigDefaults(t *testing.T) {
	t.Setenv("K3S_TOKEN", "from-environment")
	t.Setenv("K3S_URL", "https://10.0.0.2:6443")
	got, err := loadConfig(filepath.Join(t.TempDir(), "absent.yaml"), []string{"--node-name", "a", "--node-ip", "10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		DataDir: "/var/lib/rancher/k3s", NodeName: "a", NodeIP: "10.0.0.1", ServerURL: "https://10.0.0.2:6443", Token: "from-environment",
		ClusterCIDR: "10.42.0.0/16", ServiceCIDR: "10.43.0.0/16", ClusterDNS: "10.43.0.10", FlannelBackend: "vxlan", KubeconfigMode: "0600",
		PauseImage: "docker.io/rancher/mirrored-pause:3.6", StoragePath: "/var/lib/rancher/k3s/storage",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAgentTokenFile(t *testing.T) {
	directory := t.TempDir()
	file := write(t, filepath.Join(directory, "agent-token"), "agents\n")
	base := write(t, filepath.Join(directory, "config.yaml"), "token: servers\nagent-token-file: "+file+"\n")
	got, err := loadConfig(base, []string{"--node-ip", "10.0.0.1"})
	if err != nil || got.Token != "servers" || got.AgentToken != "agents" {
		t.Errorf("%+v %v", got, err)
	}
	t.Setenv("K3S_AGENT_TOKEN_FILE", file)
	got, err = loadConfig(filepath.Join(directory, "absent.yaml"), []string{"--node-ip", "10.0.0.1"})
	if err != nil || got.AgentToken != "agents" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestLoadConfigRefusals(t *testing.T) {
	for _, test := range []struct {
		name, file string
		args       []string
		want       string
	}{
		{"unknown key", "tls-sans: [a]", nil, `FILE: unknown key "tls-sans"; this stand-in knows: `},
		{"unknown flag", "", []string{"--colour", "red"}, `unknown flag "--colour"; this stand-in knows: `},
		{"flag without value", "", []string{"--token"}, `flag --token needs a value`},
		{"list for one value", "node-name: [a, b]", nil, `FILE: key "node-name" takes one value, not a list`},
		{"not a boolean", "cluster-init: perhaps", nil, `FILE: key "cluster-init": "perhaps" is not true or false`},
		{"not a network", "cluster-cidr: 10.42", nil, `key "cluster-cidr": "10.42" is not a network such as 10.42.0.0/16`},
		{"mode without quotes", "write-kubeconfig-mode: 0600", nil, `key "write-kubeconfig-mode": "384" is not an octal mode such as "0600" (in quotes)`},
		{"backend", "flannel-backend: wireguard-native", nil, `key "flannel-backend": "wireguard-native" is not one of none, host-gw, vxlan (both others are routes between hosts here)`},
		{"token file", "token-file: /nonexistent", nil, `token file: open /nonexistent: no such file or directory`},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "config.yaml"), test.file)
			_, err := loadConfig(file, append([]string{"--node-ip", "10.0.0.1"}, test.args...))
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), file, "FILE")
			if head, _, list := strings.Cut(got, "this stand-in knows: "); list {
				got = head + "this stand-in knows: "
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestImageGoesToTheDefaultRegistry(t *testing.T) {
	c := &config{ImageRegistry: "10.0.0.9:5000"}
	if got := c.image("image: docker.io/rancher/a:1\nimage: docker.io/rancher/b:2"); got != "image: 10.0.0.9:5000/rancher/a:1\nimage: 10.0.0.9:5000/rancher/b:2" {
		t.Error(got)
	}
}

func TestWriteFileSetsTheModeOfAnExistingFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, mode := range []os.FileMode{0o644, 0o600} {
		if err := writeFile(file, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%v %v", info.Mode(), err)
		}
	}
}
