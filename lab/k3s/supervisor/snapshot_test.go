package supervisor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// runEtcd starts an etcd with the certificates of the server and returns its endpoint.
func runEtcd(t *testing.T, keys *pki) string {
	t.Helper()
	any, _ := url.Parse("https://127.0.0.1:0")
	peer, _ := url.Parse("http://127.0.0.1:0")
	settings := embed.NewConfig()
	settings.Dir, settings.LogLevel, settings.LogOutputs = filepath.Join(t.TempDir(), "etcd"), "error", []string{"/dev/null"}
	settings.ListenClientUrls, settings.AdvertiseClientUrls = []url.URL{*any}, []url.URL{*any}
	settings.ListenPeerUrls, settings.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	settings.InitialCluster = settings.Name + "=" + peer.String()
	settings.ClientTLSInfo = transport.TLSInfo{CertFile: keys.etcd.path + ".crt", KeyFile: keys.etcd.path + ".key", TrustedCAFile: keys.etcdCA.path + ".crt", ClientCertAuth: true}
	server, err := embed.StartEtcd(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(20 * time.Second):
		t.Fatal("etcd is not ready after 20 s")
	}
	return "https://" + server.Clients[0].Addr().String()
}

func TestTheMemberOfADeletedNodeIsRemoved(t *testing.T) {
	c := &config{DataDir: t.TempDir(), NodeName: "server-1", NodeIP: "127.0.0.1", ServiceCIDR: "10.43.0.0/16", ClusterInit: true}
	keys, err := ensurePKI(c)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := runEtcd(t, keys)
	settings, err := etcdClientConfig(keys.etcdCA, keys.etcd, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// A learner: a second voter that never comes would leave no majority.
	if _, err := client.MemberAddAsLearner(context.Background(), []string{peerURL("10.0.0.2")}); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		list, err := client.MemberList(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Members)
	}
	for _, test := range []struct {
		peer string
		left int
	}{{peerURL("10.0.0.3"), 2}, {peerURL("10.0.0.2"), 1}} {
		if err := removeMember(keys, endpoint, test.peer); err != nil || count() != test.left {
			t.Errorf("%s: %d members %v", test.peer, count(), err)
		}
	}
}

func TestSnapshotHoldsTheStateAndIsListed(t *testing.T) {
	c := &config{DataDir: t.TempDir(), NodeName: "server-1", NodeIP: "127.0.0.1", ServiceCIDR: "10.43.0.0/16", ClusterInit: true}
	keys, err := ensurePKI(c)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := runEtcd(t, keys)
	settings, err := etcdClientConfig(keys.etcdCA, keys.etcd, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Put(context.Background(), "/registry/test", "what was stored"); err != nil {
		t.Fatal(err)
	}

	file, err := saveSnapshot(c, endpoint, "before-upgrade", time.Unix(1767225600, 0))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(c.DataDir, "server/db/snapshots/before-upgrade-server-1-1767225600"); file != want {
		t.Errorf("got %s, want %s", file, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	state, sum := text[:len(text)-sha256.Size], text[len(text)-sha256.Size:]
	if got := sha256.Sum256(state); !bytes.Equal(got[:], sum) || !bytes.Contains(state, []byte("what was stored")) {
		t.Errorf("the snapshot of %d bytes is not whole", len(text))
	}
	var out strings.Builder
	if err := listSnapshots(c, &out); err != nil {
		t.Fatal(err)
	}
	name := "before-upgrade-server-1-1767225600"
	pad := func(title, below string) string { return title + strings.Repeat(" ", len(below)-len(title)+1) }
	size := fmt.Sprint(len(text))
	want := pad("Name", name) + pad("Location", "file://"+file) + pad("Size", size) + "Created\n" + name + " file://" + file + " " + size + " 2026-01-01T00:00:00Z\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestSnapshotRefusals(t *testing.T) {
	sqlite := write(t, filepath.Join(t.TempDir(), "config.yaml"), "node-ip: 10.0.0.1\n")
	empty := t.TempDir()
	etcd := write(t, filepath.Join(t.TempDir(), "config.yaml"), "node-ip: 10.0.0.1\ncluster-init: true\ndata-dir: "+empty+"\n")
	for _, test := range []struct {
		file string
		args []string
		want string
	}{
		{sqlite, []string{"save"}, "see server log for details: etcd datastore disabled; only a server with cluster-init or server in its config.yaml has one"},
		{sqlite, []string{"ls"}, "see server log for details: etcd datastore disabled; only a server with cluster-init or server in its config.yaml has one"},
		{etcd, nil, "etcd database not found in " + empty + "/server (this needs root, and a server that has run)"},
		{etcd, []string{"prune"}, `unknown command etcd-snapshot "prune"; this stand-in knows: save, ls`},
		{etcd, []string{"save", "--name"}, "flag --name needs a value"},
		{etcd, []string{"save", "--name=../x"}, `flag --name: "../x" is not a file name`},
	} {
		err := etcdSnapshot(test.file, test.args, &strings.Builder{})
		if err == nil || err.Error() != test.want {
			t.Errorf("%v: got  %v\nwant %s", test.args, err, test.want)
		}
	}
}
