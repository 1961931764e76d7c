package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSplitToken(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for _, test := range []struct{ token, hash, password string }{
		{"bare", "", "bare"},
		{"", "", ""},
		{"K10" + hash + "::server:pass:word", hash, "pass:word"},
		{"K10" + hash + "::node:p", hash, "p"},
	} {
		if gotHash, gotPassword, err := splitToken(test.token); err != nil || gotHash != test.hash || gotPassword != test.password {
			t.Errorf("%q: %q %q %v", test.token, gotHash, gotPassword, err)
		}
	}
	for _, token := range []string{"K10abc::server:p", "K10" + hash + "::server", "K10" + hash + "::server:", "K10" + hash} {
		_, _, err := splitToken(token)
		want := "token begins with K10 but is not K10<64 hex digits>::<user>:<password>; copy <data-dir>/server/token of the server"
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestFullTokenAndBootstrapToken(t *testing.T) {
	if got := fullToken([]byte("authority"), "server", "p"); got != "K108f76fd501bb68ef71f4e276bc28f29bce1003b0c2c9d9478de81b5bfc0cde1e9::server:p" {
		t.Error(got)
	}
	if id, secret := bootstrapToken("p"); id != "815092" || secret != "4895db6d2f8aa513" {
		t.Error(id, secret)
	}
}

func TestPKIIsKeptAndFollowsNames(t *testing.T) {
	c := &config{DataDir: t.TempDir(), NodeName: "server-1", NodeIP: "10.0.0.1", ServiceCIDR: "10.43.0.0/16", TLSSANs: []string{"lab.example"}}
	first, err := ensurePKI(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := first.serving.cert.DNSNames; !slices.Equal(got, []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "server-1", "lab.example"}) {
		t.Error(got)
	}
	second, err := ensurePKI(c)
	if err != nil || !second.serving.cert.Equal(first.serving.cert) || !second.admin.cert.Equal(first.admin.cert) {
		t.Error("certificates were made anew without a reason", err)
	}
	c.TLSSANs = append(c.TLSSANs, "10.0.0.9")
	third, err := ensurePKI(c)
	if err != nil || third.serving.cert.Equal(first.serving.cert) || !third.serverCA.cert.Equal(first.serverCA.cert) || !third.admin.cert.Equal(first.admin.cert) {
		t.Error("a new name must change the serving certificate and nothing else", err)
	}
	if err := third.serving.cert.VerifyHostname("10.0.0.9"); err != nil {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) {
	c := &config{DataDir: t.TempDir(), NodeName: "server-1", NodeIP: "10.0.0.1", ServiceCIDR: "10.43.0.0/16", AgentToken: "agents"}
	keys, err := ensurePKI(c)
	if err != nil {
		t.Fatal(err)
	}
	passwords, err := ensureTokens(c, keys)
	if err != nil || len(passwords) != 2 || len(passwords[0]) != 26 || passwords[1] != "agents" {
		t.Fatal(passwords, err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(c.DataDir, "server", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	if got := read("token"); got != fullToken(keys.serverCA.certPEM(), "server", passwords[0]) {
		t.Error(got)
	}
	if got := read("node-token"); got != fullToken(keys.serverCA.certPEM(), "node", "agents") {
		t.Error(got)
	}
	c.Token = read("token")
	if again, err := ensureTokens(c, keys); err != nil || !slices.Equal(again, passwords) {
		t.Error(again, err)
	}
	c.Token = "another"
	want := "token differs from the one this cluster was made with (" + filepath.Join(c.DataDir, "server/token") + "); give that one, or uninstall first"
	if _, err := ensureTokens(c, keys); err == nil || err.Error() != want {
		t.Error(err)
	}
}
