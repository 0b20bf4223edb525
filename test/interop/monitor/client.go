// A third-party QMP client, digitalocean's go-qemu, against a socket: a command with a result, one that fails, and an event.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	monitor, err := qmp.NewSocketMonitor("unix", os.Args[1], 10*time.Second)
	fail(err)
	fail(monitor.Connect())
	defer monitor.Disconnect()
	events, err := monitor.Events(context.Background())
	fail(err)
	status, err := monitor.Run([]byte(`{"execute": "query-status"}`))
	fail(err)
	fmt.Println(string(status))
	_, err = monitor.Run([]byte(`{"execute": "nope"}`))
	fmt.Println(err)
	_, err = monitor.Run([]byte(`{"execute": "stop"}`))
	fail(err)
	select {
	case event := <-events:
		fmt.Println(event.Event)
	case <-time.After(10 * time.Second):
		fail(fmt.Errorf("no event"))
	}
}
