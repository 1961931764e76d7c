package llmeval

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
)

func TestLengthJSON(t *testing.T) {
	for text, want := range map[string]Length{
		`512`: {Min: 512, Max: 512},
		`{"distribution":"uniform","min":1,"max":9}`:                                        {Distribution: "uniform", Min: 1, Max: 9},
		`{"distribution":"normal","mean":100.5,"standardDeviation":20,"min":16,"max":1024}`: {"normal", 100.5, 20, 16, 1024},
	} {
		var got Length
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want || got.problem() != "" {
			t.Errorf("%s: got %+v, error %v, problem %q", text, got, err, got.problem())
		}
	}
	for text, want := range map[string]string{
		`"512"`:              `length "512": want a whole number or a distribution: json: cannot unmarshal string into Go value of type llmeval.plain`,
		`{"min":1,"max":2}`:  `length {"min":1,"max":2}: want a distribution`,
		`{"minimum":1}`:      `length {"minimum":1}: want a whole number or a distribution: json: unknown field "minimum"`,
		`{"distribution":1}`: `length {"distribution":1}: want a whole number or a distribution: json: cannot unmarshal number into Go struct field plain.distribution of type string`,
	} {
		if err := new(Length).UnmarshalJSON([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestLengthProblems(t *testing.T) {
	for want, length := range map[string]Length{
		"0, want at least 1": {},
		`distribution "zipf", want "uniform", "normal", "exponential" or "lognormal"`: {Distribution: "zipf", Min: 1, Max: 2},
		"mean 0, want more than 0":              {Distribution: "exponential", Min: 1, Max: 2},
		"standardDeviation 0, want more than 0": {Distribution: "lognormal", Mean: 1, Min: 1, Max: 2},
		"max 2, want at least min 3":            {Distribution: "uniform", Min: 3, Max: 2},
	} {
		if got := length.problem(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The numbers must never change: the same seed has to give the same experiment.
func TestLengthGolden(t *testing.T) {
	for name, test := range map[string]struct {
		length Length
		want   []int
	}{
		"fixed":       {fixedLength(7), []int{7, 7, 7, 7, 7, 7, 7, 7}},
		"uniform":     {Length{Distribution: "uniform", Min: 1, Max: 1000}, []int{48, 561, 709, 490, 983, 451, 960, 875}},
		"normal":      {Length{Distribution: "normal", Mean: 500, StandardDeviation: 100, Min: 1, Max: 1000}, []int{469, 618, 344, 554, 216, 607, 753, 424}},
		"exponential": {Length{Distribution: "exponential", Mean: 200, Min: 1, Max: 1000}, []int{10, 164, 246, 134, 806, 120, 640, 415}},
		"lognormal":   {Length{Distribution: "lognormal", Mean: 500, StandardDeviation: 400, Min: 1, Max: 4000}, []int{314, 897, 130, 572, 53, 830, 2313, 229}},
	} {
		var got []int
		for i := range 8 {
			got = append(got, test.length.draw(newRandom(1, "outputTokens", "rate-4-iteration-1", i)))
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestLengthStatistics(t *testing.T) {
	for _, test := range []struct {
		length          Length
		mean, deviation float64
	}{
		{Length{Distribution: "uniform", Min: 1, Max: 999}, 500, 288.4},
		{Length{Distribution: "normal", Mean: 500, StandardDeviation: 80, Min: 1, Max: 1000}, 500, 80},
		{Length{Distribution: "exponential", Mean: 300, Min: 1, Max: 100000}, 300, 300},
		{Length{Distribution: "lognormal", Mean: 500, StandardDeviation: 400, Min: 1, Max: 100000}, 500, 400},
	} {
		const count = 20000
		var sum, squares float64
		for i := range count {
			value := float64(test.length.draw(newRandom(3, "x", "a", i)))
			sum, squares = sum+value, squares+value*value
		}
		mean := sum / count
		deviation := math.Sqrt(squares/count - mean*mean)
		if math.Abs(mean/test.mean-1) > 0.03 || math.Abs(deviation/test.deviation-1) > 0.05 {
			t.Errorf("%s: mean %.1f, deviation %.1f; want %.1f, %.1f", test.length.Distribution, mean, deviation, test.mean, test.deviation)
		}
	}
	bounded := Length{Distribution: "normal", Mean: 10, StandardDeviation: 50, Min: 5, Max: 12}
	seen := map[int]bool{}
	for i := range 1000 {
		seen[bounded.draw(newRandom(1, "x", "a", i))] = true
	}
	if len(seen) != 8 || !seen[5] || !seen[12] {
		t.Errorf("lengths %v, want 5 to 12", seen)
	}
}
