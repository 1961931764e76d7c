// Runs a command and writes down what it and all its descendants cost: CPU seconds, peak memory, and both over time.
//
//	measure --out usage.json -- COMMAND ARGUMENT...
//
// Exits as the command does. Memory is the proportional set size, in which a page that processes share counts once.

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	sampleEvery = 250 * time.Millisecond
	// Memory is sampled less often: reading it walks all page tables of the process.
	memoryEvery         = 4
	prSetSubreaper      = 36
	clockTicksPerSecond = 100
)

// sample is what the processes that are alive had used at a time, descendants that have ended and been waited for included.
type sample struct {
	UnixNs     int64   `json:"unixNs"`
	CPUSeconds float64 `json:"cpuSeconds"`
	// MemoryBytes is the proportional set size of all; null where it was not read.
	MemoryBytes *int64 `json:"memoryBytes"`
	Processes   int    `json:"processes"`
}

// report is the content of the file.
type report struct {
	ExitCode        int      `json:"exitCode"`
	WallSeconds     float64  `json:"wallSeconds"`
	CPUSeconds      float64  `json:"cpuSeconds"`
	PeakMemoryBytes int64    `json:"peakMemoryBytes"`
	Samples         []sample `json:"samples"`
}

func main() {
	out := flag.String("out", "", "file of the report")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: measure --out FILE -- COMMAND ARGUMENT...")
		os.Exit(2)
	}
	result, err := run(flag.Args())
	if err == nil {
		var text []byte
		text, err = json.Marshal(result)
		err = errors.Join(err, os.WriteFile(*out, text, 0o644))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(125)
	}
	os.Exit(result.ExitCode)
}

// run waits for the command and for every descendant that outlives its parent, so that the kernel's sum is complete.
func run(command []string) (*report, error) {
	// Orphans become this process's children in place of init's.
	if _, _, failure := syscall.Syscall(syscall.SYS_PRCTL, prSetSubreaper, 1, 0); failure != 0 {
		return nil, fmt.Errorf("subreaper: %w", failure)
	}
	child := exec.Command(command[0], command[1:]...)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := time.Now()
	if err := child.Start(); err != nil {
		return nil, err
	}
	forward(child.Process.Pid)
	result := &report{}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		result.Samples = watch(stop)
	}()
	result.ExitCode = reap(child.Process.Pid)
	result.WallSeconds = time.Since(started).Seconds()
	close(stop)
	<-stopped
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		return nil, err
	}
	result.CPUSeconds = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	for _, each := range result.Samples {
		if each.MemoryBytes != nil {
			result.PeakMemoryBytes = max(result.PeakMemoryBytes, *each.MemoryBytes)
		}
	}
	return result, nil
}

// forward passes signals on to the command's process group.
func forward(group int) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for received := range signals {
			_ = syscall.Kill(-group, received.(syscall.Signal))
		}
	}()
}

// reap waits for the command; what it leaves running is ended and waited for too.
func reap(command int) int {
	code := 0
	ended := false
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return code
		case pid == command:
			ended = true
			code = status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
		}
		if ended {
			for _, left := range children(os.Getpid()) {
				_ = syscall.Kill(left, syscall.SIGKILL)
			}
		}
	}
}

func watch(stop <-chan struct{}) []sample {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	var samples []sample
	for {
		if taken := take(len(samples)%memoryEvery == 0); taken.Processes > 0 {
			samples = append(samples, taken)
		}
		select {
		case <-ticker.C:
		case <-stop:
			return samples
		}
	}
}

// take adds up all descendants. What a process's own waited-for children used counts through that process, what orphans
// used through this one. The latter is read first: a process that ends in between is missed once, not counted twice.
func take(memory bool) sample {
	result := sample{UnixNs: time.Now().UnixNano()}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage) == nil {
		result.CPUSeconds = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	}
	var total int64
	queue := children(os.Getpid())
	for len(queue) > 0 {
		pid := queue[0]
		queue = append(queue[1:], children(pid)...)
		result.Processes++
		result.CPUSeconds += cpuSeconds(pid)
		if memory {
			total += memoryBytes(pid)
		}
	}
	if memory {
		result.MemoryBytes = &total
	}
	return result
}

// children lists a process's children; a process that is gone has none.
func children(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var found []int
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

func cpuSeconds(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return statSeconds(text)
}

// statSeconds adds utime, stime, cutime and cstime (fields 14 to 17 of proc(5)). The name before may hold spaces.
func statSeconds(text []byte) float64 {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return 0
	}
	ticks := 0
	for _, field := range fields[11:15] {
		count, _ := strconv.Atoi(field)
		ticks += count
	}
	return float64(ticks) / clockTicksPerSecond
}

func memoryBytes(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	return pssBytes(text)
}

// pssBytes reads the line "Pss:   1234 kB".
func pssBytes(text []byte) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "Pss:"); found {
			kilobytes, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
