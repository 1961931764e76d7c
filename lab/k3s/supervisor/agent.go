// The node: containerd, kubelet and kube-proxy, and how they get their credentials from the server's token.

package supervisor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	joinLimit    = 5 * time.Minute
	runtimeLimit = time.Minute
	nodeLimit    = 3 * time.Minute
	// A server that has just started may not have read its tokens yet; a wrong token stays wrong.
	refusalsBelieved = 3
)

// startAgent starts the node's components and returns when the node is registered.
func startAgent(s *supervisor, c *config, server, token string) error {
	agent := filepath.Join(c.DataDir, "agent")
	authority, bearer, err := join(server, token)
	if err != nil {
		return err
	}
	authorityFile := filepath.Join(agent, "server-ca.crt")
	if err := writeFile(authorityFile, authority, 0o644); err != nil {
		return err
	}
	bootstrapFile, kubeletKubeconfig := filepath.Join(agent, "bootstrap.kubeconfig"), filepath.Join(agent, "kubelet.kubeconfig")
	if err := writeFile(bootstrapFile, kubeconfig(server, authority, "{token: "+bearer+"}"), 0o600); err != nil {
		return err
	}
	if err := refreshKubeconfig(kubeletKubeconfig, server, authority); err != nil {
		return err
	}
	clientCAFile := filepath.Join(agent, "client-ca.crt")
	if err := fetchClusterConfig(c, bootstrapFile, clientCAFile); err != nil {
		return err
	}
	containerdFile, err := writeContainerd(c)
	if err != nil {
		return err
	}
	s.start(&child{name: "containerd", path: "/usr/bin/containerd", args: []string{"--config", containerdFile}, logFile: filepath.Join(agent, "logs/containerd.log")})
	if err := waitFor("containerd", runtimeLimit, func() error {
		return run("ctr", "--address", containerdSocket, "version")
	}); err != nil {
		return fmt.Errorf("%w\n%s", err, logTail(filepath.Join(agent, "logs/containerd.log"), 5))
	}
	importImages(c)

	cgroupRoot, err := ensureCgroupRoot(c)
	if err != nil {
		return err
	}
	resolvers, err := resolvConf(agent)
	if err != nil {
		return err
	}
	var openFiles syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &openFiles); err != nil {
		return err
	}
	kubeletFile, proxyFile := filepath.Join(agent, "etc/kubelet.yaml"), filepath.Join(agent, "etc/kube-proxy.yaml")
	if err := errors.Join(
		writeFile(kubeletFile, []byte(kubeletConfig(c, clientCAFile, resolvers, cgroupRoot, openFiles.Max)), 0o600),
		writeFile(proxyFile, []byte(proxyConfig(c, kubeletKubeconfig)), 0o600)); err != nil {
		return err
	}
	s.start(&child{name: "kubelet", args: kubeletArgs(c, kubeletFile, bootstrapFile, kubeletKubeconfig), logFile: filepath.Join(agent, "logs/kubelet.log")})
	if err := waitFor("node "+c.NodeName, nodeLimit, func() error {
		client, err := clientFor(kubeletKubeconfig)
		if err != nil {
			return err
		}
		_, err = client.CoreV1().Nodes().Get(context.Background(), c.NodeName, metav1.GetOptions{})
		return err
	}); err != nil {
		return fmt.Errorf("%w\n%s", err, logTail(filepath.Join(agent, "logs/kubelet.log"), 5))
	}
	if !c.DisableKubeProxy {
		s.start(&child{name: "kube-proxy", args: append([]string{"--config=" + proxyFile, "--hostname-override=" + c.NodeName}, dashed(c.ProxyArgs)...), logFile: filepath.Join(agent, "logs/kube-proxy.log")})
	}
	if c.FlannelBackend != "none" {
		go runNetwork(c, kubeletKubeconfig)
	}
	return nil
}

// join fetches the server's authority, checks it against the token and the token against the server.
func join(server, token string) (authority []byte, bearer string, err error) {
	address, err := url.Parse(server)
	if err != nil || address.Scheme != "https" || address.Host == "" {
		return nil, "", fmt.Errorf("server %q is not a URL such as https://10.0.0.1:6443", server)
	}
	if address.Port() == "" {
		address.Host += ":6443"
	}
	hash, password, err := splitToken(token)
	if err != nil {
		return nil, "", err
	}
	if password == "" {
		return nil, "", fmt.Errorf("no token: set token, token-file or K3S_TOKEN to what <data-dir>/server/token of the server says")
	}
	id, secret := bootstrapToken(password)
	refused := 0
	var refusal error
	err = waitFor(server, joinLimit, func() error {
		if authority, refusal = fetchAuthority(address.Host, hash); authority == nil {
			return refusal
		}
		if refusal != nil {
			return nil
		}
		status, err := checkToken(server, authority, id+"."+secret)
		if err != nil {
			return err
		}
		if status == http.StatusUnauthorized {
			if refused++; refused < refusalsBelieved {
				time.Sleep(time.Second)
				return fmt.Errorf("token refused")
			}
			refusal = fmt.Errorf("token is not accepted by %s; copy <data-dir>/server/token of that server", server)
			return nil
		}
		if status != http.StatusOK {
			return fmt.Errorf("HTTP status %d", status)
		}
		return nil
	})
	if err == nil {
		err = refusal
	}
	return authority, id + "." + secret, err
}

// fetchAuthority takes the authority from the server's certificate chain. With a hash it must match; without one it
// is trusted at first sight, as in k3s.
func fetchAuthority(host, hash string) (authority []byte, err error) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	connection, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	chain := connection.(*tls.Conn).ConnectionState().PeerCertificates
	last := chain[len(chain)-1]
	authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last.Raw})
	if found := fmt.Sprintf("%x", sha256.Sum256(authority)); hash != "" && found != hash {
		return authority, fmt.Errorf("token is not accepted: the certificate authority of https://%s has hash %s, the token says %s", host, found, hash)
	}
	return authority, nil
}

// checkToken asks the API for what every authenticated caller may read; a bad token shows as 401.
func checkToken(server string, authority []byte, bearer string) (status int, err error) {
	if status, err = getStatus(server+"/readyz", authority, ""); err != nil || status != http.StatusOK {
		return 0, errors.Join(err, fmt.Errorf("the API server is not ready (HTTP status %d)", status))
	}
	return getStatus(server+"/version", authority, bearer)
}

func getStatus(address string, authority []byte, bearer string) (status int, err error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := (&http.Client{Timeout: 10 * time.Second, Transport: transport}).Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return response.StatusCode, nil
}

// refreshKubeconfig drops a kubelet kubeconfig that belongs to another server or authority; the kubelet then asks
// for a new certificate.
func refreshKubeconfig(file, server string, authority []byte) error {
	stamp := fmt.Sprintf("%s %x\n", server, sha256.Sum256(authority))
	if old, err := os.ReadFile(file + ".server"); err == nil && string(old) == stamp {
		return nil
	}
	for _, stale := range []string{file, "/var/lib/kubelet/pki/kubelet-client-current.pem"} {
		if err := os.Remove(stale); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return writeFile(file+".server", []byte(stamp), 0o600)
}

// fetchClusterConfig takes over what the server decides for all nodes and stores the authority of client
// certificates, by which the kubelet knows the API server.
func fetchClusterConfig(c *config, bootstrapKubeconfig, clientCAFile string) error {
	client, err := clientFor(bootstrapKubeconfig)
	if err != nil {
		return err
	}
	return waitFor("ConfigMap kube-system/"+clusterConfigMap, time.Minute, func() error {
		found, err := client.CoreV1().ConfigMaps("kube-system").Get(context.Background(), clusterConfigMap, metav1.GetOptions{})
		if err != nil {
			return err
		}
		c.ClusterCIDR, c.ClusterDNS, c.FlannelBackend = found.Data["cluster-cidr"], found.Data["cluster-dns"], found.Data["flannel-backend"]
		c.DisableKubeProxy = found.Data["disable-kube-proxy"] == "true"
		return writeFile(clientCAFile, []byte(found.Data["client-ca.crt"]), 0o644)
	})
}

// ensureCgroupRoot makes a control group for the node's pods. Hosts of the lab share one hierarchy (cgroup v1), and a
// kubelet ends every process that it finds in a pod group which it does not know: each node needs its own.
func ensureCgroupRoot(c *config) (string, error) {
	const hierarchies = "/sys/fs/cgroup"
	if _, err := os.Stat(hierarchies + "/cgroup.controllers"); err == nil {
		return "/", nil // cgroup v2: the host has a hierarchy of its own
	}
	name := "/k3s-" + c.NodeName
	entries, err := os.ReadDir(hierarchies)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if !entry.IsDir() || entry.Name() == "unified" {
			continue
		}
		if err := os.MkdirAll(filepath.Join(hierarchies, entry.Name(), name), 0o755); err != nil {
			return "", fmt.Errorf("control group of the pods: %w", err)
		}
	}
	// For the uninstall script.
	return name, writeFile(filepath.Join(c.DataDir, "agent/cgroup-root"), []byte(name+"\n"), 0o644)
}

// resolvConf names the file that gives pods their resolvers. A host without any gives them a file that names none;
// it may not be empty, or containerd copies the host's /etc/resolv.conf, which need not exist.
func resolvConf(agent string) (string, error) {
	if text, err := os.ReadFile("/etc/resolv.conf"); err == nil && strings.Contains(string(text), "nameserver") {
		return "/etc/resolv.conf", nil
	}
	file := filepath.Join(agent, "etc/resolv.conf")
	return file, writeFile(file, []byte("options timeout:2\n"), 0o644)
}

func kubeletArgs(c *config, file, bootstrapFile, kubeconfigFile string) []string {
	args := []string{"--config=" + file, "--bootstrap-kubeconfig=" + bootstrapFile, "--kubeconfig=" + kubeconfigFile,
		"--hostname-override=" + c.NodeName, "--node-ip=" + c.NodeIP,
		// Where cAdvisor learns which pod a control group belongs to, as k3s tells it.
		"--containerd=" + containerdSocket}
	if len(c.NodeLabels) > 0 {
		args = append(args, "--node-labels="+strings.Join(c.NodeLabels, ","))
	}
	if len(c.NodeTaints) > 0 {
		args = append(args, "--register-with-taints="+strings.Join(c.NodeTaints, ","))
	}
	return append(args, dashed(c.KubeletArgs)...)
}

// kubeletConfig is made for hosts with cgroup v1, without CAP_SYS_RESOURCE and with a disk that others fill too.
func kubeletConfig(c *config, clientCAFile, resolvConf, cgroupRoot string, maxOpenFiles uint64) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: %q
clusterDNS: [%q]
clusterDomain: cluster.local
containerRuntimeEndpoint: "unix://%s"
evictionHard: {"memory.available": "100Mi", "nodefs.available": "1%%", "imagefs.available": "1%%"}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
maxOpenFiles: %d
oomScoreAdj: 0
resolvConf: %q
rotateCertificates: true
serializeImagePulls: false
serverTLSBootstrap: true
syncFrequency: 10s
volumePluginDir: %q
`, clientCAFile, cgroupRoot, c.ClusterDNS, containerdSocket, maxOpenFiles, resolvConf, volumePlugins(c))
}

// volumePlugins lies in the data directory; the default would leave a directory in /usr/libexec.
func volumePlugins(c *config) string {
	return filepath.Join(c.DataDir, "agent/libexec/kubernetes/kubelet-plugins/volume/exec")
}

// proxyConfig leaves the host's connection tracking limits alone: they cannot be set there.
func proxyConfig(c *config, kubeconfigFile string) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %q}
clusterCIDR: %q
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
mode: iptables
oomScoreAdj: 0
`, kubeconfigFile, c.ClusterCIDR)
}

// dashed turns k3s's "name=value" arguments into flags.
func dashed(args []string) []string {
	flags := make([]string, len(args))
	for i, arg := range args {
		flags[i] = "--" + strings.TrimLeft(arg, "-")
	}
	return flags
}
