// More than one server: a server that was started with cluster-init publishes its authorities for servers that hold
// the token; the next one takes them over and joins etcd.

package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const bootstrapSecret = "k3s-server-bootstrap"

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

// joinEtcd adds this node to the members of etcd and returns the value of --initial-cluster.
func joinEtcd(c *config, keys *pki, endpoint string) (string, error) {
	pool := x509.NewCertPool()
	pool.AddCert(keys.etcdCA.cert)
	identity, err := tls.LoadX509KeyPair(keys.etcd.path+".crt", keys.etcd.path+".key")
	if err != nil {
		return "", err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{identity}}})
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return "", fmt.Errorf("etcd at %s: %w", endpoint, err)
	}
	members, own := list.Members, peerURL(c)
	known := false
	for _, member := range members {
		known = known || slices.Contains(member.PeerURLs, own)
	}
	if !known {
		added, err := client.MemberAdd(ctx, []string{own})
		if err != nil {
			return "", fmt.Errorf("etcd at %s takes no new member: %w", endpoint, err)
		}
		members = added.Members
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

func peerURL(c *config) string { return "https://" + c.NodeIP + ":2380" }

// hasEtcd tells whether this server is a member already.
func hasEtcd(c *config) bool {
	_, err := os.Stat(filepath.Join(c.DataDir, "server/db/etcd/member"))
	return err == nil
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
