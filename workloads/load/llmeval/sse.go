// Reading a streamed response: stamps while it arrives, JSON only after it has ended.

package llmeval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	readSize         = 16 << 10
	maxResponseBytes = 64 << 20
	maxExcerptBytes  = 512
)

var errTooLarge = fmt.Errorf("response of more than %d bytes", maxResponseBytes)

// arrival says that the first end bytes of the body had been read at this time after the send.
type arrival struct {
	end int
	at  time.Duration
}

// recording is a response body with the time at which each part of it was read.
type recording struct {
	body     []byte
	arrivals []arrival
}

// record reads the body to its end. Each stamp is taken right after its Read, and nothing else happens between two reads.
func record(body io.Reader, sent time.Time) (recording, error) {
	taken := recording{body: make([]byte, 0, readSize)}
	for {
		if cap(taken.body)-len(taken.body) < readSize/2 {
			larger := make([]byte, len(taken.body), 2*cap(taken.body))
			copy(larger, taken.body)
			taken.body = larger
		}
		count, err := body.Read(taken.body[len(taken.body):cap(taken.body)])
		at := time.Since(sent)
		if count > 0 {
			taken.body = taken.body[:len(taken.body)+count]
			taken.arrivals = append(taken.arrivals, arrival{end: len(taken.body), at: at})
		}
		if errors.Is(err, io.EOF) {
			return taken, nil
		}
		if err != nil {
			return taken, err
		}
		if len(taken.body) > maxResponseBytes {
			return taken, errTooLarge
		}
	}
}

// completion is one chunk of a stream, or the whole of a response that is not streamed, for both APIs.
type completion struct {
	Choices []struct {
		Text     string          `json:"text"`
		Delta    content         `json:"delta"`
		Message  content         `json:"message"`
		TokenIDs json.RawMessage `json:"token_ids"`
		Logprobs *struct {
			Content []json.RawMessage `json:"content"`
			Tokens  []json.RawMessage `json:"tokens"`
		} `json:"logprobs"`
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
	// Error and Object carry an error item inside a stream, in the forms of vLLM and of Ray Serve.
	Error   json.RawMessage `json:"error"`
	Object  string          `json:"object"`
	Message string          `json:"message"`
}

type content struct {
	Content          string `json:"content"`
	Reasoning        string `json:"reasoning"`
	ReasoningContent string `json:"reasoning_content"`
}

// outcome is what a response says once it has been parsed. Times count from the send.
type outcome struct {
	firstChunk, firstToken, lastToken, done *time.Duration
	gaps                                    []time.Duration
	chunkTokens                             []int
	// answer is the text that belongs into a session's next turn, without any reasoning.
	answer                     []byte
	promptTokens, outputTokens *int
	finishReason               *string
	// status and problem are set when the response is not a good one.
	status, problem string
}

func (o *outcome) fail(status, format string, args ...any) {
	if o.status == "" {
		o.status, o.problem = status, fmt.Sprintf(format, args...)
	}
}

// parseStream reads the events of a stream. The time of an event is that of the read which brought the end of its line,
// so events that came in one read share one time. A stream without [DONE] was cut.
func parseStream(taken recording) outcome {
	var result outcome
	next := 0
	for start := 0; start < len(taken.body) && result.done == nil; {
		length := bytes.IndexByte(taken.body[start:], '\n')
		if length < 0 {
			break
		}
		line := bytes.TrimSuffix(taken.body[start:start+length], []byte("\r"))
		start += length + 1
		for taken.arrivals[next].end < start {
			next++
		}
		// Comments (keep-alive) and the other fields of server-sent events carry no tokens.
		data, isData := bytes.CutPrefix(line, []byte("data:"))
		if !isData {
			continue
		}
		data = bytes.TrimSpace(data)
		at := taken.arrivals[next].at
		if string(data) == "[DONE]" {
			result.done = &at
			break
		}
		result.chunk(data, at)
	}
	if result.done == nil {
		result.fail("stream_error", "cut stream: no [DONE] after %d bytes", len(taken.body))
	}
	return result
}

func (o *outcome) chunk(data []byte, at time.Duration) {
	var chunk completion
	if err := json.Unmarshal(data, &chunk); err != nil {
		o.fail("parse_error", "chunk: %v: %s", err, excerpt(data))
		return
	}
	if problem := chunk.problem(data); problem != "" {
		o.fail("stream_error", "error item: %s", problem)
		return
	}
	o.usage(&chunk)
	if len(chunk.Choices) == 0 {
		return
	}
	if o.firstChunk == nil {
		o.firstChunk = &at
	}
	choice := &chunk.Choices[0]
	if choice.Text == "" && choice.Delta == (content{}) {
		return
	}
	if o.firstToken == nil {
		o.firstToken = &at
	} else {
		o.gaps = append(o.gaps, at-*o.lastToken)
	}
	o.lastToken = &at
	o.chunkTokens = append(o.chunkTokens, chunk.tokens())
	o.answer = append(o.answer, choice.Delta.Content...)
}

// tokens counts the tokens of a chunk from its logprobs or token ids; without either it is taken for one.
func (c *completion) tokens() int {
	choice := &c.Choices[0]
	if choice.Logprobs != nil {
		if count := max(len(choice.Logprobs.Content), len(choice.Logprobs.Tokens)); count > 0 {
			return count
		}
	}
	var ids []json.RawMessage
	if json.Unmarshal(choice.TokenIDs, &ids) == nil && len(ids) > 0 {
		return len(ids)
	}
	return 1
}

func (c *completion) problem(data []byte) string {
	if (len(c.Error) > 0 && string(c.Error) != "null") || c.Object == "error" {
		return excerpt(data)
	}
	return ""
}

func (o *outcome) usage(chunk *completion) {
	if chunk.Usage != nil {
		o.promptTokens, o.outputTokens = &chunk.Usage.PromptTokens, &chunk.Usage.CompletionTokens
	}
	if len(chunk.Choices) > 0 && chunk.Choices[0].FinishReason != nil {
		o.finishReason = chunk.Choices[0].FinishReason
	}
}

// parseWhole reads a response that is not streamed: it has no token times.
func parseWhole(taken recording) outcome {
	var result outcome
	var whole completion
	if err := json.Unmarshal(taken.body, &whole); err != nil {
		result.fail("parse_error", "response: %v: %s", err, excerpt(taken.body))
		return result
	}
	if problem := whole.problem(taken.body); problem != "" {
		result.fail("stream_error", "error item: %s", problem)
		return result
	}
	if len(whole.Choices) == 0 {
		result.fail("parse_error", "response without choices: %s", excerpt(taken.body))
	} else {
		result.answer = []byte(whole.Choices[0].Message.Content)
	}
	result.usage(&whole)
	if last := len(taken.arrivals); last > 0 {
		result.done = &taken.arrivals[last-1].at
	}
	return result
}

// excerpt bounds what a row quotes of a response.
func excerpt(text []byte) string {
	if len(text) > maxExcerptBytes {
		return string(bytes.ToValidUTF8(text[:maxExcerptBytes], []byte("?"))) + "..."
	}
	return string(bytes.ToValidUTF8(text, []byte("?")))
}
