// The load generator's check of itself: whether it, and not the target, set the pace.

package llmeval

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits of a generator that keeps up.
const (
	// k6's own guide for large tests asks for a fifth of the CPU to be idle.
	maxCPUShare = 0.8
	// maxThrottledShare of the time may be spent stopped by the container's CPU limit.
	maxThrottledShare = 0.01
	maxOwnLag         = 50 * time.Millisecond
	// maxWaitingShare of the requests may have waited for a worker for longer than maxOwnLag.
	maxWaitingShare = 0.01
)

// selfCheck is part of load.json. Times count from T0 to the end.
type selfCheck struct {
	// CPUShare is CPU seconds / (wall seconds x GOMAXPROCS).
	CPUShare float64 `json:"cpuShare"`
	// ThrottledSeconds is the time that the cgroup's CPU limit stopped this process for; null where there is no such count.
	ThrottledSeconds *float64 `json:"throttledSeconds"`
	// SocketErrors counts requests that failed for a lack of files, ports or buffers on this side.
	SocketErrors int64 `json:"socketErrors"`
	// LagP99Ms is the generator's own part of the lag: from the time when the request was due and a worker was free.
	LagP99Ms   float64  `json:"lagP99Ms"`
	Bottleneck bool     `json:"bottleneck"`
	Reasons    []string `json:"reasons"`
}

// reading is what the process has used up to a point in time.
type reading struct {
	at         time.Time
	cpuSeconds float64
	throttled  *float64
}

func takeReading() *reading {
	return &reading{at: time.Now(), cpuSeconds: cpuSeconds(), throttled: throttledSeconds("/")}
}

// checkSelf judges what happened between two readings.
func checkSelf(from, to *reading, processors, workers int, log *rowLog, socketErrors int64) *selfCheck {
	wall := to.at.Sub(from.at).Seconds()
	c := &selfCheck{SocketErrors: socketErrors, Reasons: []string{}}
	if wall > 0 {
		c.CPUShare = (to.cpuSeconds - from.cpuSeconds) / (wall * float64(processors))
	}
	if from.throttled != nil && to.throttled != nil {
		throttled := *to.throttled - *from.throttled
		c.ThrottledSeconds = &throttled
	}
	if lags := lagStatistics(log.ownLags); lags != nil {
		c.LagP99Ms = float64(lags.P99) / 1e6
	}
	because := func(holds bool, format string, args ...any) {
		if holds {
			c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...))
		}
	}
	because(c.CPUShare > maxCPUShare, "it used %.0f %% of %d processors, more than %.0f %%", 100*c.CPUShare, processors, 100*maxCPUShare)
	because(c.ThrottledSeconds != nil && *c.ThrottledSeconds > maxThrottledShare*wall,
		"its CPU limit stopped it for %.1f of %.1f s", deref(c.ThrottledSeconds), wall)
	because(c.SocketErrors > 0, "%d requests failed for a lack of sockets on its side", c.SocketErrors)
	because(c.LagP99Ms > float64(maxOwnLag.Milliseconds()), "it sent 1 %% of the requests more than %.0f ms late, limit %d ms",
		c.LagP99Ms, maxOwnLag.Milliseconds())
	because(float64(log.waited) > maxWaitingShare*float64(len(log.lags)),
		"%d of %d requests waited for one of its %d workers; raise the number of workers", log.waited, len(log.lags), workers)
	c.Bottleneck = len(c.Reasons) > 0
	return c
}

func deref(value *float64) float64 {
	if value == nil {
		return 0
	}
	return *value
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// throttledSeconds reads the cgroup's cpu.stat, of version 2 or 1. Nil: none that counts.
func throttledSeconds(root string) *float64 {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	mount := filepath.Join(root, "sys/fs/cgroup")
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path; version 2 has no controllers here.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		version1 := strings.Contains(","+parts[1]+",", ",cpu,")
		if parts[1] != "" && !version1 {
			continue
		}
		// In a container the mount may show its own cgroup as the root, whatever the path says.
		for _, path := range []string{parts[2], "/"} {
			stat, err := os.ReadFile(filepath.Join(mount, parts[1], path, "cpu.stat"))
			if err == nil {
				if value := throttledIn(string(stat)); value != nil {
					return value
				}
			}
		}
	}
	return nil
}

func throttledIn(stat string) *float64 {
	// Microseconds in version 2, nanoseconds in version 1.
	units := map[string]float64{"throttled_usec": 1e6, "throttled_time": 1e9}
	for line := range strings.Lines(stat) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		count, err := strconv.ParseFloat(text, 64)
		if unit := units[name]; unit > 0 && err == nil {
			seconds := count / unit
			return &seconds
		}
	}
	return nil
}
