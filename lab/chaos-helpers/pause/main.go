// Waits for SIGCONT and then becomes the command:  pause COMMAND [ARG...]
// Between the two the daemon of Chaos Mesh moves it into its target's cgroup. The daemon repeats SIGCONT until the
// process is called otherwise than "pause", so one that comes before we listen is not missed.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "pause: no command; expected: pause COMMAND [ARG...]")
		os.Exit(2)
	}
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	<-resumed
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "pause: %v\n", err)
	os.Exit(127)
}
