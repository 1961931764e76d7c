// More than one server: a server that was started with cluster-init publishes its authorities for servers that hold
// the token; the next one takes them over and joins etcd.

package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	bootstrapSecret = "k3s-server-bootstrap"
	addLimit        = time.Minute
	memberInterval  = 2 * time.Second
	memberFinalizer = "k3s.llmeval.dev/etcd-member" // holds a node until its server has left etcd
)

// sharedFiles are the same on all servers, below <data-dir>/server/tls.
var sharedFiles = []string{"server-ca.crt", "server-ca.key", "client-ca.crt", "client-ca.key", "request-header-ca.crt", "request-header-ca.key",
	"etcd/ca.crt", "etcd/ca.key", "service.crt", "service.key"}

func secretKey(file string) string { return strings.ReplaceAll(file, "/", ".") }

// bootstrapManifest is the Secret from which another server starts; only the server's token may read it.
func bootstrapManifest(c *config) ([]byte, error) {
	text := fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: kube-system}\nstringData:\n  etcd-endpoint: \"https://%s:2379\"\n", bootstrapSecret, c.NodeIP)
	for _, file := range sharedFiles {
		content, err := os.ReadFile(filepath.Join(c.DataDir, "server/tls", file))
		if err != nil {
			return nil, err
		}
		text += fmt.Sprintf("  %s: %q\n", secretKey(file), content)
	}
	return []byte(text), nil
}

// joinCluster takes over the authorities of the server that c names; the result is the address of its etcd.
func joinCluster(c *config) (etcdEndpoint string, err error) {
	authority, bearer, err := join(c.ServerURL, c.Token)
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.DataDir, "server/cred/join.kubeconfig")
	if err := writeFile(file, kubeconfig(c.ServerURL, authority, "{token: "+bearer+"}"), 0o600); err != nil {
		return "", err
	}
	client, err := clientFor(file)
	if err != nil {
		return "", err
	}
	found, err := client.CoreV1().Secrets("kube-system").Get(context.Background(), bootstrapSecret, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("token is for agents only; a server needs <data-dir>/server/token of %s", c.ServerURL)
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("server %s takes no second server: set cluster-init: true in its config.yaml and restart it", c.ServerURL)
	case err != nil:
		return "", err
	}
	for _, name := range sharedFiles {
		if err := writeFile(filepath.Join(c.DataDir, "server/tls", name), found.Data[secretKey(name)], 0o600); err != nil {
			return "", err
		}
	}
	return string(found.Data["etcd-endpoint"]), nil
}

// etcdClientConfig is how a server speaks to etcd.
func etcdClientConfig(authority, identity *pair, endpoint string) (clientv3.Config, error) {
	pool := x509.NewCertPool()
	pool.AddCert(authority.cert)
	certificate, err := tls.LoadX509KeyPair(identity.path+".crt", identity.path+".key")
	return clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}}, err
}

// joinEtcd adds this node to the members of etcd and returns the value of --initial-cluster.
func joinEtcd(c *config, keys *pki, endpoint string) (string, error) {
	settings, err := etcdClientConfig(keys.etcdCA, keys.etcd, endpoint)
	if err != nil {
		return "", err
	}
	client, err := clientv3.New(settings)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), addLimit+10*time.Second)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return "", fmt.Errorf("etcd at %s: %w", endpoint, err)
	}
	members, own := list.Members, peerURL(c.NodeIP)
	known := false
	for _, member := range members {
		known = known || slices.Contains(member.PeerURLs, own)
	}
	if !known {
		// For some seconds after another server has joined, etcd takes no further one.
		if err := waitFor("etcd at "+endpoint+" for a new member", addLimit, func() error {
			added, err := client.MemberAdd(ctx, []string{own})
			if err == nil {
				members = added.Members
			}
			return err
		}); err != nil {
			return "", err
		}
	}
	var cluster []string
	for _, member := range members {
		name := member.Name
		if slices.Contains(member.PeerURLs, own) {
			name = c.NodeName // a member that has never run has no name yet
		}
		for _, address := range member.PeerURLs {
			cluster = append(cluster, name+"="+address)
		}
	}
	return strings.Join(cluster, ","), nil
}

// removeLeftMembers takes a server whose node is being deleted out of etcd, as k3s does; otherwise it would count in the
// majority for ever. The node is gone only when that is done. No server takes itself out while there are others.
func removeLeftMembers(c *config, keys *pki, kubeconfigFile string) error {
	kubernetes, err := clientFor(kubeconfigFile)
	if err != nil {
		return err
	}
	nodes, err := kubernetes.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{LabelSelector: controlPlaneLabel})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		if node.DeletionTimestamp == nil || !slices.Contains(node.Finalizers, memberFinalizer) {
			continue
		}
		if node.Name != c.NodeName {
			for _, address := range node.Status.Addresses {
				if err := removeMember(keys, etcdEndpoint, peerURL(address.Address)); err != nil {
					return err
				}
			}
		} else if len(nodes.Items) > 1 {
			continue
		}
		patch := []byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["` + memberFinalizer + `"]}}`)
		if _, err := kubernetes.CoreV1().Nodes().Patch(context.Background(), node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func removeMember(keys *pki, endpoint, peer string) error {
	settings, err := etcdClientConfig(keys.etcdCA, keys.etcd, endpoint)
	if err != nil {
		return err
	}
	client, err := clientv3.New(settings)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range list.Members {
		if slices.Contains(member.PeerURLs, peer) {
			logf("the node of %s is being deleted: removing its member of etcd", peer)
			if _, err := client.MemberRemove(ctx, member.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
				return err
			}
		}
	}
	return nil
}

func peerURL(address string) string { return "https://" + address + ":2380" }

// shared tells whether the server has what k3s calls embedded etcd, so that there may be other servers. As in k3s it
// stays so when cluster-init is taken away again.
func (c *config) shared() bool { return c.ClusterInit || c.ServerURL != "" || hasEtcd(c) }

// hasEtcd tells whether this server is a member already.
func hasEtcd(c *config) bool {
	_, err := os.Stat(filepath.Join(etcdDirectory(c), "member"))
	return err == nil
}

func etcdDirectory(c *config) string { return filepath.Join(c.DataDir, "server/db/etcd") }

// storeDirectory is where the server keeps its state. A server that is alone has SQLite in k3s; here that is an etcd too,
// which lies elsewhere, and which becomes the embedded one when cluster-init is set.
func storeDirectory(c *config) (string, error) {
	alone := filepath.Join(c.DataDir, "server/db/standalone")
	if !c.shared() {
		return alone, nil
	}
	if _, err := os.Stat(alone); err == nil && c.ServerURL == "" && !hasEtcd(c) {
		return etcdDirectory(c), os.Rename(alone, etcdDirectory(c))
	}
	return etcdDirectory(c), nil
}

func waitReady(keys *pki) error {
	return waitFor("kube-apiserver", apiLimit, func() error {
		status, err := getStatus(localServer+"/readyz", keys.serverCA.certPEM(), "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz answers with HTTP status %d", status)
		}
		return err
	})
}
