package main

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary the program itself when a test starts it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_MEMSTRESS") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestOptionsAsTheDaemonGivesThem(t *testing.T) {
	for text, expected := range map[string]options{
		" --workers 2 --size 256MB":       {bytes: 256 << 20, workers: 2},
		"--size 1GiB --time 1m":           {bytes: 1 << 30, workers: 1, growth: time.Minute},
		"--size 10kb":                     {bytes: 10 << 10, workers: 1},
		"-size 4096B -workers 1 -time 2s": {bytes: 4096, workers: 1, growth: 2 * time.Second},
	} {
		if actual, err := parse(strings.Fields(text)); err != nil || actual != expected {
			t.Errorf("%s: %+v, %v", text, actual, err)
		}
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for text, expected := range map[string]string{
		"":                           `--size "": expected a whole number`,
		"--size 50%":                 `--size "50%": expected a whole number`,
		"--size 1.5GB":               `--size "1.5GB": expected a whole number`,
		"--size 0MB":                 `--size "0MB": expected a whole number above 0`,
		"--size 99999999TB":          `--size "99999999TB": expected`,
		"--size 1MB --workers 0":     "--workers 0: expected 1 or more",
		"--size 1MB --time -1s":      "--time: expected 0 or more",
		"--size 1MB --vm-keep":       "flag provided but not defined: -vm-keep",
		"--size 1MB --time 1s extra": `unknown argument "extra"`,
	} {
		if _, err := parse(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%s: expected %q, got %v", text, expected, err)
		}
	}
}

func TestGrowsEvenly(t *testing.T) {
	for elapsed, expected := range map[time.Duration]int64{0: 0, time.Second: 250, 2 * time.Second: 500, 4 * time.Second: 1000, time.Hour: 1000} {
		if actual := due(1000, elapsed, 4*time.Second); actual != expected {
			t.Errorf("after %s: %d, expected %d", elapsed, actual, expected)
		}
	}
	if due(1000, 0, 0) != 1000 {
		t.Error("without a time all of it is due at once")
	}
}

func TestTakesTheMemoryAndEndsOnSIGTERM(t *testing.T) {
	command := exec.Command(os.Args[0], "--size", "32MB", "--workers", "2")
	command.Env = append(os.Environ(), "BE_MEMSTRESS=1")
	output, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	if line != "2 times 33554432 bytes taken\n" {
		t.Errorf("output %q", line)
	}
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(command.Process.Pid) + "/status")
	match := regexp.MustCompile(`RssAnon:\s*(\d+) kB`).FindSubmatch(status)
	if match == nil {
		t.Fatalf("no RssAnon in %s", status)
	}
	if kibibytes, _ := strconv.Atoi(string(match[1])); kibibytes < 64<<10 || kibibytes > 96<<10 {
		t.Errorf("%d KiB taken, expected 64 MiB and a little", kibibytes)
	}
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}
