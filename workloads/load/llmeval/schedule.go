// The schedule: every request of every cell with its time, computed from the seed before the first one is sent.

package llmeval

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sort"
	"time"
)

// unassignedPhase marks a request whose time lies in none of its cell's phases.
const unassignedPhase = "unassigned"

// scheduled is one request.
type scheduled struct {
	index int
	// indexInCell and the cell's id seed the lengths and the prompt, so that another cell more or less changes neither.
	indexInCell int
	cell        *Cell
	phase       string
	// at counts from T0.
	at time.Duration
	// turn counts from 1 in a session; 0 where there are no sessions.
	turn int
	// promptTokens of the request's own text; 0 where it comes from a file.
	promptTokens int
	outputTokens int
}

// use names what a random number is for; each turn has its own.
func (r *scheduled) use(name string) string {
	if r.turn <= 1 {
		return name
	}
	return fmt.Sprintf("%s of turn %d", name, r.turn)
}

// schedule returns the requests of all cells in the order in which they are due; of a multi-turn session the first turn.
// A closed loop has none: its requests are made as workers become free.
func schedule(spec *Spec) []scheduled {
	var all []scheduled
	if spec.closedLoop() {
		return all
	}
	for i := range spec.Cells {
		cell := &spec.Cells[i]
		start := seconds(cell.StartOffsetSeconds)
		for j, at := range arrivals(cell, spec.Seed) {
			request := newRequest(spec, cell, j)
			request.phase, request.at = phaseAt(cell, at), start+at
			all = append(all, request)
		}
	}
	sort.SliceStable(all, func(a, b int) bool { return all[a].at < all[b].at })
	for i := range all {
		all[i].index = i
	}
	return all
}

// newRequest returns the request, or first turn, of this number in a cell, with its lengths.
func newRequest(spec *Spec, cell *Cell, indexInCell int) scheduled {
	request := scheduled{cell: cell, indexInCell: indexInCell}
	if spec.Prompts.Kind == promptsMultiTurn {
		request.turn = 1
	}
	request.drawLengths(spec)
	return request
}

// nextTurn returns the turn of the session that follows this one.
func (r *scheduled) nextTurn(spec *Spec) scheduled {
	next := *r
	next.turn++
	next.drawLengths(spec)
	return next
}

func (r *scheduled) drawLengths(spec *Spec) {
	draw := func(name string, length Length) int {
		return length.draw(newRandom(spec.Seed, r.use(name), r.cell.ID, r.indexInCell))
	}
	r.promptTokens = draw("promptTokens", r.cell.PromptTokens)
	r.outputTokens = draw("outputTokens", r.cell.OutputTokens)
	if spec.Prompts.Kind == promptsFile {
		r.promptTokens = 0
		if line := spec.line(r); line.OutputTokens > 0 {
			r.outputTokens = line.OutputTokens
		}
	}
}

// line of the prompt file that a request takes: each cell goes through the file from its start, again and again.
func (s *Spec) line(request *scheduled) *promptLine {
	return &s.lines[request.indexInCell%len(s.lines)]
}

// expectedPromptTokens counts the tokens of the text that a request sends; nil where it is not known: in a prompt of a
// file, and from a session's second turn on, which also sends the answers.
func (s *Spec) expectedPromptTokens(request *scheduled) *int {
	tokens := request.promptTokens
	switch {
	case s.Prompts.Kind == promptsFile || request.turn > 1:
		return nil
	case s.Prompts.Kind == promptsSharedPrefix:
		tokens += s.Prompts.PrefixTokens
	}
	return &tokens
}

func phaseAt(cell *Cell, at time.Duration) string {
	for _, phase := range cell.Phases {
		start := seconds(phase.StartOffsetSeconds)
		if at >= start && at < start+seconds(phase.DurationSeconds) {
			return phase.Name
		}
	}
	return unassignedPhase
}

// scheduleSha256 identifies what is played: one line per request, in order; in a closed loop one line per cell.
func scheduleSha256(spec *Spec, all []scheduled) string {
	hash := sha256.New()
	for i := range all {
		request, tokens := &all[i], 0
		if expected := spec.expectedPromptTokens(request); expected != nil {
			tokens = *expected
		}
		fmt.Fprintf(hash, "%d\t%s\t%s\t%d\t%d\t%d\n", request.index, request.cell.ID, request.phase, request.at.Nanoseconds(),
			tokens, request.outputTokens)
	}
	if spec.closedLoop() {
		for _, cell := range spec.Cells {
			fmt.Fprintf(hash, "%s\t%d\t%d\t%d\n", cell.ID, cell.Concurrency, seconds(cell.StartOffsetSeconds).Nanoseconds(),
				seconds(cell.DurationSeconds).Nanoseconds())
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// startOffset and endOffset are the start of the first cell and the end of the last, counted from T0.
func startOffset(spec *Spec) time.Duration {
	start := seconds(spec.Cells[0].StartOffsetSeconds)
	for _, cell := range spec.Cells {
		start = min(start, seconds(cell.StartOffsetSeconds))
	}
	return start
}

func endOffset(spec *Spec) time.Duration {
	var end time.Duration
	for _, cell := range spec.Cells {
		end = max(end, seconds(cell.StartOffsetSeconds)+seconds(cell.DurationSeconds))
	}
	return end
}

// newRandom returns a generator of its own for each use, so that one use never shifts the numbers of another.
func newRandom(seed uint64, use, cell string, index int) *rand.PCG {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s\x00%s\x00%d", use, cell, index)
	return rand.NewPCG(seed, hash.Sum64())
}

// unit returns a number in [0, 1) with 53 random bits.
func unit(random *rand.PCG) float64 {
	return float64(random.Uint64()>>11) / (1 << 53)
}
