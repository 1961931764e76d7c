// The pod network: a CNI configuration for the node's own pod range and routes to those of the other nodes. Pods
// are joined by ptp, not by a bridge, so that every packet is routed and Services work without br_netfilter.

package supervisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	routeInterval   = 5 * time.Second
	firstRangeLimit = 10 * time.Second
	routeProtocol   = "86" // marks the routes that are ours, so that stale ones can be found
)

func clientFor(kubeconfig string) (*kubernetes.Clientset, error) {
	restConfig, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	restConfig.Timeout = 10 * time.Second
	return kubernetes.NewForConfig(restConfig)
}

// runNetwork keeps the CNI configuration, the masquerading and the routes right for as long as the program runs.
func runNetwork(c *config, kubeconfig string) {
	last, began := "", time.Now()
	for {
		err := syncNetwork(c, kubeconfig)
		if err == nil {
			last = ""
			time.Sleep(routeInterval)
			continue
		}
		// A new node is given its pod range a moment after it registered.
		if time.Since(began) > firstRangeLimit && err.Error() != last {
			logf("pod network: %v", err)
			last = err.Error()
		}
		time.Sleep(time.Second)
	}
}

func syncNetwork(c *config, kubeconfig string) error {
	client, err := clientFor(kubeconfig)
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	own, routes := networkPlan(nodes.Items, c.NodeName)
	if own == "" {
		return fmt.Errorf("node %s has no pod range yet", c.NodeName)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	if err := ensureMasquerade(own, c.ClusterCIDR); err != nil {
		return err
	}
	if err := syncRoutes(routes); err != nil {
		return err
	}
	file := filepath.Join(c.DataDir, "agent/etc/cni/net.d/10-k3s.conflist")
	text := cniConfig(own)
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	// Last, since containerd reports the network as ready as soon as this file exists.
	return writeFile(file, []byte(text), 0o600)
}

// networkPlan is the node's own pod range and, for each other node that has one, range -> address.
func networkPlan(nodes []corev1.Node, nodeName string) (own string, routes map[string]string) {
	routes = map[string]string{}
	for _, node := range nodes {
		if node.Name == nodeName {
			own = node.Spec.PodCIDR
			continue
		}
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP && node.Spec.PodCIDR != "" && !strings.Contains(address.Address, ":") {
				routes[node.Spec.PodCIDR] = address.Address
				break
			}
		}
	}
	return own, routes
}

func cniConfig(podCIDR string) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "k3s",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "ranges": [[{ "subnet": %q }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "dataDir": "/var/lib/cni/networks"
      }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
`, podCIDR)
}

// ensureMasquerade hides pod addresses from what lies outside the cluster and nothing else, so that pods of other
// nodes see who calls them.
func ensureMasquerade(podCIDR, clusterCIDR string) error {
	rule := []string{"POSTROUTING", "-s", podCIDR, "!", "-d", clusterCIDR, "-m", "comment", "--comment", "k3s-masquerade", "-j", "MASQUERADE"}
	if exec.Command("iptables", append([]string{"-w", "-t", "nat", "-C"}, rule...)...).Run() == nil {
		return nil
	}
	return run("iptables", append([]string{"-w", "-t", "nat", "-A"}, rule...)...)
}

func syncRoutes(wanted map[string]string) error {
	output, err := exec.Command("ip", "-4", "route", "show", "proto", routeProtocol).Output()
	if err != nil {
		return fmt.Errorf("ip route show: %w", err)
	}
	present := map[string]string{}
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[1] == "via" {
			present[fields[0]] = fields[2]
		}
	}
	for _, network := range sortedKeys(wanted) {
		if present[network] != wanted[network] {
			if err := run("ip", "route", "replace", network, "via", wanted[network], "proto", routeProtocol); err != nil {
				return err
			}
		}
	}
	for _, network := range sortedKeys(present) {
		if wanted[network] == "" {
			if err := run("ip", "route", "del", network, "proto", routeProtocol); err != nil {
				return err
			}
		}
	}
	return nil
}

// run runs a program and puts what it said into the error.
func run(program string, args ...string) error {
	if output, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
