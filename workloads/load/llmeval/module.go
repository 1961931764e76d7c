// Package llmeval is the k6 extension k6/x/llmeval: a load generator for streaming LLM endpoints.
package llmeval

import (
	"sync"

	"go.k6.io/k6/v2/js/modules"
)

func init() {
	modules.Register("k6/x/llmeval", &rootModule{})
}

// rootModule holds the one player that all virtual users share.
type rootModule struct {
	once   sync.Once
	player *player
	err    error
}

type instance struct {
	vu   modules.VU
	root *rootModule
}

// NewModuleInstance gives each virtual user its own view of the player.
func (r *rootModule) NewModuleInstance(vu modules.VU) modules.Instance {
	return &instance{vu: vu, root: r}
}

// Exports is what script.js sees.
func (i *instance) Exports() modules.Exports {
	return modules.Exports{Default: map[string]any{
		"plan":    i.plan,
		"prepare": i.prepare,
		"play":    i.play,
		"finish":  i.finish,
	}}
}

// plan reads the spec once per process and says what k6's options need.
func (i *instance) plan(file string) (map[string]any, error) {
	root := i.root
	root.once.Do(func() { root.player, root.err = newPlayer(file) })
	if root.err != nil {
		return nil, root.err
	}
	player := root.player
	executor, iterations := player.executor()
	return map[string]any{
		"played":                player.played,
		"executor":              executor,
		"iterations":            iterations,
		"workers":               player.workers(),
		"t0TimeoutSeconds":      player.spec.T0TimeoutSeconds + longestLead.Seconds(),
		"maxDurationSeconds":    player.longestPlay().Seconds(),
		"requestTimeoutSeconds": player.spec.RequestTimeoutSeconds,
	}, nil
}

// prepare says what begins.
func (i *instance) prepare() (string, error) {
	player := i.root.player
	if err := player.prepare(i.vu.Context()); err != nil {
		return "", err
	}
	return player.beginning(), nil
}

// play blocks the virtual user, and only it, until what it plays has ended.
func (i *instance) play() {
	i.root.player.play(i.vu.Context(), int(i.vu.State().VUID)-1)
}

// finish says how it ended.
func (i *instance) finish() (string, error) {
	player := i.root.player
	err := player.finish()
	return player.outcome, err
}
