// Reading the configuration: config.yaml, config.yaml.d, flags and environment, with the names that k3s uses.

package supervisor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

const configFile = "/etc/rancher/k3s/config.yaml"

var shortFlags = map[string]string{"s": "server", "t": "token", "d": "data-dir"}

// config is the configuration of one `k3s server` or `k3s agent`. Extra arguments are "name=value" as k3s takes them.
type config struct {
	DataDir, NodeName, NodeIP, NodeExternalIP, ServerURL string
	Token, AgentToken                                    string
	ClusterCIDR, ServiceCIDR, ClusterDNS                 string
	FlannelBackend, KubeconfigMode, ImageRegistry        string
	PauseImage, StoragePath                              string
	TLSSANs, Disable, NodeLabels, NodeTaints             []string
	KubeletArgs, ProxyArgs, APIServerArgs, EtcdArgs      []string
	ControllerManagerArgs, SchedulerArgs                 []string
	DisableKubeProxy, ClusterInit                        bool
}

// setting says where a key's values go; exactly one of text, list and flag is set, none for a key without effect here.
type setting struct {
	text *string
	list *[]string
	flag *bool
}

func (c *config) settings(tokenFile, agentTokenFile *string) map[string]setting {
	return map[string]setting{
		"data-dir": {text: &c.DataDir}, "node-name": {text: &c.NodeName}, "node-ip": {text: &c.NodeIP},
		"node-external-ip": {text: &c.NodeExternalIP}, "server": {text: &c.ServerURL}, "token": {text: &c.Token},
		"token-file": {text: tokenFile}, "agent-token": {text: &c.AgentToken}, "agent-token-file": {text: agentTokenFile},
		"cluster-cidr": {text: &c.ClusterCIDR}, "service-cidr": {text: &c.ServiceCIDR}, "cluster-dns": {text: &c.ClusterDNS},
		"flannel-backend": {text: &c.FlannelBackend}, "write-kubeconfig-mode": {text: &c.KubeconfigMode},
		"system-default-registry": {text: &c.ImageRegistry}, "pause-image": {text: &c.PauseImage},
		"default-local-storage-path": {text: &c.StoragePath}, "tls-san": {list: &c.TLSSANs}, "disable": {list: &c.Disable},
		"node-label": {list: &c.NodeLabels}, "node-taint": {list: &c.NodeTaints}, "kubelet-arg": {list: &c.KubeletArgs},
		"kube-proxy-arg": {list: &c.ProxyArgs}, "kube-apiserver-arg": {list: &c.APIServerArgs}, "etcd-arg": {list: &c.EtcdArgs},
		"kube-controller-manager-arg": {list: &c.ControllerManagerArgs}, "kube-scheduler-arg": {list: &c.SchedulerArgs},
		"disable-kube-proxy": {flag: &c.DisableKubeProxy}, "cluster-init": {flag: &c.ClusterInit},
		// Keys of k3s that change nothing here: no policy controller, helm controller or cloud controller is built in.
		"disable-network-policy": {}, "disable-helm-controller": {}, "disable-cloud-controller": {},
	}
}

// loadConfig merges the files of base and base+".d", then the arguments; a later value wins, "key+" appends to a list.
func loadConfig(base string, args []string) (*config, error) {
	c := &config{
		DataDir: "/var/lib/rancher/k3s", ClusterCIDR: "10.42.0.0/16", ServiceCIDR: "10.43.0.0/16", FlannelBackend: "vxlan",
		KubeconfigMode: "0600", PauseImage: "docker.io/rancher/mirrored-pause:3.6",
		Token: os.Getenv("K3S_TOKEN"), ServerURL: os.Getenv("K3S_URL"), AgentToken: os.Getenv("K3S_AGENT_TOKEN"),
	}
	if directory := os.Getenv("K3S_DATA_DIR"); directory != "" {
		c.DataDir = directory
	}
	tokenFile, agentTokenFile := os.Getenv("K3S_TOKEN_FILE"), os.Getenv("K3S_AGENT_TOKEN_FILE")
	settings := c.settings(&tokenFile, &agentTokenFile)

	files, _ := filepath.Glob(filepath.Join(base+".d", "*.yaml"))
	sort.Strings(files)
	for _, file := range append([]string{base}, files...) {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var values map[string]any
		if err := yaml.Unmarshal(text, &values); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, key := range sortedKeys(values) {
			if err := setKey(settings, key, values[key]); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	if err := applyFlags(settings, args); err != nil {
		return nil, err
	}
	for file, target := range map[string]*string{tokenFile: &c.Token, agentTokenFile: &c.AgentToken} {
		if file == "" || *target != "" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		*target = strings.TrimSpace(string(text))
	}
	return c, c.complete()
}

// applyFlags reads `--key value`, `--key=value` and the bare `--key` of a boolean; the first flag of a list key
// replaces what the files say, as in k3s.
func applyFlags(settings map[string]setting, args []string) error {
	given := map[string][]string{}
	for i := 0; i < len(args); i++ {
		key, value, inline := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if long, short := shortFlags[key]; short {
			key = long
		}
		target, known := settings[key]
		if !strings.HasPrefix(args[i], "-") || !known {
			return unknownKey(settings, "flag", args[i])
		}
		if !inline && target.text == nil && target.list == nil {
			value = "true"
		} else if !inline {
			if i++; i == len(args) {
				return fmt.Errorf("flag --%s needs a value", key)
			}
			value = args[i]
		}
		given[key] = append(given[key], value)
	}
	for _, key := range sortedKeys(given) {
		values := make([]any, len(given[key]))
		for i, value := range given[key] {
			values[i] = value
		}
		var value any = values
		if settings[key].list == nil {
			value = values[len(values)-1]
		}
		if err := setKey(settings, key, value); err != nil {
			return err
		}
	}
	return nil
}

func setKey(settings map[string]setting, key string, value any) error {
	name, add := strings.CutSuffix(key, "+")
	target, known := settings[name]
	if !known {
		return unknownKey(settings, "key", name)
	}
	values, isList := value.([]any)
	switch {
	case value == nil:
	case target.list != nil:
		if !isList {
			values = nil
			for _, part := range strings.Split(fmt.Sprint(value), ",") {
				values = append(values, strings.TrimSpace(part))
			}
		}
		if !add {
			*target.list = nil
		}
		for _, item := range values {
			*target.list = append(*target.list, fmt.Sprint(item))
		}
	case isList:
		return fmt.Errorf("key %q takes one value, not a list", name)
	case target.text != nil:
		*target.text = fmt.Sprint(value)
	case target.flag != nil:
		on, err := strconv.ParseBool(fmt.Sprint(value))
		if err != nil {
			return fmt.Errorf("key %q: %q is not true or false", name, fmt.Sprint(value))
		}
		*target.flag = on
	}
	return nil
}

func unknownKey(settings map[string]setting, kind, name string) error {
	return fmt.Errorf("unknown %s %q; this stand-in knows: %s", kind, name, strings.Join(sortedKeys(settings), ", "))
}

// complete checks the values and fills in what follows from the host.
func (c *config) complete() error {
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		c.NodeName = host
	}
	c.NodeName = strings.ToLower(c.NodeName)
	if c.NodeIP == "" {
		c.NodeIP = hostAddress()
	}
	for key, value := range map[string]string{"cluster-cidr": c.ClusterCIDR, "service-cidr": c.ServiceCIDR} {
		if _, _, err := net.ParseCIDR(value); err != nil {
			return fmt.Errorf("key %q: %q is not a network such as 10.42.0.0/16", key, value)
		}
	}
	if net.ParseIP(c.NodeIP) == nil {
		return fmt.Errorf("key \"node-ip\": %q is not an address (the host has no default route and none was given)", c.NodeIP)
	}
	if c.ClusterDNS == "" {
		c.ClusterDNS = addressAt(c.ServiceCIDR, 10)
	}
	if c.StoragePath == "" {
		c.StoragePath = filepath.Join(c.DataDir, "storage")
	}
	if _, err := strconv.ParseUint(c.KubeconfigMode, 8, 32); err != nil {
		return fmt.Errorf("key \"write-kubeconfig-mode\": %q is not an octal mode such as \"0600\" (in quotes)", c.KubeconfigMode)
	}
	if !slices.Contains([]string{"none", "host-gw", "vxlan"}, c.FlannelBackend) {
		return fmt.Errorf("key \"flannel-backend\": %q is not one of none, host-gw, vxlan (both others are routes between hosts here)", c.FlannelBackend)
	}
	return nil
}

// image takes the images that a text of this stand-in names from system-default-registry where one is set.
func (c *config) image(reference string) string {
	if c.ImageRegistry == "" {
		return reference
	}
	return strings.ReplaceAll(reference, "docker.io/", c.ImageRegistry+"/")
}

// hostAddress is the address that the host would use towards the world; no packet is sent.
func hostAddress() string {
	if connection, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		defer connection.Close()
		return connection.LocalAddr().(*net.UDPAddr).IP.String()
	}
	return ""
}

// addressAt is the address number `offset` of an IPv4 network.
func addressAt(cidr string, offset byte) string {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil || network.IP.To4() == nil {
		return ""
	}
	address := slices.Clone(network.IP.To4())
	address[3] += offset
	return address.String()
}

func sortedKeys[V any](values map[string]V) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
