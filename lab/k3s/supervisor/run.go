// Package supervisor is the stand-in's own part: it reads the configuration, makes certificates and files, and runs
// the components of a server or an agent as child processes of the same executable.
package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Run runs a server or an agent until a signal or a failure that restarts do not cure.
func Run(kind string, args []string, version string) error {
	c, err := loadConfig(configFile, args)
	if err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("k3s %s must run as root", kind)
	}
	logf("%s, stand-in of the lab for k3s: %s on %s (%s), data in %s", version, kind, c.NodeName, c.NodeIP, c.DataDir)
	if err := writeUninstall(kind); err != nil {
		logf("uninstall script: %v", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	s := newSupervisor()
	go func() {
		if kind == "server" {
			err = startServer(s, c)
		} else if err = startAgent(s, c, c.ServerURL, c.Token); err == nil {
			notifyReady()
		}
		if err != nil {
			s.fatal <- err
			return
		}
		logf("node %s is registered", c.NodeName)
	}()
	select {
	case received := <-signals:
		logf("%s: stopping; containers keep running", received)
		s.stop()
		return nil
	case err := <-s.fatal:
		s.stop()
		return err
	}
}

// RunCtr hands over to containerd's own client, on the socket and namespace of Kubernetes.
func RunCtr(args []string) error {
	path, err := exec.LookPath("ctr")
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{"ctr", "--address", containerdSocket, "--namespace", "k8s.io"}, args...), os.Environ())
}

// uninstallName is the file that k3s's own installer would have made.
func uninstallName(kind string) (name string, text []byte, err error) {
	name = map[string]string{"server": "k3s-uninstall.sh", "agent": "k3s-agent-uninstall.sh"}[kind]
	if name == "" {
		return "", nil, fmt.Errorf("usage: k3s uninstall-script server|agent")
	}
	text, err = files.ReadFile("scripts/uninstall.sh")
	unit := map[string]string{"server": "k3s", "agent": "k3s-agent"}[kind]
	return name, []byte(strings.ReplaceAll(string(text), "%{UNIT}", unit)), err
}

// PrintUninstall prints the script that takes a server or an agent off the host.
func PrintUninstall(args []string) error {
	_, text, err := uninstallName(strings.Join(args, " "))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

// writeUninstall puts the script next to the executable, where the installer of k3s puts it.
func writeUninstall(kind string) error {
	name, text, err := uninstallName(kind)
	if err != nil {
		return err
	}
	file := filepath.Join(filepath.Dir(selfPath()), name)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	return writeFile(file, text, 0o755)
}
