// The supervisor: starts the components as child processes, restarts what dies, stops all on a signal.

package supervisor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	steadyAfter = time.Minute      // a child that ran this long is counted as healthy again
	maxFailures = 8                // so many short lives in a row end the supervisor
	maxBackoff  = 10 * time.Second // longest pause before a restart
	maxLogBytes = 16 << 20         // a log file of this size is turned over once
)

func logf(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "k3s: "+format+"\n", values...)
}

// child is one component under supervision.
type child struct {
	name    string
	path    string // executable; empty for this same executable
	args    []string
	logFile string
	after   func() error // waited for before each start, for what the child needs

	mutex   sync.Mutex
	process *os.Process
	stopped bool
	done    chan struct{}
}

// supervisor holds the children in the order in which they were started.
type supervisor struct {
	children []*child
	fatal    chan error
}

func newSupervisor() *supervisor { return &supervisor{fatal: make(chan error, 16)} }

// start runs a child for as long as the supervisor lives.
func (s *supervisor) start(c *child) {
	c.done = make(chan struct{})
	s.children = append(s.children, c)
	go func() {
		// Pdeathsig follows the thread that started the child, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer close(c.done)
		for failures := 0; ; {
			began := time.Now()
			err := c.run()
			if c.isStopped() {
				return
			}
			if failures++; time.Since(began) > steadyAfter {
				failures = 1
			}
			if failures >= maxFailures {
				s.fatal <- fmt.Errorf("%s ended %d times in a row (%v); the last lines of %s:\n%s", c.name, failures, err, c.logFile, logTail(c.logFile, 3))
				return
			}
			backoff := min(time.Second<<(failures-1), maxBackoff)
			logf("%s ended (%v), starting it again in %s; its log: %s", c.name, err, backoff, c.logFile)
			time.Sleep(backoff)
		}
	}()
}

func (c *child) isStopped() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.stopped
}

// run starts the child once and waits for its end.
func (c *child) run() error {
	if c.after != nil {
		if err := c.after(); err != nil {
			return err
		}
	}
	output, err := openLog(c.logFile)
	if err != nil {
		return err
	}
	defer output.Close()
	path, args := c.path, c.args
	if path == "" {
		path, args = selfPath(), append([]string{c.name}, c.args...)
	}
	command := exec.Command(path, args...)
	command.Stdout, command.Stderr = output, output
	// The unit's readiness is the supervisor's to tell, not that of a child that finds the socket.
	command.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "NOTIFY_SOCKET=") || strings.HasPrefix(entry, "K3S_TOKEN=")
	})
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}

	c.mutex.Lock()
	if c.stopped {
		c.mutex.Unlock()
		return nil
	}
	err = command.Start()
	c.process = command.Process
	c.mutex.Unlock()
	if err != nil {
		return err
	}
	return command.Wait()
}

// stop ends the children in stages: what uses the API first, the store and the runtime last.
func (s *supervisor) stop() {
	for _, stage := range []struct {
		names    []string
		patience time.Duration
	}{
		{[]string{"kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler"}, 10 * time.Second},
		// It would wait a minute for the watches of other nodes; it holds no state.
		{[]string{"kube-apiserver"}, 3 * time.Second},
		{[]string{"etcd", "containerd"}, 10 * time.Second},
	} {
		var stopping []*child
		for _, c := range s.children {
			if slices.Contains(stage.names, c.name) {
				c.mutex.Lock()
				c.stopped = true
				if c.process != nil {
					c.process.Signal(syscall.SIGTERM)
				}
				c.mutex.Unlock()
				stopping = append(stopping, c)
			}
		}
		deadline := time.Now().Add(stage.patience)
		for _, c := range stopping {
			select {
			case <-c.done:
			case <-time.After(time.Until(deadline)):
				logf("%s did not end within %s, killing it", c.name, stage.patience)
				c.mutex.Lock()
				if c.process != nil {
					c.process.Kill()
				}
				c.mutex.Unlock()
			}
		}
	}
}

func openLog(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err == nil && info.Size() > maxLogBytes {
		os.Rename(file, file+".1")
	}
	return os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}

// logTail is the last lines of a log file, for an error message that explains itself.
func logTail(file string, count int) string {
	text, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer text.Close()
	var lines []string
	for scanner := bufio.NewScanner(text); scanner.Scan(); {
		if lines = append(lines, scanner.Text()); len(lines) > count {
			lines = lines[1:]
		}
	}
	return strings.Join(lines, "\n")
}

func selfPath() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return os.Args[0]
}

// notifyReady tells systemd that a unit of Type=notify is up.
func notifyReady() {
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		if connection, err := net.Dial("unixgram", strings.Replace(socket, "@", "\x00", 1)); err == nil {
			connection.Write([]byte("READY=1"))
			connection.Close()
		}
	}
}

// repeat does some work again and again for as long as the program runs; the same error is told once.
func repeat(what string, interval time.Duration, work func() error) {
	last := ""
	for ; ; time.Sleep(interval) {
		message := ""
		if err := work(); err != nil {
			message = err.Error()
		}
		if message != "" && message != last {
			logf("%s: %s", what, message)
		}
		last = message
	}
}

// waitFor polls until check succeeds and fails after limit with the last error.
func waitFor(what string, limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s not ready after %s: %w", what, limit, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
