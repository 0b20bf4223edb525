// A QMP client that others wrote, DigitalOcean's go-qemu, at a socket of ours: prints one line for each thing that came back.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/raw"
)

func fail(what string, err error) {
	fmt.Printf("%s: %v\n", what, err)
	os.Exit(1)
}

func main() {
	socket, err := qmp.NewSocketMonitor("unix", os.Args[1], 5*time.Second)
	if err != nil {
		fail("dial", err)
	}
	if err := socket.Connect(); err != nil {
		fail("handshake", err)
	}
	defer socket.Disconnect()
	fmt.Printf("greeting %d.%d.%d\n", socket.Version.QEMU.Major, socket.Version.QEMU.Minor, socket.Version.QEMU.Micro)

	events, err := socket.Events(context.Background())
	if err != nil {
		fail("events", err)
	}
	expect := func(names ...string) {
		for _, name := range names {
			select {
			case event := <-events:
				fmt.Printf("event %s, stamped %t\n", event.Event, event.Timestamp.Seconds > 0)
				if event.Event != name {
					fail("event", fmt.Errorf("expected %s", name))
				}
			case <-time.After(10 * time.Second):
				fail("event", fmt.Errorf("no %s within 10 s", name))
			}
		}
	}

	typed := raw.NewMonitor(socket)
	status := func() {
		info, err := typed.QueryStatus()
		if err != nil {
			fail("query-status", err)
		}
		fmt.Printf("status %s, running %t\n", info.Status, info.Running)
	}
	// The library hands out events one by one and answers nothing meanwhile: each command that has one runs beside its reader.
	run := func(name string, command func() error, names ...string) {
		done := make(chan error, 1)
		go func() { done <- command() }()
		expect(names...)
		if err := <-done; err != nil {
			fail(name, err)
		}
	}

	status()
	run("cont", typed.Cont, "RESUME")
	status()
	run("stop", typed.Stop, "STOP")
	status()

	commands, err := typed.QueryCommands()
	if err != nil {
		fail("query-commands", err)
	}
	fmt.Printf("more than 50 commands: %t\n", len(commands) > 50)
	if _, err := socket.Run([]byte(`{"execute": "no-such-command"}`)); err == nil {
		fail("no-such-command", fmt.Errorf("was taken"))
	} else {
		fmt.Printf("error %v\n", err)
	}
	answer, err := socket.Run([]byte(`{"execute": "query-name", "id": "seven"}`))
	if err != nil {
		fail("query-name", err)
	}
	var name struct {
		Return struct{ Name string }
		Id     string
	}
	if err := json.Unmarshal(answer, &name); err != nil {
		fail("query-name", err)
	}
	fmt.Printf("name %s, id %s\n", name.Return.Name, name.Id)
	if err := typed.Quit(); err != nil {
		fail("quit", err)
	}
	fmt.Println("quit")
}
