package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pidFrom waits for the process id that a test child wrote, other than not.
func pidFrom(t *testing.T, file string, not int) int {
	t.Helper()
	pid := 0
	if err := waitFor("child", 10*time.Second, func() error {
		text, _ := os.ReadFile(file)
		if fmt.Sscan(string(text), &pid); pid == 0 || pid == not {
			return fmt.Errorf("no process id")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestSupervisorRestartsAndStops(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "pid")
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	s := newSupervisor()
	s.start(&child{name: "etcd", path: "/bin/sh", args: []string{"-c", "echo env=$NOTIFY_SOCKET; echo $$ >" + file + "; exec sleep 60"}, logFile: filepath.Join(directory, "logs/etcd.log")})
	first := pidFrom(t, file, 0)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := pidFrom(t, file, first)
	s.stop()
	if err := syscall.Kill(second, 0); err != syscall.ESRCH {
		t.Errorf("the child is still there: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(directory, "logs/etcd.log")); err != nil || string(text) != "env=\nenv=\n" {
		t.Errorf("%q %v", text, err)
	}
}

func TestUninstallScriptNamesItsUnit(t *testing.T) {
	for kind, want := range map[string][2]string{"server": {"k3s-uninstall.sh", "\nunit=k3s\n"}, "agent": {"k3s-agent-uninstall.sh", "\nunit=k3s-agent\n"}} {
		name, text, err := uninstallName(kind)
		if err != nil || name != want[0] || !strings.Contains(string(text), want[1]) {
			t.Errorf("%s: %s %v", kind, name, err)
		}
	}
	if _, _, err := uninstallName("both"); err == nil || err.Error() != "usage: k3s uninstall-script server|agent" {
		t.Error(err)
	}
}

func TestManifestsAreRenderedWhole(t *testing.T) {
	c := &config{ClusterDNS: "10.43.0.10", ClusterCIDR: "10.42.0.0/16", FlannelBackend: "vxlan", StoragePath: "/data/storage", ImageRegistry: "10.0.0.9:5000"}
	whole := string(renderManifest(c, "coredns.yaml")) + string(renderManifest(c, "local-storage.yaml")) + string(renderManifest(c, "metrics-server.yaml")) + string(joinManifest(c, []byte("authority\n"), []string{"p", "q"}))
	for _, left := range []string{"%{", "docker.io/"} {
		if strings.Contains(whole, left) {
			t.Errorf("%q is left in a manifest", left)
		}
	}
	for _, want := range []string{`clusterIP: "10.43.0.10"`, `"paths": ["/data/storage"]`, `client-ca.crt: "authority\n"`, "image: 10.0.0.9:5000/rancher/mirrored-coredns-coredns:1.14.7",
		"image: 10.0.0.9:5000/rancher/mirrored-metrics-server:v0.9.0",
		"  token-id: \"815092\"\n  token-secret: \"4895db6d2f8aa513\"\n  usage-bootstrap-authentication: \"true\"\n  auth-extra-groups: \"system:bootstrappers:k3s,system:bootstrappers:k3s-server\"\n",
		"  auth-extra-groups: \"system:bootstrappers:k3s\"\n"} {
		if !strings.Contains(whole, want) {
			t.Errorf("%q is missing", want)
		}
	}
}
