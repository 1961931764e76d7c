package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary the program itself when a test starts it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_PAUSE") != "" {
		os.Unsetenv("BE_PAUSE")
		main()
		return
	}
	os.Exit(m.Run())
}

func pause(args ...string) (*exec.Cmd, *bytes.Buffer) {
	command := exec.Command(os.Args[0], args...)
	command.Env = append(os.Environ(), "BE_PAUSE=1")
	output := &bytes.Buffer{}
	command.Stdout, command.Stderr = output, output
	return command, output
}

func TestBecomesTheCommandOnSIGCONT(t *testing.T) {
	command, output := pause("sh", "-c", `echo "$$ $0 $1"; exit 7`, "first", "second word")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if output.Len() > 0 {
		t.Fatalf("it ran before SIGCONT: %s", output)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		command.Process.Signal(syscall.SIGCONT)
		select {
		case <-ended:
			fields := strings.SplitN(strings.TrimSpace(output.String()), " ", 2)
			if command.ProcessState.ExitCode() != 7 || len(fields) != 2 || fields[1] != "first second word" {
				t.Fatalf("exit status %d, output %q", command.ProcessState.ExitCode(), output)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestCommandThatIsNotThere(t *testing.T) {
	command, output := pause("no-such-command")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() { command.Process.Signal(syscall.SIGCONT) })
	command.Wait()
	if command.ProcessState.ExitCode() != 127 || !strings.Contains(output.String(), `"no-such-command": executable file not found`) {
		t.Fatalf("exit status %d, output %q", command.ProcessState.ExitCode(), output)
	}
}

func TestNoCommand(t *testing.T) {
	command, output := pause()
	command.Run()
	if command.ProcessState.ExitCode() != 2 || !strings.Contains(output.String(), "no command") {
		t.Fatalf("exit status %d, output %q", command.ProcessState.ExitCode(), output)
	}
}
