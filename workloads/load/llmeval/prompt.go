// Prompts of an exact number of tokens without a tokenizer: words that are one token in every common vocabulary.

package llmeval

import (
	_ "embed"
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

// prompt returns a text of the given number of words, random from the second word on, so that no two prompts share a
// prefix that a server could have cached.
func prompt(seed uint64, request *scheduled) string {
	random := newRandom(seed, "prompt", request.cell.ID, request.indexInCell)
	var text strings.Builder
	text.Grow(request.cell.PromptTokens * 8)
	text.WriteString(firstWord)
	for range request.cell.PromptTokens - 1 {
		text.WriteByte(' ')
		// The bias of the remainder is below 1e-15.
		text.WriteString(words[random.Uint64()%uint64(len(words))])
	}
	return text.String()
}
