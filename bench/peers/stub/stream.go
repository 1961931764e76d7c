// The wire: the chunks of vLLM's OpenAI-compatible stream, for both APIs.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	modelName           = "stub"
	defaultOutputTokens = 16
	// token is one token in the tokenizer that the clients are given.
	token = " time"
)

// request is what the stub reads of a completion request.
type request struct {
	Prompt              any  `json:"prompt"`
	Messages            any  `json:"messages"`
	MaxTokens           int  `json:"max_tokens"`
	MaxCompletionTokens int  `json:"max_completion_tokens"`
	Stream              bool `json:"stream"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func (r *request) outputTokens() int {
	switch {
	case r.MaxCompletionTokens > 0:
		return r.MaxCompletionTokens
	case r.MaxTokens > 0:
		return r.MaxTokens
	default:
		return defaultOutputTokens
	}
}

// complete answers one request. Every token is due at a fixed time after the request, so that a late one delays no other.
func (s *server) complete(w http.ResponseWriter, httpRequest *http.Request) {
	body, err := io.ReadAll(httpRequest.Body)
	received := time.Now()
	r := &record{
		ID:         httpRequest.Header.Get("X-Request-Id"),
		Path:       httpRequest.URL.Path,
		ReceivedNs: s.stamp(),
	}
	var asked request
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.OutputTokens = asked.outputTokens()
	r.SentNs = make([]int64, 0, r.OutputTokens)
	defer s.keep(r)
	chat := strings.HasSuffix(r.Path, "/chat/completions")
	r.PromptTokens = promptTokens(asked.Prompt) + promptTokens(asked.Messages)
	usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`,
		r.PromptTokens, r.OutputTokens, r.PromptTokens+r.OutputTokens)
	if !asked.Stream {
		time.Sleep(time.Until(s.due(received, r.OutputTokens-1)))
		r.SentNs = append(r.SentNs, s.stamp())
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, whole(chat, r.OutputTokens, usage))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flusher := http.NewResponseController(w)
	// vLLM sends the head at once.
	_ = flusher.Flush()
	for index := range r.OutputTokens {
		text := chunks(chat, index, r.OutputTokens)
		if index == r.OutputTokens-1 {
			text += end(chat, asked.StreamOptions.IncludeUsage, usage)
		}
		time.Sleep(time.Until(s.due(received, index)))
		sent := s.stamp()
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
		if flusher.Flush() != nil {
			return
		}
		r.SentNs = append(r.SentNs, sent)
	}
}

func (s *server) due(received time.Time, index int) time.Time {
	return received.Add(s.ttft + time.Duration(index)*s.itl)
}

// promptTokens counts words: each is a token in the tokenizer that the clients are given.
func promptTokens(prompt any) int {
	count := 0
	switch part := prompt.(type) {
	case string:
		return len(strings.Fields(part))
	case []any:
		for _, each := range part {
			count += promptTokens(each)
		}
	case map[string]any:
		return promptTokens(part["content"])
	}
	return count
}

const (
	chatHead = `{"id":"chatcmpl-stub","object":"chat.completion.chunk","created":1,"model":"` + modelName + `","choices":`
	textHead = `{"id":"cmpl-stub","object":"text_completion","created":1,"model":"` + modelName + `","choices":`
)

// chunks is what goes out with one token: in a chat, the role comes right before the first one; the last says why it ends.
func chunks(chat bool, index, count int) string {
	finish := "null"
	if index == count-1 {
		finish = `"length"`
	}
	if !chat {
		return "data: " + textHead + `[{"index":0,"text":"` + token + `","logprobs":null,"finish_reason":` + finish + "}]}\n\n"
	}
	text := "data: " + chatHead + `[{"index":0,"delta":{"content":"` + token + `"},"logprobs":null,"finish_reason":` + finish + "}]}\n\n"
	if index == 0 {
		return "data: " + chatHead + `[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}` + "\n\n" + text
	}
	return text
}

// end is what follows the last token in the same write.
func end(chat, includeUsage bool, usage string) string {
	if !includeUsage {
		return "data: [DONE]\n\n"
	}
	head := textHead
	if chat {
		head = chatHead
	}
	return "data: " + head + `[],"usage":` + usage + "}\n\ndata: [DONE]\n\n"
}

// whole is the response that is not streamed.
func whole(chat bool, count int, usage string) string {
	text := strings.Repeat(token, count)
	if chat {
		return `{"id":"chatcmpl-stub","object":"chat.completion","created":1,"model":"` + modelName +
			`","choices":[{"index":0,"message":{"role":"assistant","content":"` + text + `"},"finish_reason":"length"}],"usage":` + usage + "}"
	}
	return `{"id":"cmpl-stub","object":"text_completion","created":1,"model":"` + modelName +
		`","choices":[{"index":0,"text":"` + text + `","finish_reason":"length"}],"usage":` + usage + "}"
}
