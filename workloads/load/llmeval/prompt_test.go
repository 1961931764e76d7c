package llmeval

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPrompt(t *testing.T) {
	cell := Cell{ID: "a", PromptTokens: 6}
	first := prompt(1, &scheduled{cell: &cell})
	if want := "the mes composer prop smiles him"; first != want {
		t.Errorf("got %q, want %q", first, want)
	}
	if again := prompt(1, &scheduled{cell: &cell}); again != first {
		t.Errorf("the same request gives %q and %q", first, again)
	}
	cell.PromptTokens = 512
	seen := map[string]bool{}
	for i := range 100 {
		text := prompt(1, &scheduled{cell: &cell, indexInCell: i})
		split := strings.Split(text, " ")
		if len(split) != 512 || split[0] != firstWord {
			t.Fatalf("%d words that start with %q, want 512 and %q", len(split), split[0], firstWord)
		}
		seen[strings.Join(split[1:3], " ")] = true
	}
	if len(seen) < 99 {
		t.Errorf("100 prompts share prefixes: %d different second and third words", len(seen))
	}
	cell.PromptTokens = 1
	if got := prompt(1, &scheduled{cell: &cell}); got != firstWord {
		t.Errorf("got %q, want %q", got, firstWord)
	}
}

func TestWordList(t *testing.T) {
	if len(words) != 6237 || !slices.IsSorted(words) || len(slices.Compact(slices.Clone(words))) != len(words) {
		t.Fatalf("%d words, want 6237, sorted and each once", len(words))
	}
	form := regexp.MustCompile(`^[a-z]{3,9}$`)
	for _, word := range words {
		if !form.MatchString(word) {
			t.Errorf("%q is not 3 to 9 lower-case letters", word)
		}
	}
}
