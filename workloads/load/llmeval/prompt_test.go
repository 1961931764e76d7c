package llmeval

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPrompt(t *testing.T) {
	cell, random := Cell{ID: "a"}, &Prompts{Kind: promptsRandom}
	first := prompt(1, random, &scheduled{cell: &cell, promptTokens: 6})
	if want := "the mes composer prop smiles him"; first != want {
		t.Errorf("got %q, want %q", first, want)
	}
	if again := prompt(1, random, &scheduled{cell: &cell, promptTokens: 6}); again != first {
		t.Errorf("the same request gives %q and %q", first, again)
	}
	seen := map[string]bool{}
	for i := range 100 {
		text := prompt(1, random, &scheduled{cell: &cell, indexInCell: i, promptTokens: 512})
		split := strings.Split(text, " ")
		if len(split) != 512 || split[0] != firstWord {
			t.Fatalf("%d words that start with %q, want 512 and %q", len(split), split[0], firstWord)
		}
		seen[strings.Join(split[1:3], " ")] = true
	}
	if len(seen) < 99 {
		t.Errorf("100 prompts share prefixes: %d different second and third words", len(seen))
	}
	if got := prompt(1, random, &scheduled{cell: &cell, promptTokens: 1}); got != firstWord {
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

func TestSharedPrefix(t *testing.T) {
	cell, prompts := Cell{ID: "a"}, &Prompts{Kind: promptsSharedPrefix, Prefixes: 3, PrefixTokens: 50}
	byPrefix, rests := map[string]int{}, map[string]bool{}
	for i := range 300 {
		split := strings.Split(prompt(1, prompts, &scheduled{cell: &cell, indexInCell: i, promptTokens: 20}), " ")
		if len(split) != 70 || split[0] != firstWord {
			t.Fatalf("%d words that start with %q, want 70 and %q", len(split), split[0], firstWord)
		}
		byPrefix[strings.Join(split[:50], " ")]++
		rests[strings.Join(split[50:52], " ")] = true
	}
	if len(byPrefix) != 3 || len(rests) < 297 {
		t.Errorf("%d prefixes, %d beginnings after them; want 3, nearly 300", len(byPrefix), len(rests))
	}
	for prefix, count := range byPrefix {
		if count != 100 {
			t.Errorf("%d requests share %q, want 100", count, prefix)
		}
		other := prompt(1, prompts, &scheduled{cell: &Cell{ID: "b"}, promptTokens: 20})
		if strings.HasPrefix(other, prefix) {
			t.Error("another cell begins with a prefix that the server may hold already")
		}
	}
}

func TestReadPrompts(t *testing.T) {
	file := write(t, "prompts.jsonl", `{"prompt":"Why?"}`+"\n\n"+`{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Why?"}],"outputTokens":9}`+"\n")
	got, err := readPrompts(file, "chat")
	want := []promptLine{{Prompt: "Why?"}, {Messages: []message{{"Be brief.", "system"}, {"Why?", "user"}}, OutputTokens: 9}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v", got, err)
	}
	if _, err := readPrompts(file, "completions"); err == nil || err.Error() != "prompts "+file+": line 3: messages need the chat API" {
		t.Errorf("completions: %v", err)
	}
	for text, want := range map[string]string{
		"":                      "has no line",
		`{"text":"a"}`:          `line 1: json: unknown field "text"`,
		"\n" + `{}`:             "line 2: want either prompt or messages",
		`{"prompt":"a"` + "\n}": "line 1: unexpected EOF",
	} {
		file := write(t, "prompts.jsonl", text)
		if _, err := readPrompts(file, "chat"); err == nil || err.Error() != "prompts "+file+": "+want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
