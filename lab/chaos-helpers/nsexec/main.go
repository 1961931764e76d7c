// Runs a command in namespaces of another process:  nsexec [-l] [-n|-p|-m|-i PATH]... -- COMMAND [ARG...]
// PATH is that of a network, process, mount or IPC namespace. As with nsenter, the command is looked up in the mount
// namespace that it runs in; other than with nsenter, signals reach it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaceTypes has the type that the kernel knows under each option.
var namespaceTypes = map[string]int{
	"-n": unix.CLONE_NEWNET,
	"-p": unix.CLONE_NEWPID,
	"-m": unix.CLONE_NEWNS,
	"-i": unix.CLONE_NEWIPC,
}

type namespace struct {
	kind int
	path string
}

type options struct {
	namespaces []namespace
	command    []string
}

func parse(args []string) (options, error) {
	var parsed options
	local, mount := false, false
	for len(args) > 0 && args[0] != "--" {
		if args[0] == "-l" {
			local, args = true, args[1:]
			continue
		}
		kind, known := namespaceTypes[args[0]]
		if !known {
			return options{}, fmt.Errorf("unknown option %q; expected -n, -p, -m or -i with a path, -l, or -- with the command", args[0])
		}
		if len(args) < 2 || args[1] == "--" {
			return options{}, fmt.Errorf("option %s: the path of a namespace is missing", args[0])
		}
		parsed.namespaces = append(parsed.namespaces, namespace{kind, args[1]})
		mount = mount || kind == unix.CLONE_NEWNS
		args = args[2:]
	}
	if len(args) < 2 {
		return options{}, errors.New("the command is missing; expected: -- COMMAND [ARG...]")
	}
	if local && mount {
		// Only programs want this that the lab does not have: for faults of files, HTTP, Java and block devices.
		return options{}, errors.New("-l with -m (a program of this mount namespace run in another one) is not to be had here")
	}
	parsed.command = args[1:]
	return parsed, nil
}

// enter puts the calling thread, and what is started from it, into namespaces. All paths are opened first: behind the
// change of the mount namespace they would mean other files.
func enter(namespaces []namespace) error {
	files := make([]*os.File, 0, len(namespaces))
	for _, each := range namespaces {
		file, err := os.Open(each.path)
		if err != nil {
			return err
		}
		defer file.Close()
		files = append(files, file)
	}
	for i, each := range namespaces {
		if each.kind == unix.CLONE_NEWNS {
			// The kernel changes it only for threads that share their root folder with no other thread.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
		}
		if err := unix.Setns(int(files[i].Fd()), each.kind); err != nil {
			return fmt.Errorf("enter %s: %w", each.path, err)
		}
	}
	return nil
}

// run starts the command, hands on the signals that end it, and gives its exit status as a shell would.
func run(command []string) (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	child := exec.Command(command[0], command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return 0, err
	}
	go func() {
		for received := range signals {
			child.Process.Signal(received)
		}
	}()
	err := child.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status := child.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return child.ProcessState.ExitCode(), nil
}

func main() {
	// Namespaces belong to threads.
	runtime.LockOSThread()
	fail := func(status int, err error) {
		fmt.Fprintln(os.Stderr, "nsexec:", err)
		os.Exit(status)
	}
	options, err := parse(os.Args[1:])
	if err != nil {
		fail(2, err)
	}
	if err := enter(options.namespaces); err != nil {
		fail(1, err)
	}
	status, err := run(options.command)
	if err != nil {
		fail(127, err)
	}
	os.Exit(status)
}
