// The MongoDB engine of the tests where no mongod is installed: FerretDB, which speaks the protocol of MongoDB and
// keeps everything in SQLite files.
//
//	ferretdb-engine FOLDER [ADDRESS]
//
// It listens on ADDRESS, 127.0.0.1:0 by default, prints its URI, and ends at SIGTERM, SIGINT or the end of its
// standard input, so that it never outlives a test that holds the other end of that.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		log.Fatal("usage: ferretdb-engine FOLDER [ADDRESS]")
	}
	address := "127.0.0.1:0"
	if len(os.Args) == 3 {
		address = os.Args[2]
	}
	if err := os.MkdirAll(os.Args[1], 0o700); err != nil {
		log.Fatal(err)
	}
	engine, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: address},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[1] + "/",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	// The address is known once it runs.
	go func() { fmt.Println(engine.MongoDBURI()) }()
	if err := engine.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
