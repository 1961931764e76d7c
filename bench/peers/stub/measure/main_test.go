package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatSecondsSkipsTheNameAndAddsWaitedForChildren(t *testing.T) {
	line := "12 (a name) with) R 1 1 1 0 -1 4194304 100 0 0 0 150 50 20 30 20 0 1 0 100 1000 10"
	if got := statSeconds([]byte(line)); got != 2.5 {
		t.Errorf("got %v, want 2.5", got)
	}
	if got := statSeconds([]byte("12 (gone)")); got != 0 {
		t.Errorf("got %v of a line that is cut", got)
	}
}

func TestPssBytes(t *testing.T) {
	if got := pssBytes([]byte("Rss:  3 kB\nPss:                 236 kB\nPss_Dirty:  1 kB\n")); got != 236<<10 {
		t.Errorf("got %d", got)
	}
}

// The measuring process must be one of its own: it waits for all children that it has.
func TestMain(m *testing.M) {
	if os.Getenv("MEASURE") == "" {
		os.Exit(m.Run())
	}
	main()
}

func measure(t *testing.T, script string) (text string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "usage.json")
	command := exec.Command(os.Args[0], "--out", file, "--", "sh", "-c", script)
	command.Env = append(os.Environ(), "MEASURE=1")
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(written), command.ProcessState.ExitCode()
}

func TestExitCodeIsTheCommandsAndIsInTheFile(t *testing.T) {
	if text, code := measure(t, "exit 7"); code != 7 || !strings.Contains(text, `"exitCode":7`) {
		t.Errorf("exit code %d, file %s", code, text)
	}
	if text, code := measure(t, "kill -TERM $$"); code != 143 || !strings.Contains(text, `"exitCode":143`) {
		t.Errorf("exit code %d, file %s", code, text)
	}
}

func TestWhatTheCommandLeavesRunningIsEnded(t *testing.T) {
	started := time.Now()
	if _, code := measure(t, "sleep 60 & (sleep 60 &); exit 0"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}
