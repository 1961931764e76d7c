// The load spec: what to send, where and when, as the experiment stack writes it to /config/load.json.

package llmeval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

const schemaVersion = 1

// Spec is the whole of one experiment's load. Every field is required unless its comment names a default.
type Spec struct {
	SchemaVersion int    `json:"schemaVersion"`
	ExperimentID  string `json:"experimentId"`
	Target        Target `json:"target"`
	// Seed of the arrival times, the lengths and the prompts.
	Seed uint64 `json:"seed"`
	// Workers caps the number of requests in flight in an open loop; in a closed loop each cell's concurrency does.
	Workers int `json:"workers"`
	// SpawnRatePerSecond staggers the workers: worker k takes no request before T0 (in a closed loop: before its cell's
	// start) + k/rate. Zero: all at once.
	SpawnRatePerSecond float64 `json:"spawnRatePerSecond"`
	// RequestTimeoutSeconds counts from the send to the last byte.
	RequestTimeoutSeconds float64 `json:"requestTimeoutSeconds"`
	// T0TimeoutSeconds bounds the wait for the timeline file.
	T0TimeoutSeconds float64 `json:"t0TimeoutSeconds"`
	TimelineFile     string  `json:"timelineFile"`
	OutputDir        string  `json:"outputDir"`
	// Prompts says what the requests ask. Default: random prompts.
	Prompts Prompts `json:"prompts"`
	// StopAfterDeadSeconds aborts a load that has met nothing but failures for so long. Default: never.
	StopAfterDeadSeconds float64 `json:"stopAfterDeadSeconds"`
	// StopWhenSaturated skips the cells of levels above one that was saturated. Default: false.
	StopWhenSaturated bool   `json:"stopWhenSaturated"`
	Cells             []Cell `json:"cells"`

	// lines of the prompt file.
	lines []promptLine
}

// Kinds of prompts.
const (
	promptsRandom       = "random"
	promptsSharedPrefix = "shared-prefix"
	promptsMultiTurn    = "multi-turn"
	promptsFile         = "file"
)

// Prompts says what the requests ask. The fields after Kind belong to one kind each.
type Prompts struct {
	// Kind is "random", "shared-prefix", "multi-turn" or "file".
	Kind string `json:"kind"`
	// Prefixes of PrefixTokens tokens each stand in front of the prompts of a cell, in turn.
	Prefixes     int `json:"prefixes"`
	PrefixTokens int `json:"prefixTokens"`
	// Turns of each session, with ThinkSeconds between the end of one and the next. ThinkSeconds defaults to 0.
	Turns        int     `json:"turns"`
	ThinkSeconds float64 `json:"thinkSeconds"`
	// File holds prompts as JSON lines.
	File string `json:"file"`
}

// Target is the endpoint under load.
type Target struct {
	URL   string `json:"url"`
	Model string `json:"model"`
	// API is "chat" or "completions".
	API     string            `json:"api"`
	Stream  bool              `json:"stream"`
	Headers map[string]string `json:"headers"`
}

// Cell is one load level in one iteration: an open loop at a rate, or a closed loop of a concurrency.
type Cell struct {
	ID string `json:"id"`
	// StartOffsetSeconds counts from T0.
	StartOffsetSeconds float64 `json:"startOffsetSeconds"`
	DurationSeconds    float64 `json:"durationSeconds"`
	// RatePerSecond of arrivals; null or 0 in a closed loop.
	RatePerSecond float64 `json:"ratePerSecond"`
	// RampToRatePerSecond is the rate at the cell's end; it changes linearly. Default (null or 0): the rate stays.
	RampToRatePerSecond float64 `json:"rampToRatePerSecond"`
	// Concurrency is the number of workers that each send the next request when the last one has ended; null or 0 in an
	// open loop.
	Concurrency int `json:"concurrency"`
	// Arrivals is "constant", "poisson" or "burst"; it matters to an open loop only.
	Arrivals string `json:"arrivals"`
	// BurstSize is the number of requests per burst; it matters to "burst" only.
	BurstSize int `json:"burstSize"`
	// PromptTokens of the text that is each request's own, without a shared prefix or earlier turns.
	PromptTokens Length  `json:"promptTokens"`
	OutputTokens Length  `json:"outputTokens"`
	Phases       []Phase `json:"phases"`
}

// Phase is a named stretch of a cell.
type Phase struct {
	Name string `json:"name"`
	// StartOffsetSeconds counts from the start of the cell.
	StartOffsetSeconds float64 `json:"startOffsetSeconds"`
	DurationSeconds    float64 `json:"durationSeconds"`
}

// closedLoop says that the cells have a concurrency in place of a rate. All cells of a spec are of one kind.
func (s *Spec) closedLoop() bool {
	return s.Cells[0].Concurrency > 0
}

// mostInFlight is the largest number of requests that may be in flight at once.
func (s *Spec) mostInFlight() int {
	if !s.closedLoop() {
		return s.Workers
	}
	most := 0
	for _, cell := range s.Cells {
		most = max(most, cell.Concurrency)
	}
	return most
}

// readSpec reads and checks a spec and its prompt file. All problems of the spec are reported at once.
func readSpec(file string) (*Spec, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("load spec: %w; set LLMEVAL_LOAD_SPEC to the spec's path", err)
	}
	spec := Spec{Prompts: Prompts{Kind: promptsRandom}}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		return nil, fmt.Errorf("load spec %s: %w", file, err)
	}
	if problems := spec.problems(); len(problems) > 0 {
		return nil, fmt.Errorf("load spec %s: %s", file, strings.Join(problems, "; "))
	}
	if spec.Prompts.Kind == promptsFile {
		spec.lines, err = readPrompts(spec.Prompts.File, spec.Target.API)
	}
	return &spec, err
}

// timeline is the part of the gate's file that the load generator needs.
type timeline struct {
	SchemaVersion int    `json:"schemaVersion"`
	T0UnixNs      int64s `json:"t0UnixNs"`
}

// readT0 returns T0, or false while the gate has not written it.
func readT0(file string) (time.Time, bool, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("timeline: %w", err)
	}
	var line timeline
	if err := json.Unmarshal(text, &line); err != nil {
		return time.Time{}, false, fmt.Errorf("timeline %s: %w", file, err)
	}
	if line.SchemaVersion != schemaVersion || line.T0UnixNs <= 0 {
		return time.Time{}, false, fmt.Errorf("timeline %s: want schemaVersion %d and a positive t0UnixNs", file, schemaVersion)
	}
	return time.Unix(0, int64(line.T0UnixNs)), true, nil
}

func seconds(value float64) time.Duration {
	return time.Duration(math.Round(value * float64(time.Second)))
}
