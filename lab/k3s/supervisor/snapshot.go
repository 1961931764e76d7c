// `k3s etcd-snapshot`: saves the state of the embedded etcd to a file on this server, and lists such files.

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
)

const (
	snapshotLimit   = time.Minute
	defaultSnapshot = "on-demand"
)

// EtcdSnapshot runs `k3s etcd-snapshot [save|ls]` with the configuration of the server.
func EtcdSnapshot(args []string) error { return etcdSnapshot(configFile, args, os.Stdout) }

func etcdSnapshot(configFile string, args []string, out io.Writer) error {
	action, name, rest, err := snapshotArgs(args)
	if err != nil {
		return err
	}
	c, err := loadConfig(configFile, rest)
	if err != nil {
		return err
	}
	if !c.shared() {
		// The words of k3s, which keeps its state in sqlite then.
		return errors.New("see server log for details: etcd datastore disabled; only a server with cluster-init or server in its config.yaml has one")
	}
	if action == "ls" {
		return listSnapshots(c, out)
	}
	file, err := saveSnapshot(c, etcdEndpoint, name, time.Now())
	if err != nil {
		return err
	}
	logf("snapshot %s saved to %s", filepath.Base(file), filepath.Dir(file))
	return nil
}

// snapshotArgs takes apart the action (save when there is none), the name, and the flags that every command knows.
func snapshotArgs(args []string) (action, name string, rest []string, err error) {
	action, name = "save", defaultSnapshot
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		action, args = args[0], args[1:]
	}
	if action == "list" || action == "l" {
		action = "ls"
	}
	if action != "save" && action != "ls" {
		return "", "", nil, fmt.Errorf("unknown command etcd-snapshot %q; this stand-in knows: save, ls", action)
	}
	for i := 0; i < len(args); i++ {
		value, inline := strings.CutPrefix(args[i], "--name=")
		if !inline && args[i] != "--name" {
			rest = append(rest, args[i])
			continue
		}
		if !inline {
			if i++; i == len(args) {
				return "", "", nil, errors.New("flag --name needs a value")
			}
			value = args[i]
		}
		if name = value; name == "" || strings.Contains(name, "/") {
			return "", "", nil, fmt.Errorf("flag --name: %q is not a file name", name)
		}
	}
	return action, name, rest, nil
}

func snapshotDirectory(c *config) string { return filepath.Join(c.DataDir, "server/db/snapshots") }

// saveSnapshot writes NAME-NODE-SECONDS, as k3s names it, whole or not at all.
func saveSnapshot(c *config, endpoint, name string, now time.Time) (file string, err error) {
	tls := filepath.Join(c.DataDir, "server/tls/etcd")
	authority, identity := readPair(filepath.Join(tls, "ca")), readPair(filepath.Join(tls, "node"))
	if authority == nil || identity == nil {
		return "", fmt.Errorf("etcd database not found in %s (this needs root, and a server that has run)", filepath.Join(c.DataDir, "server"))
	}
	settings, err := etcdClientConfig(authority, identity, endpoint)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(snapshotDirectory(c), 0o700); err != nil {
		return "", err
	}
	file = filepath.Join(snapshotDirectory(c), fmt.Sprintf("%s-%s-%d", name, c.NodeName, now.Unix()))
	ctx, cancel := context.WithTimeout(context.Background(), snapshotLimit)
	defer cancel()
	if _, err := snapshot.SaveWithVersion(ctx, zap.NewNop(), settings, file); err != nil {
		return "", fmt.Errorf("etcd at %s: %w", endpoint, err)
	}
	return file, nil
}

func listSnapshots(c *config, out io.Writer) error {
	entries, err := os.ReadDir(snapshotDirectory(c))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "Name\tLocation\tSize\tCreated")
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		created := info.ModTime()
		if seconds, err := strconv.ParseInt(entry.Name()[strings.LastIndex(entry.Name(), "-")+1:], 10, 64); err == nil {
			created = time.Unix(seconds, 0)
		}
		fmt.Fprintf(table, "%s\tfile://%s\t%d\t%s\n", entry.Name(), filepath.Join(snapshotDirectory(c), entry.Name()), info.Size(), created.UTC().Format(time.RFC3339))
	}
	return table.Flush()
}
