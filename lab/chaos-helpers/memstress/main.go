// Takes memory and keeps it until it is told to end:  memStress --size SIZE [--workers N] [--time DURATION]
// As upstream's does, each worker takes SIZE, evenly over DURATION, and MB means MiB.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type options struct {
	bytes   int64
	workers int
	growth  time.Duration
}

var units = []struct {
	suffix string
	bytes  int64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"TB", 1 << 40},
	{"B", 1},
}

func parseSize(text string) (int64, error) {
	for _, unit := range units {
		if number, found := strings.CutSuffix(strings.ToUpper(text), unit.suffix); found {
			count, err := strconv.ParseInt(number, 10, 64)
			if err != nil || count <= 0 || count > (1<<50)/unit.bytes {
				break
			}
			return count * unit.bytes, nil
		}
	}
	return 0, fmt.Errorf("--size %q: expected a whole number above 0 with one of B, KB, KiB, MB, MiB, GB, GiB, TB, TiB", text)
}

func parse(args []string) (options, error) {
	flags := flag.NewFlagSet("memStress", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	size := flags.String("size", "", "")
	workers := flags.Int("workers", 1, "")
	growth := flags.Duration("time", 0, "")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	bytes, err := parseSize(*size)
	if err != nil {
		return options{}, err
	}
	if *workers < 1 {
		return options{}, fmt.Errorf("--workers %d: expected 1 or more", *workers)
	}
	if *growth < 0 {
		return options{}, errors.New("--time: expected 0 or more")
	}
	return options{bytes: bytes, workers: *workers, growth: *growth}, nil
}

// due is how many bytes are to be taken after a time.
func due(bytes int64, elapsed, growth time.Duration) int64 {
	if elapsed >= growth {
		return bytes
	}
	return int64(float64(bytes) * float64(elapsed) / float64(growth))
}

// fill touches every page, so that the kernel must give it.
func fill(memory []byte, growth time.Duration) {
	started := time.Now()
	page := os.Getpagesize()
	for next := 0; next < len(memory); time.Sleep(10 * time.Millisecond) {
		for end := due(int64(len(memory)), time.Since(started), growth); int64(next) < end; next += page {
			memory[next] = 1
		}
	}
}

func main() {
	options, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "memStress:", err)
		os.Exit(2)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	var filled sync.WaitGroup
	for range options.workers {
		memory, err := syscall.Mmap(-1, 0, int(options.bytes), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
		if err != nil {
			fmt.Fprintf(os.Stderr, "memStress: %d bytes: %v\n", options.bytes, err)
			os.Exit(1)
		}
		filled.Go(func() { fill(memory, options.growth) })
	}
	go func() {
		filled.Wait()
		fmt.Printf("%d times %d bytes taken\n", options.workers, options.bytes)
	}()
	<-ended
}
