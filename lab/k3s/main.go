// Command k3s is the lab's stand-in for the k3s executable: the same command line, files and behaviour for
// what the product uses, over upstream Kubernetes. It is one file that starts itself as each component.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"llmeval/lab/k3s/supervisor"
)

const usage = `k3s stand-in of the lab: upstream Kubernetes behind the command line of k3s

usage:
  k3s server [--key value ...]    control plane and node
  k3s agent  [--key value ...]    node that joins the server named by --server or K3S_URL
  k3s kubectl ...                 kubectl with the admin kubeconfig
  k3s etcd-snapshot save|ls       snapshot of the embedded etcd; --name NAME
  k3s ctr ...                     containerd's ctr on the k3s socket
  k3s uninstall-script server|agent
  k3s --version
`

// components are the upstream programs that server and agent start as children of this same file.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

// The lab's processors are scarcer than its memory: the API server's heap may grow to five times what it holds, in place
// of twice, but hardly beyond the limit.
const (
	heapGrowthPercent = 400
	heapLimitBytes    = 1536 << 20
)

func main() {
	debug.SetGCPercent(heapGrowthPercent)
	debug.SetMemoryLimit(heapLimitBytes)
	args := os.Args
	if base := filepath.Base(args[0]); base == "kubectl" {
		args = append([]string{"k3s", "kubectl"}, args[1:]...)
	}
	if len(args) < 2 {
		fmt.Print(usage)
		os.Exit(1)
	}
	name, rest := args[1], args[2:]
	// The upstream commands read os.Args themselves.
	os.Args = args[1:]
	if component, found := components[name]; found {
		os.Exit(cli.Run(component()))
	}
	switch name {
	case "server", "agent":
		exitOn(supervisor.Run(name, rest, version.Get().GitVersion))
	case "uninstall-script":
		exitOn(supervisor.PrintUninstall(rest))
	case "etcd-snapshot":
		exitOn(supervisor.EtcdSnapshot(rest))
	case "ctr":
		exitOn(supervisor.RunCtr(rest))
	case "etcd":
		etcdmain.Main(os.Args)
	case "kubeadm":
		exitOn(kubeadm.Run())
	case "kubectl":
		runKubectl()
	case "-v", "--version", "version":
		fmt.Printf("k3s version %s (stand-in of the lab, not k3s)\ngo version %s\n", version.Get().GitVersion, runtime.Version())
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		exitOn(fmt.Errorf("unknown command %q; see k3s --help", strings.Join(append([]string{name}, rest...), " ")))
	}
}

// runKubectl runs kubectl; without KUBECONFIG it uses the admin kubeconfig, as k3s does.
func runKubectl() {
	if os.Getenv("KUBECONFIG") == "" {
		if _, err := os.Stat(supervisor.AdminFile); err == nil {
			os.Setenv("KUBECONFIG", supervisor.AdminFile)
		}
	}
	// Where k3s is the only one who knows of the cluster, nothing of it shall outlive an uninstall.
	if os.Getuid() == 0 && os.Getenv("KUBECACHEDIR") == "" {
		if _, err := os.Stat("/run/k3s"); err == nil {
			os.Setenv("KUBECACHEDIR", "/run/k3s/kubectl")
		}
	}
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

// exitOn prints err and ends the program; systemd shows it in the unit's journal.
func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "k3s: "+err.Error())
		os.Exit(1)
	}
}
