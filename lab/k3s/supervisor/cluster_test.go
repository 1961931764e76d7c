package supervisor

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusingServer answers as the API server of a running cluster to which the token is known; the Secret from which
// another server starts is answered with the status.
func refusingServer(t *testing.T, keys *pki, status int) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/secrets/"+bootstrapSecret) {
			response.WriteHeader(status)
		}
	}))
	certificate, err := tls.LoadX509KeyPair(keys.serving.path+".crt", keys.serving.path+".key")
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestStoreOfAServerAloneBecomesTheEmbeddedEtcd(t *testing.T) {
	c := &config{DataDir: t.TempDir()}
	db := filepath.Join(c.DataDir, "server/db")
	expect := func(want string, shared bool) {
		t.Helper()
		if got, err := storeDirectory(c); err != nil || got != filepath.Join(db, want) || c.shared() != shared {
			t.Errorf("%s %v %v", got, c.shared(), err)
		}
	}
	expect("standalone", false)
	state := write(t, filepath.Join(db, "standalone/member/snap/db"), "state")
	c.ClusterInit = true
	expect("etcd", true)
	if text, err := os.ReadFile(strings.Replace(state, "standalone", "etcd", 1)); err != nil || string(text) != "state" {
		t.Errorf("%q %v", text, err)
	}
	c.ClusterInit = false
	expect("etcd", true)
}

func TestServersDoNotJoinWithTheAgentToken(t *testing.T) {
	first := &config{DataDir: t.TempDir(), NodeName: "server-1", NodeIP: "127.0.0.1", ServiceCIDR: "10.43.0.0/16", AgentToken: "agents", ClusterInit: true}
	keys, err := ensurePKI(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ensureTokens(first, keys); err != nil {
		t.Fatal(err)
	}
	agentToken, err := os.ReadFile(filepath.Join(first.DataDir, "server/node-token"))
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]string{
		http.StatusForbidden: "token is for agents only; a server needs <data-dir>/server/token of ",
		http.StatusNotFound:  "takes no second server: set cluster-init: true in its config.yaml and restart it",
	} {
		second := &config{DataDir: t.TempDir(), NodeName: "server-2", ServerURL: refusingServer(t, keys, status), Token: strings.TrimSpace(string(agentToken))}
		if _, err := joinCluster(second); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", status, err)
		}
	}
}
