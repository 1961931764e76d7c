// The user's own prompts: a file of JSON lines.

package llmeval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// promptLine is one line of a prompt file: a prompt, or messages (chat only).
type promptLine struct {
	Prompt   string    `json:"prompt"`
	Messages []message `json:"messages"`
	// OutputTokens replaces the cell's. Zero: the cell's.
	OutputTokens int `json:"outputTokens"`
}

// message is one message of a chat.
type message struct {
	Content string `json:"content"`
	Role    string `json:"role"`
}

// readPrompts reads a prompt file. Empty lines are passed over.
func readPrompts(file, api string) ([]promptLine, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("prompts: %w", err)
	}
	var lines []promptLine
	for i, raw := range bytes.Split(text, []byte("\n")) {
		if len(bytes.TrimSpace(raw)) == 0 {
			continue
		}
		var line promptLine
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&line); err != nil {
			return nil, fmt.Errorf("prompts %s: line %d: %w", file, i+1, err)
		}
		if (line.Prompt == "") == (len(line.Messages) == 0) {
			return nil, fmt.Errorf("prompts %s: line %d: want either prompt or messages", file, i+1)
		}
		if len(line.Messages) > 0 && api != "chat" {
			return nil, fmt.Errorf("prompts %s: line %d: messages need the chat API", file, i+1)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("prompts %s: has no line", file)
	}
	return lines, nil
}
