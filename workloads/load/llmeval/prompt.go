// Prompts of an exact number of tokens without a tokenizer: words that are one token in every common vocabulary.

package llmeval

import (
	_ "embed"
	"math/rand/v2"
	"strings"
)

// wordList holds one word per line: English words of 3 to 9 lower-case letters that are exactly one token after a space
// in the tokenizers of Qwen 2.5, Llama 2 and 3.1, Gemma 3, gpt-oss and DeepSeek V3.
//
//go:embed words.txt
var wordList string

var words = strings.Fields(wordList)

// firstWord is fixed: without a space in front only few words are one token everywhere.
const firstWord = "the"

// prompt returns a text of the request's number of words, random from the second word on, so that no two prompts share a
// prefix that a server could have cached. Where prefixes are shared, one of the cell's prefixes stands in front of it.
func prompt(seed uint64, prompts *Prompts, request *scheduled) string {
	var text strings.Builder
	text.Grow((request.promptTokens + prompts.PrefixTokens) * 8)
	text.WriteString(firstWord)
	own := request.promptTokens
	if prompts.Kind == promptsSharedPrefix {
		// In turn, so that each prefix gets its exact share. Every cell has prefixes of its own: none begins with a warm cache.
		prefix := request.indexInCell % prompts.Prefixes
		addWords(&text, newRandom(seed, "prefix", request.cell.ID, prefix), prompts.PrefixTokens-1)
	} else {
		own--
	}
	addWords(&text, newRandom(seed, request.use("prompt"), request.cell.ID, request.indexInCell), own)
	return text.String()
}

func addWords(text *strings.Builder, random *rand.PCG, count int) {
	for range count {
		text.WriteByte(' ')
		// The bias of the remainder is below 1e-15.
		text.WriteString(words[random.Uint64()%uint64(len(words))])
	}
}
