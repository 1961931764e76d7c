// The load spec: what to send, where and when, as the experiment stack writes it to /config/load.json.

package llmeval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
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
	// Seed of the arrival times and of the prompts.
	Seed uint64 `json:"seed"`
	// Workers caps the number of requests in flight.
	Workers int `json:"workers"`
	// SpawnRatePerSecond staggers the workers: worker k takes no request before T0 + k/rate. Zero: all at once.
	SpawnRatePerSecond float64 `json:"spawnRatePerSecond"`
	// RequestTimeoutSeconds counts from the send to the last byte.
	RequestTimeoutSeconds float64 `json:"requestTimeoutSeconds"`
	// T0TimeoutSeconds bounds the wait for the timeline file.
	T0TimeoutSeconds float64 `json:"t0TimeoutSeconds"`
	TimelineFile     string  `json:"timelineFile"`
	OutputDir        string  `json:"outputDir"`
	Cells            []Cell  `json:"cells"`
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

// Cell is one load level in one iteration.
type Cell struct {
	ID string `json:"id"`
	// StartOffsetSeconds counts from T0.
	StartOffsetSeconds float64 `json:"startOffsetSeconds"`
	DurationSeconds    float64 `json:"durationSeconds"`
	RatePerSecond      float64 `json:"ratePerSecond"`
	// Arrivals is "constant", "poisson" or "burst".
	Arrivals string `json:"arrivals"`
	// BurstSize is the number of requests per burst; it matters to "burst" only.
	BurstSize    int     `json:"burstSize"`
	PromptTokens int     `json:"promptTokens"`
	OutputTokens int     `json:"outputTokens"`
	Phases       []Phase `json:"phases"`
}

// Phase is a named stretch of a cell.
type Phase struct {
	Name string `json:"name"`
	// StartOffsetSeconds counts from the start of the cell.
	StartOffsetSeconds float64 `json:"startOffsetSeconds"`
	DurationSeconds    float64 `json:"durationSeconds"`
}

// readSpec reads and checks a spec. All problems are reported at once.
func readSpec(file string) (*Spec, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("load spec: %w; set LLMEVAL_LOAD_SPEC to the spec's path", err)
	}
	var spec Spec
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		return nil, fmt.Errorf("load spec %s: %w", file, err)
	}
	if problems := spec.problems(); len(problems) > 0 {
		return nil, fmt.Errorf("load spec %s: %s", file, strings.Join(problems, "; "))
	}
	return &spec, nil
}

func (s *Spec) problems() []string {
	var found []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	check(s.SchemaVersion == schemaVersion, "schemaVersion: %d, this load generator reads %d", s.SchemaVersion, schemaVersion)
	check(s.ExperimentID != "", "experimentId: must not be empty")
	target, err := url.Parse(s.Target.URL)
	check(err == nil && (target.Scheme == "http" || target.Scheme == "https") && target.Host != "",
		"target.url: %q, want http(s)://host/path", s.Target.URL)
	check(s.Target.Model != "", "target.model: must not be empty")
	check(s.Target.API == "chat" || s.Target.API == "completions", `target.api: %q, want "chat" or "completions"`, s.Target.API)
	check(s.Workers >= 1, "workers: %d, want at least 1", s.Workers)
	check(s.SpawnRatePerSecond >= 0, "spawnRatePerSecond: %v, want 0 (all at once) or more", s.SpawnRatePerSecond)
	check(s.RequestTimeoutSeconds > 0, "requestTimeoutSeconds: %v, want more than 0", s.RequestTimeoutSeconds)
	check(s.T0TimeoutSeconds > 0, "t0TimeoutSeconds: %v, want more than 0", s.T0TimeoutSeconds)
	check(s.TimelineFile != "", "timelineFile: must not be empty")
	check(s.OutputDir != "", "outputDir: must not be empty")
	check(len(s.Cells) > 0, "cells: want at least one")
	ids := map[string]bool{}
	for i, cell := range s.Cells {
		at := fmt.Sprintf("cells[%d]", i)
		check(cell.ID != "" && !ids[cell.ID], "%s.id: %q, must be set and unique", at, cell.ID)
		ids[cell.ID] = true
		check(cell.StartOffsetSeconds >= 0, "%s.startOffsetSeconds: %v, want 0 or more", at, cell.StartOffsetSeconds)
		check(cell.DurationSeconds > 0, "%s.durationSeconds: %v, want more than 0", at, cell.DurationSeconds)
		check(cell.RatePerSecond > 0, "%s.ratePerSecond: %v, want more than 0", at, cell.RatePerSecond)
		check(cell.Arrivals == "constant" || cell.Arrivals == "poisson" || cell.Arrivals == "burst",
			`%s.arrivals: %q, want "constant", "poisson" or "burst"`, at, cell.Arrivals)
		check(cell.Arrivals != "burst" || cell.BurstSize >= 1, "%s.burstSize: %d, want at least 1", at, cell.BurstSize)
		check(cell.PromptTokens >= 1, "%s.promptTokens: %d, want at least 1", at, cell.PromptTokens)
		check(cell.OutputTokens >= 1, "%s.outputTokens: %d, want at least 1", at, cell.OutputTokens)
		for j, phase := range cell.Phases {
			check(phase.Name != "" && phase.StartOffsetSeconds >= 0 && phase.DurationSeconds > 0,
				"%s.phases[%d]: want a name, startOffsetSeconds of 0 or more and durationSeconds of more than 0", at, j)
		}
	}
	return found
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
