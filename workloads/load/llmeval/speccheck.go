// What can be wrong with a load spec.

package llmeval

import (
	"fmt"
	"net/url"
)

type checker struct{ found []string }

func (c *checker) check(ok bool, format string, args ...any) {
	if !ok {
		c.found = append(c.found, fmt.Sprintf(format, args...))
	}
}

func (s *Spec) problems() []string {
	var c checker
	c.check(s.SchemaVersion == schemaVersion, "schemaVersion: %d, this load generator reads %d", s.SchemaVersion, schemaVersion)
	c.check(s.ExperimentID != "", "experimentId: must not be empty")
	target, err := url.Parse(s.Target.URL)
	c.check(err == nil && (target.Scheme == "http" || target.Scheme == "https") && target.Host != "",
		"target.url: %q, want http(s)://host/path", s.Target.URL)
	c.check(s.Target.Model != "", "target.model: must not be empty")
	c.check(s.Target.API == "chat" || s.Target.API == "completions", `target.api: %q, want "chat" or "completions"`, s.Target.API)
	c.check(s.Workers >= 1, "workers: %d, want at least 1", s.Workers)
	c.check(s.SpawnRatePerSecond >= 0, "spawnRatePerSecond: %v, want 0 (all at once) or more", s.SpawnRatePerSecond)
	c.check(s.RequestTimeoutSeconds > 0, "requestTimeoutSeconds: %v, want more than 0", s.RequestTimeoutSeconds)
	c.check(s.T0TimeoutSeconds > 0, "t0TimeoutSeconds: %v, want more than 0", s.T0TimeoutSeconds)
	c.check(s.TimelineFile != "", "timelineFile: must not be empty")
	c.check(s.OutputDir != "", "outputDir: must not be empty")
	c.check(s.StopAfterDeadSeconds >= 0, "stopAfterDeadSeconds: %v, want null (never) or more than 0", s.StopAfterDeadSeconds)
	c.prompts(s)
	c.check(len(s.Cells) > 0, "cells: want at least one")
	ids := map[string]bool{}
	for i := range s.Cells {
		cell, at := &s.Cells[i], fmt.Sprintf("cells[%d]", i)
		c.check(cell.ID != "" && !ids[cell.ID], "%s.id: %q, must be set and unique", at, cell.ID)
		ids[cell.ID] = true
		c.cell(at, cell)
		c.check((cell.Concurrency > 0) == s.closedLoop(), "%s.concurrency: %d, want all cells with a rate or all with a concurrency", at, cell.Concurrency)
	}
	return c.found
}

func (c *checker) prompts(s *Spec) {
	switch p := s.Prompts; p.Kind {
	case promptsRandom:
	case promptsSharedPrefix:
		c.check(p.Prefixes >= 1, "prompts.prefixes: %d, want at least 1", p.Prefixes)
		c.check(p.PrefixTokens >= 1, "prompts.prefixTokens: %d, want at least 1", p.PrefixTokens)
	case promptsMultiTurn:
		c.check(p.Turns >= 1, "prompts.turns: %d, want at least 1", p.Turns)
		c.check(p.ThinkSeconds >= 0, "prompts.thinkSeconds: %v, want 0 or more", p.ThinkSeconds)
		c.check(s.Target.API == "chat", "prompts.kind: %q needs the chat API", p.Kind)
	case promptsFile:
		c.check(p.File != "", "prompts.file: must not be empty")
	default:
		c.check(false, `prompts.kind: %q, want "random", "shared-prefix", "multi-turn" or "file"`, p.Kind)
	}
}

func (c *checker) cell(at string, cell *Cell) {
	c.check(cell.StartOffsetSeconds >= 0, "%s.startOffsetSeconds: %v, want 0 or more", at, cell.StartOffsetSeconds)
	c.check(cell.DurationSeconds > 0, "%s.durationSeconds: %v, want more than 0", at, cell.DurationSeconds)
	if cell.Concurrency != 0 {
		c.check(cell.Concurrency > 0, "%s.concurrency: %d, want at least 1", at, cell.Concurrency)
		c.check(cell.RatePerSecond == 0 && cell.RampToRatePerSecond == 0, "%s: want either a rate or a concurrency", at)
	} else {
		c.check(cell.RatePerSecond > 0, "%s.ratePerSecond: %v, want more than 0", at, cell.RatePerSecond)
		c.check(cell.RampToRatePerSecond >= 0, "%s.rampToRatePerSecond: %v, want more than 0", at, cell.RampToRatePerSecond)
		c.check(cell.Arrivals == "constant" || cell.Arrivals == "poisson" || cell.Arrivals == "burst",
			`%s.arrivals: %q, want "constant", "poisson" or "burst"`, at, cell.Arrivals)
		c.check(cell.Arrivals != "burst" || cell.BurstSize >= 1, "%s.burstSize: %d, want at least 1", at, cell.BurstSize)
		c.check(cell.Arrivals != "burst" || cell.RampToRatePerSecond == 0, "%s.rampToRatePerSecond: bursts have no ramp", at)
	}
	prompt, output := cell.PromptTokens.problem(), cell.OutputTokens.problem()
	c.check(prompt == "", "%s.promptTokens: %s", at, prompt)
	c.check(output == "", "%s.outputTokens: %s", at, output)
	for j, phase := range cell.Phases {
		c.check(phase.Name != "" && phase.StartOffsetSeconds >= 0 && phase.DurationSeconds > 0,
			"%s.phases[%d]: want a name, startOffsetSeconds of 0 or more and durationSeconds of more than 0", at, j)
	}
}
