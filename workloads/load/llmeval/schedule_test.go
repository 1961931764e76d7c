package llmeval

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func milliseconds(values []time.Duration) []float64 {
	result := []float64{}
	for _, value := range values {
		result = append(result, float64(value.Nanoseconds())/1e6)
	}
	return result
}

func TestArrivalsExact(t *testing.T) {
	for name, test := range map[string]struct {
		cell Cell
		want []float64
	}{
		"constant":                   {Cell{Arrivals: "constant", RatePerSecond: 4, DurationSeconds: 1.5}, []float64{0, 250, 500, 750, 1000, 1250}},
		"constant, no whole number":  {Cell{Arrivals: "constant", RatePerSecond: 0.35, DurationSeconds: 10}, []float64{0, 2857.142857, 5714.285714, 8571.428571}},
		"constant, rounding of 0.1":  {Cell{Arrivals: "constant", RatePerSecond: 0.1, DurationSeconds: 30}, []float64{0, 10000, 20000}},
		"constant, less than one":    {Cell{Arrivals: "constant", RatePerSecond: 0.1, DurationSeconds: 1}, []float64{0}},
		"burst":                      {Cell{Arrivals: "burst", BurstSize: 3, RatePerSecond: 6, DurationSeconds: 1.5}, []float64{0, 0, 0, 500, 500, 500, 1000, 1000, 1000}},
		"burst, last one is partial": {Cell{Arrivals: "burst", BurstSize: 4, RatePerSecond: 4, DurationSeconds: 1.5}, []float64{0, 0, 0, 0, 1000, 1000}},
		"poisson":                    {Cell{ID: "a", Arrivals: "poisson", RatePerSecond: 2, DurationSeconds: 3}, poissonGolden},
	} {
		t.Run(name, func(t *testing.T) {
			if got := milliseconds(arrivals(&test.cell, 1)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// The numbers must never change: the same seed has to give the same experiment.
var poissonGolden = []float64{370.635274, 729.171317, 1104.222371, 1420.191648, 2546.672568, 2824.88257}

func TestPoissonStatistics(t *testing.T) {
	cell := Cell{ID: "a", Arrivals: "poisson", RatePerSecond: 50, DurationSeconds: 200}
	at := arrivals(&cell, 7)
	if len(at) != 10000 {
		t.Fatalf("%d requests, want exactly rate * duration = 10000", len(at))
	}
	var sum, squares float64
	last := time.Duration(0)
	for _, value := range at {
		gap := (value - last).Seconds()
		if gap < 0 || value >= 200*time.Second {
			t.Fatalf("%v is out of order or past the end", value)
		}
		sum, squares, last = sum+gap, squares+gap*gap, value
	}
	mean := sum / 10000
	variation := math.Sqrt(squares/10000-mean*mean) / mean
	if math.Abs(variation-1) > 0.05 {
		t.Errorf("coefficient of variation of the gaps is %.3f, want 1", variation)
	}
	if reflect.DeepEqual(at, arrivals(&cell, 8)) {
		t.Error("another seed gives the same times")
	}
	other := cell
	other.ID = "b"
	if reflect.DeepEqual(at, arrivals(&other, 7)) {
		t.Error("another cell gives the same times")
	}
}

func TestScheduleOrderAndPhases(t *testing.T) {
	spec := Spec{Seed: 1, Cells: []Cell{
		{ID: "second", StartOffsetSeconds: 2, DurationSeconds: 1, RatePerSecond: 2, Arrivals: "constant", PromptTokens: fixedLength(8), OutputTokens: fixedLength(4)},
		{ID: "first", StartOffsetSeconds: 0, DurationSeconds: 2, RatePerSecond: 2, Arrivals: "constant", PromptTokens: fixedLength(8), OutputTokens: fixedLength(4),
			Phases: []Phase{{Name: "warm-up", DurationSeconds: 0.5}, {Name: "before", StartOffsetSeconds: 0.5, DurationSeconds: 1}}},
	}}
	type line struct {
		index, indexInCell int
		cell, phase        string
		at                 time.Duration
	}
	var got []line
	all := schedule(&spec)
	for _, request := range all {
		got = append(got, line{request.index, request.indexInCell, request.cell.ID, request.phase, request.at})
	}
	want := []line{
		{0, 0, "first", "warm-up", 0},
		{1, 1, "first", "before", 500 * time.Millisecond},
		{2, 2, "first", "before", time.Second},
		{3, 3, "first", "unassigned", 1500 * time.Millisecond},
		{4, 0, "second", "unassigned", 2 * time.Second},
		{5, 1, "second", "unassigned", 2500 * time.Millisecond},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := endOffset(&spec), 3*time.Second; got != want {
		t.Errorf("end offset %v, want %v", got, want)
	}
	if got, want := scheduleSha256(&spec, all), "37789cd74bac35bddcf71c64e10068f7e945fadeb4bacd3723920f992959af55"; got != want {
		t.Errorf("schedule sha256 %s, want %s", got, want)
	}
}

// Lengths, expectations and turns of single requests.
func TestNewRequest(t *testing.T) {
	cell := &Cell{ID: "a", PromptTokens: Length{Distribution: "uniform", Min: 10, Max: 20}, OutputTokens: Length{Distribution: "exponential", Mean: 50, Min: 1, Max: 500}}
	type line struct{ turn, prompt, output, expected int }
	linesOf := func(spec *Spec, requests ...scheduled) []line {
		lines := []line{}
		for _, request := range requests {
			expected := -1
			if tokens := spec.expectedPromptTokens(&request); tokens != nil {
				expected = *tokens
			}
			lines = append(lines, line{request.turn, request.promptTokens, request.outputTokens, expected})
		}
		return lines
	}
	spec := &Spec{Seed: 1, Prompts: Prompts{Kind: promptsRandom}}
	first, second := newRequest(spec, cell, 0), newRequest(spec, cell, 1)
	check := func(name string, got, want []line) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	check("random", linesOf(spec, first, second), []line{{0, 10, 65, 10}, {0, 11, 143, 11}})
	spec.Prompts = Prompts{Kind: promptsSharedPrefix, Prefixes: 2, PrefixTokens: 100}
	check("shared-prefix", linesOf(spec, newRequest(spec, cell, 0)), []line{{0, 10, 65, 110}})
	spec.Prompts = Prompts{Kind: promptsMultiTurn, Turns: 3}
	turn := newRequest(spec, cell, 0)
	next := turn.nextTurn(spec)
	check("multi-turn", linesOf(spec, turn, next, next.nextTurn(spec)), []line{{1, 10, 65, 10}, {2, 20, 163, -1}, {3, 18, 49, -1}})
	spec.Prompts, spec.lines = Prompts{Kind: promptsFile}, []promptLine{{Prompt: "a"}, {Prompt: "b", OutputTokens: 9}}
	check("file", linesOf(spec, newRequest(spec, cell, 0), newRequest(spec, cell, 3)), []line{{0, 0, 65, -1}, {0, 0, 9, -1}})
}

func TestClosedLoopHasNoSchedule(t *testing.T) {
	spec := Spec{Cells: []Cell{{ID: "a", StartOffsetSeconds: 2, DurationSeconds: 1, Concurrency: 2}, {ID: "b", DurationSeconds: 1, Concurrency: 4}}}
	if got := schedule(&spec); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if got, want := scheduleSha256(&spec, nil), "84eb8bde76c056c2f31f69ebf4e2c3fb6c78b12894ea023157f52dde86c41e6f"; got != want {
		t.Errorf("sha256 %s, want %s", got, want)
	}
	if startOffset(&spec) != 0 || endOffset(&spec) != 3*time.Second || spec.mostInFlight() != 4 {
		t.Errorf("start %v, end %v, most in flight %d", startOffset(&spec), endOffset(&spec), spec.mostInFlight())
	}
}
