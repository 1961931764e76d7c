package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary the program itself when a test starts it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_NSEXEC") != "" {
		os.Unsetenv("BE_NSEXEC")
		main()
	}
	os.Exit(m.Run())
}

func nsexec(args ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], args...)
	command.Env = append(os.Environ(), "BE_NSEXEC=1")
	return command
}

func TestOptionsAsTheDaemonGivesThem(t *testing.T) {
	for text, expected := range map[string]options{
		"-n /proc/7/ns/net -- tc qdisc del dev eth0 root": {
			namespaces: []namespace{{unix.CLONE_NEWNET, "/proc/7/ns/net"}},
			command:    []string{"tc", "qdisc", "del", "dev", "eth0", "root"},
		},
		"-l -n /proc/7/ns/net -p /proc/7/ns/pid -- iptables -w -N X -- y": {
			namespaces: []namespace{{unix.CLONE_NEWNET, "/proc/7/ns/net"}, {unix.CLONE_NEWPID, "/proc/7/ns/pid"}},
			command:    []string{"iptables", "-w", "-N", "X", "--", "y"},
		},
		"-m /proc/1/ns/mnt -i /proc/1/ns/ipc -- sh": {
			namespaces: []namespace{{unix.CLONE_NEWNS, "/proc/1/ns/mnt"}, {unix.CLONE_NEWIPC, "/proc/1/ns/ipc"}},
			command:    []string{"sh"},
		},
	} {
		if actual, err := parse(strings.Fields(text)); err != nil || !reflect.DeepEqual(actual, expected) {
			t.Errorf("%s: %+v, %v", text, actual, err)
		}
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for text, expected := range map[string]string{
		"":                                "the command is missing",
		"-n /proc/1/ns/net --":            "the command is missing",
		"-n /proc/1/ns/net":               "the command is missing",
		"-n -- true":                      "option -n: the path of a namespace is missing",
		"-U /proc/1/ns/user -- true":      `unknown option "-U"`,
		"true":                            `unknown option "true"`,
		"-l -m /proc/1/ns/mnt -- ls":      "-l with -m",
		"-m /proc/1/ns/mnt -l -- ls /tmp": "-l with -m",
	} {
		if _, err := parse(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%s: expected %q, got %v", text, expected, err)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for script, expected := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -9 $$": 128 + 9} {
		command := nsexec("--", "sh", "-c", script)
		command.Run()
		if actual := command.ProcessState.ExitCode(); actual != expected {
			t.Errorf("%s: %d, expected %d", script, actual, expected)
		}
	}
}

func TestErrorsNameWhatIsMissing(t *testing.T) {
	for text, expected := range map[string]string{
		"-n /proc/none/ns/net -- true": "nsexec: open /proc/none/ns/net: no such file or directory",
		"-- no-such-command":           `nsexec: exec: "no-such-command": executable file not found in $PATH`,
	} {
		output, err := nsexec(strings.Fields(text)...).CombinedOutput()
		if err == nil || strings.TrimSpace(string(output)) != expected {
			t.Errorf("%s: %v, %q", text, err, output)
		}
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	command := nsexec("--", "sh", "-c", `trap "exit 42" TERM; echo ready; while :; do sleep 0.02; done`)
	output, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(output).ReadString('\n')
	command.Process.Signal(syscall.SIGTERM)
	command.Wait()
	if status := command.ProcessState.ExitCode(); status != 42 {
		t.Errorf("exit status %d, expected 42", status)
	}
}

// The command runs in all four namespaces of a process that has its own, under process number 2 or more of them.
func TestEntersNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may enter namespaces")
	}
	target := exec.Command("sh", "-c", "mount -t tmpfs none /mnt && touch /mnt/of-the-target && echo ready && exec sleep 60")
	target.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNS,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	output, err := target.StdoutPipe()
	if err == nil {
		err = target.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { target.Process.Kill(); target.Wait() }()
	if line, _ := bufio.NewReader(output).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the target is not ready: %q", line)
	}
	of := func(name string) string { return fmt.Sprintf("/proc/%d/ns/%s", target.Process.Pid, name) }
	script := `[ -e /mnt/of-the-target ] && [ $$ -lt 10 ] && tail -n +3 /proc/net/dev | wc -l`
	result, err := nsexec("-p", of("pid"), "-n", of("net"), "-i", of("ipc"), "-m", of("mnt"), "--",
		"sh", "-c", "mount -t proc proc /proc && "+script).CombinedOutput()
	if err != nil || strings.TrimSpace(string(result)) != "1" {
		t.Fatalf("%v: %q; expected the file, a small process number and one network device", err, result)
	}
}
