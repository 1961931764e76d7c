// The control plane: etcd, API server, controller manager and scheduler, with the files that k3s writes.

package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AdminFile is the kubeconfig of the cluster's administrator.
const AdminFile = "/etc/rancher/k3s/k3s.yaml"

const (
	localServer  = "https://127.0.0.1:6443"
	apiLimit     = 3 * time.Minute
	etcdEndpoint = "https://127.0.0.1:2379"

	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
)

// startServer brings the control plane up, then the node on it.
func startServer(s *supervisor, c *config) error {
	server := filepath.Join(c.DataDir, "server")
	if err := errors.Join(os.MkdirAll(server, 0o700), os.Chmod(server, 0o700), os.MkdirAll(filepath.Join(server, "manifests"), 0o700),
		os.MkdirAll("/run/k3s", 0o755)); err != nil {
		return err
	}
	endpoint := ""
	if c.ServerURL != "" && !hasEtcd(c) {
		var err error
		if endpoint, err = joinCluster(c); err != nil {
			return err
		}
	}
	keys, err := ensurePKI(c)
	if err != nil {
		return err
	}
	members := c.NodeName + "=" + peerURL(c.NodeIP)
	if endpoint != "" {
		if members, err = joinEtcd(c, keys, endpoint); err != nil {
			return err
		}
	}
	passwords, err := ensureTokens(c, keys)
	if err != nil {
		return err
	}
	kubeconfigs := map[string]string{}
	for name, client := range map[string]*pair{"controller": keys.controllerManager, "scheduler": keys.scheduler} {
		kubeconfigs[name] = filepath.Join(server, "cred", name+".kubeconfig")
		if err := writeKubeconfig(kubeconfigs[name], keys.serverCA, client, 0o600); err != nil {
			return err
		}
	}
	mode, _ := strconv.ParseUint(c.KubeconfigMode, 8, 32)
	if err := writeKubeconfig(AdminFile, keys.serverCA, keys.admin, os.FileMode(mode)); err != nil {
		return err
	}

	logs := func(name string) string { return filepath.Join(server, "logs", name+".log") }
	store, err := storeDirectory(c)
	if err != nil {
		return err
	}
	s.start(&child{name: "etcd", args: etcdArgs(c, keys, store, members, endpoint != ""), logFile: logs("etcd")})
	s.start(&child{name: "kube-apiserver", args: apiServerArgs(c, keys), logFile: logs("kube-apiserver")})
	if err := waitReady(keys); err != nil {
		return fmt.Errorf("%w\n%s", err, logTail(logs("kube-apiserver"), 5))
	}
	s.start(&child{name: "kube-controller-manager", args: controllerManagerArgs(c, keys, kubeconfigs["controller"]), logFile: logs("kube-controller-manager")})
	s.start(&child{name: "kube-scheduler", args: append([]string{"--kubeconfig=" + kubeconfigs["scheduler"], "--authentication-kubeconfig=" + kubeconfigs["scheduler"],
		"--authorization-kubeconfig=" + kubeconfigs["scheduler"], "--bind-address=127.0.0.1", "--leader-elect=" + strconv.FormatBool(c.shared())}, dashed(c.SchedulerArgs)...), logFile: logs("kube-scheduler")})
	objects := joinManifest(c, keys.clientCA.certPEM(), passwords)
	if c.shared() {
		bootstrap, err := bootstrapManifest(c)
		if err != nil {
			return err
		}
		objects = append(objects, bootstrap...)
	}
	// The first start races with the API server's own namespaces and roles.
	if err := waitFor("join objects", time.Minute, func() error { return apply(AdminFile, objects) }); err != nil {
		return err
	}
	if err := writeManifests(c, AdminFile); err != nil {
		return err
	}
	go runManifests(c, AdminFile)
	go repeat("serving certificates", approveInterval, func() error { return approveServing(AdminFile) })
	if c.shared() {
		go repeat("members of etcd", memberInterval, func() error { return removeLeftMembers(c, keys, AdminFile) })
	}
	logf("API server is ready at %s", localServer)
	notifyReady()
	if err := startAgent(s, c, localServer, passwords[0]); err != nil {
		return err
	}
	return labelControlPlane(c)
}

// ensureTokens settles the passwords (server's first, agents' second where it differs) and writes the token files.
func ensureTokens(c *config, keys *pki) ([]string, error) {
	server := filepath.Join(c.DataDir, "server")
	hash, password, err := splitToken(c.Token)
	if err != nil {
		return nil, err
	}
	authority := keys.serverCA.certPEM()
	old, err := os.ReadFile(filepath.Join(server, "token"))
	if err == nil {
		_, stored, err := splitToken(strings.TrimSpace(string(old)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(server, "token"), err)
		}
		if password != "" && password != stored {
			return nil, fmt.Errorf("token differs from the one this cluster was made with (%s); give that one, or uninstall first", filepath.Join(server, "token"))
		}
		password = stored
	} else if !os.IsNotExist(err) {
		return nil, err
	}
	if password == "" {
		password = strings.ToLower(rand.Text())
	}
	if full := fullToken(authority, "server", password); hash != "" && !strings.HasPrefix(full, "K10"+hash+"::") {
		return nil, fmt.Errorf("token names another certificate authority than that of this server; give the bare password")
	}
	passwords := []string{password}
	token := fullToken(authority, "server", password)
	nodeToken := token
	if _, agentPassword, err := splitToken(c.AgentToken); err != nil {
		return nil, fmt.Errorf("agent-token: %w", err)
	} else if agentPassword != "" && agentPassword != password {
		passwords = append(passwords, agentPassword)
		nodeToken = fullToken(authority, "node", agentPassword)
	}
	if err := errors.Join(writeFile(filepath.Join(server, "token"), []byte(token+"\n"), 0o600),
		writeFile(filepath.Join(server, "agent-token"), []byte(nodeToken+"\n"), 0o600)); err != nil {
		return nil, err
	}
	target := "token"
	if len(passwords) > 1 {
		target = "agent-token"
	}
	os.Remove(filepath.Join(server, "node-token"))
	return passwords, os.Symlink(filepath.Join(server, target), filepath.Join(server, "node-token"))
}

func writeKubeconfig(file string, authority, client *pair, mode os.FileMode) error {
	user, err := userOf(client)
	if err != nil {
		return err
	}
	return writeFile(file, kubeconfig(localServer, authority.certPEM(), user), mode)
}

// labelControlPlane marks the node as a server; the kubelet may not set these labels itself.
func labelControlPlane(c *config) error {
	client, err := clientFor(AdminFile)
	if err != nil {
		return err
	}
	patch := []byte(`{"metadata":{"labels":{"` + controlPlaneLabel + `":"true"}}}`)
	if c.shared() {
		patch = []byte(`{"metadata":{"finalizers":["` + memberFinalizer + `"],"labels":{"` + controlPlaneLabel + `":"true","node-role.kubernetes.io/etcd":"true"}}}`)
	}
	_, err = client.CoreV1().Nodes().Patch(context.Background(), c.NodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

func etcdArgs(c *config, keys *pki, store, members string, joining bool) []string {
	state := "new"
	if joining {
		state = "existing"
	}
	cert, key, authority := keys.etcd.path+".crt", keys.etcd.path+".key", keys.etcdCA.path+".crt"
	return append([]string{"--name=" + c.NodeName, "--data-dir=" + store, "--unsafe-no-fsync",
		"--listen-client-urls=" + etcdEndpoint + ",https://" + c.NodeIP + ":2379", "--advertise-client-urls=https://" + c.NodeIP + ":2379",
		"--listen-peer-urls=" + peerURL(c.NodeIP), "--initial-advertise-peer-urls=" + peerURL(c.NodeIP),
		"--initial-cluster=" + members, "--initial-cluster-state=" + state, "--client-cert-auth", "--peer-client-cert-auth",
		"--cert-file=" + cert, "--key-file=" + key, "--trusted-ca-file=" + authority,
		"--peer-cert-file=" + cert, "--peer-key-file=" + key, "--peer-trusted-ca-file=" + authority,
		"--auto-compaction-retention=1h", "--logger=zap", "--log-level=warn"}, dashed(c.EtcdArgs)...)
}

func apiServerArgs(c *config, keys *pki) []string {
	return append([]string{"--advertise-address=" + c.NodeIP, "--secure-port=6443", "--allow-privileged=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth=true",
		"--client-ca-file=" + keys.clientCA.path + ".crt", "--tls-cert-file=" + keys.serving.path + ".crt", "--tls-private-key-file=" + keys.serving.path + ".key",
		"--etcd-servers=" + etcdEndpoint, "--etcd-cafile=" + keys.etcdCA.path + ".crt", "--etcd-certfile=" + keys.etcd.path + ".crt", "--etcd-keyfile=" + keys.etcd.path + ".key",
		"--kubelet-client-certificate=" + keys.apiServer.path + ".crt", "--kubelet-client-key=" + keys.apiServer.path + ".key",
		"--kubelet-certificate-authority=" + keys.serverCA.path + ".crt",
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--enable-aggregator-routing=true", "--proxy-client-cert-file=" + keys.frontProxy.path + ".crt", "--proxy-client-key-file=" + keys.frontProxy.path + ".key",
		"--requestheader-client-ca-file=" + keys.frontProxyCA.path + ".crt", "--requestheader-allowed-names=system:auth-proxy",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-account-key-file=" + keys.serviceKey,
		"--service-account-signing-key-file=" + keys.serviceKey, "--service-cluster-ip-range=" + c.ServiceCIDR, "--profiling=false"}, dashed(c.APIServerArgs)...)
}

func controllerManagerArgs(c *config, keys *pki, kubeconfigFile string) []string {
	return append([]string{"--kubeconfig=" + kubeconfigFile, "--authentication-kubeconfig=" + kubeconfigFile, "--authorization-kubeconfig=" + kubeconfigFile,
		"--bind-address=127.0.0.1", "--leader-elect=" + strconv.FormatBool(c.shared()), "--controllers=*,tokencleaner", "--use-service-account-credentials=true",
		"--allocate-node-cidrs=true", "--cluster-cidr=" + c.ClusterCIDR, "--service-cluster-ip-range=" + c.ServiceCIDR,
		"--cluster-signing-kubelet-client-cert-file=" + keys.clientCA.path + ".crt", "--cluster-signing-kubelet-client-key-file=" + keys.clientCA.path + ".key",
		"--cluster-signing-kubelet-serving-cert-file=" + keys.serverCA.path + ".crt", "--cluster-signing-kubelet-serving-key-file=" + keys.serverCA.path + ".key",
		"--cluster-signing-kube-apiserver-client-cert-file=" + keys.clientCA.path + ".crt", "--cluster-signing-kube-apiserver-client-key-file=" + keys.clientCA.path + ".key",
		"--cluster-signing-legacy-unknown-cert-file=" + keys.clientCA.path + ".crt", "--cluster-signing-legacy-unknown-key-file=" + keys.clientCA.path + ".key",
		"--root-ca-file=" + keys.serverCA.path + ".crt", "--service-account-private-key-file=" + keys.serviceKey,
		"--requestheader-client-ca-file=" + keys.frontProxyCA.path + ".crt", "--profiling=false",
		"--flex-volume-plugin-dir=" + volumePlugins(c)}, dashed(c.ControllerManagerArgs)...)
}
