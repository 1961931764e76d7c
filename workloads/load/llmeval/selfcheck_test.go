package llmeval

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestCheckSelf(t *testing.T) {
	start := time.Unix(1790000000, 0)
	number := func(value float64) *float64 { return &value }
	good := &rowLog{lags: make([]int64, 100), ownLags: []int64{2e6, 4e6}, waited: 1}
	got := checkSelf(&reading{start, 3, number(0.5)}, &reading{start.Add(20 * time.Second), 11, number(0.6)}, 2, 64, good, 0)
	if want := (&selfCheck{CPUShare: 0.2, ThrottledSeconds: got.ThrottledSeconds, LagP99Ms: 4, Reasons: []string{}}); !reflect.DeepEqual(got, want) || *got.ThrottledSeconds > 0.1001 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	bad := &rowLog{lags: make([]int64, 100), ownLags: []int64{60e6}, waited: 2}
	got = checkSelf(&reading{start, 0, number(0)}, &reading{start.Add(20 * time.Second), 33, number(1.5)}, 2, 64, bad, 7)
	want := &selfCheck{CPUShare: 0.825, ThrottledSeconds: number(1.5), SocketErrors: 7, LagP99Ms: 60, Bottleneck: true, Reasons: []string{
		"it used 82 % of 2 processors, more than 80 %",
		"its CPU limit stopped it for 1.5 of 20.0 s",
		"7 requests failed for a lack of sockets on its side",
		"it sent 1 % of the requests more than 60 ms late, limit 50 ms",
		"2 of 100 requests waited for one of its 64 workers; raise the number of workers",
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	unknown := checkSelf(&reading{at: start}, &reading{at: start.Add(time.Second)}, 2, 64, &rowLog{}, 0)
	if want := (&selfCheck{Reasons: []string{}}); !reflect.DeepEqual(unknown, want) {
		t.Errorf("got %+v, want %+v", unknown, want)
	}
}

func TestThrottledSeconds(t *testing.T) {
	for name, test := range map[string]struct {
		cgroup, file, stat string
		want               float64
	}{
		"version 2, own namespace": {"0::/\n", "cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000\n", 2.5},
		"version 2":                {"0::/a/b\n", "a/b/cpu.stat", "throttled_usec 1000000\n", 1},
		"version 1":                {"5:memory:/x\n4:cpu,cpuacct:/x\n0::/x\n", "cpu,cpuacct/x/cpu.stat", "nr_periods 9\nnr_throttled 1\nthrottled_time 750000000\n", 0.75},
		"version 1, own namespace": {"4:cpu,cpuacct:/x\n", "cpu,cpuacct/cpu.stat", "throttled_time 0\n", 0},
	} {
		root := t.TempDir()
		put := func(file, text string) {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		put("proc/self/cgroup", test.cgroup)
		if got := throttledSeconds(root); got != nil {
			t.Errorf("%s: got %v without a cpu.stat", name, *got)
		}
		put(filepath.Join("sys/fs/cgroup", test.file), test.stat)
		if got := throttledSeconds(root); got == nil || *got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	if got := throttledSeconds(t.TempDir()); got != nil {
		t.Errorf("got %v where there is no cgroup", *got)
	}
}

func TestOwnSocketErrors(t *testing.T) {
	wrap := func(number syscall.Errno) error {
		return fmt.Errorf("round trip: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", number)})
	}
	for number, want := range map[syscall.Errno]bool{syscall.EMFILE: true, syscall.EADDRNOTAVAIL: true, syscall.ECONNREFUSED: false, syscall.ECONNRESET: false} {
		if got := isOwnSocketError(wrap(number)); got != want {
			t.Errorf("%v: got %v, want %v", number, got, want)
		}
	}
}

// A run that is late for want of workers says whose fault it is.
func TestSelfCheckOfARun(t *testing.T) {
	spec := serve(t, &stub{firstToken: 200 * time.Millisecond, tokens: 1})
	spec.Workers = 1
	_, report := run(t, spec)
	check := report.SelfCheck
	waited := regexp.MustCompile(`^(9|10) of 10 requests waited for one of its 1 workers; raise the number of workers$`)
	if check == nil || !check.Bottleneck || check.CPUShare <= 0 || check.SocketErrors != 0 || !slices.ContainsFunc(check.Reasons, waited.MatchString) {
		t.Fatalf("self check %+v", check)
	}
	// The wait for the worker is no lag of its own.
	if total := float64(report.LagNs.P99) / 1e6; total < 1000 || check.LagP99Ms > total/2 {
		t.Errorf("lag p99 %.1f ms, of its own %.1f ms", total, check.LagP99Ms)
	}
}
