// Wecom-gateway puts WeCom's sign-in in front of programs that do not speak it:
// as a reverse proxy, or as the answer to nginx's auth_request and to the forward-auth
// of Traefik and Caddy. docs/gateway.md says how to set it up.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	_ "time/tzdata" // an image without files has no time zones

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status: 0, 1 for a fault, 2 for a configuration that cannot work.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	values, do, err := readSettings(args, environ, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case do.version:
		fmt.Fprintln(stdout, version())
		return 0
	case do.print:
		values.print(stdout)
		return 0
	}

	c, wrong := values.parse()
	log := slog.New(denials{slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: c.logLevel})})
	var listener *net.TCPListener
	if !do.check && do.command == "" && do.client == "" && !wrong.has("ADDR") {
		// Before the rest is judged: the default callback names the port that was taken.
		var tcp net.ListenConfig
		tcp.SetMultipathTCP(false) // dropNew cannot do without
		if l, err := tcp.Listen(context.Background(), "tcp", c.addr); err != nil {
			wrong.add("ADDR", "%v", err)
		} else {
			defer l.Close()
			listener = l.(*net.TCPListener)
			c.addr = listener.Addr().String()
		}
	}
	stores := openStores(c, &wrong, log)
	defer stores.close()
	if do.command == "revoke" && c.sessionStore == "memory" {
		wrong.add("WECOM_SESSION_STORE", "nobody shares memory: a gateway that keeps its sessions there has to be restarted")
	}
	records, err := openAudit(c.audit, stderr, log)
	if err != nil {
		wrong.add("WECOM_AUDIT", "%v", err)
	}
	counts := newMetrics()
	o := c.options(stores, counts, log)
	records.watch(&o)
	var iss *issuer.Issuer
	observe := o.Observe
	o.Observe = func(ctx context.Context, e wecom.Event) {
		observe(ctx, e)
		iss.Observe(ctx, e)
	}
	auth, err := wecom.New(o)
	wrong.addAll(all.Named(err))
	receiver, err := c.receiver(auth, log)
	wrong.addAll(all.Named(err))
	var told *groups
	if auth != nil {
		told = newGroups(c, auth.Client(), stores.tokens, log)
	}
	iss, err = c.issuer(auth, told, stores, log)
	wrong.addAll(all.Named(err))
	hosts, err := c.furtherHosts(iss, o)
	wrong.addAll(err)
	if len(wrong) > 0 {
		wrong.print(stderr, c)
		return 2
	}
	for _, warning := range c.warnings {
		log.Warn(warning)
	}
	switch {
	case do.client != "":
		c.printClient(do.client, stdout)
		return 0
	case do.check:
		return check(ctx, c, auth, iss, stores, stdout)
	case do.command == "departments":
		return printDepartments(ctx, auth.Client(), stdout, stderr)
	case do.command == "revoke":
		return revoke(ctx, c, auth, iss, do.people, stdout, stderr)
	}
	g := newGateway(c, auth, receiver, iss, told, stores, counts, log)
	g.serveHosts(c, hosts)
	if err := serve(ctx, c, g, listener, log); err != nil {
		log.Error("the gateway ends", "cause", err.Error())
		return 1
	}
	return 0
}

// serve serves until ctx ends. Then it takes no new connections and lets the
// requests in flight finish, for c.shutdownTimeout at most; WebSockets end when those are done.
func serve(ctx context.Context, c config, g *gateway, listener *net.TCPListener, log *slog.Logger) error {
	var inFlight sync.WaitGroup
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	conns := &connections{none: make(chan struct{}, 1)}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inFlight.Add(1)
			defer inFlight.Done()
			g.ServeHTTP(w, r)
		}),
		// No limit on a whole request or answer: it would cut off uploads, event streams and WebSockets.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          errorLog,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnState:         conns.count,
	}
	if c.rules != nil || c.clientsFile != "" {
		hangUps := make(chan os.Signal, 1)
		signal.Notify(hangUps, syscall.SIGHUP)
		defer signal.Stop(hangUps)
		reloading, stop := context.WithCancel(ctx)
		defer stop()
		go g.reload(reloading, hangUps, c)
	}
	failed, served := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(closing{listener}) }()
	log.Info("the gateway listens", "addr", listener.Addr().String(), "callback", c.CallbackURL, "version", version())
	if c.upstream == nil {
		log.Info("WECOM_UPSTREAM is not set: only the gateway's own routes work, for a proxy that asks " + g.folder + "/auth or " + g.folder + "/forward")
	}

	if c.metricsAddr != "" {
		metricsListener, err := net.Listen("tcp", c.metricsAddr)
		if err != nil {
			_ = server.Close()
			return fmt.Errorf("WECOM_METRICS_ADDR: %w", err)
		}
		metrics := &http.Server{Handler: g.counts.handler(), ReadTimeout: 10 * time.Second, ErrorLog: errorLog}
		defer metrics.Close()
		go func() { failed <- metrics.Serve(metricsListener) }()
		log.Info("metrics", "addr", metricsListener.Addr().String())
	}

	select {
	case err := <-failed:
		_ = server.Close()
		return err
	case err := <-served:
		_ = server.Close()
		return err
	case <-ctx.Done():
	}
	g.stopping.Store(true)
	log.Info("the gateway finishes what is in flight")
	deadline, cancel := context.WithTimeout(context.Background(), c.shutdownTimeout)
	defer cancel()
	// A proxy in front may send a request on an idle connection at the moment at which
	// Shutdown closes it, and must not repeat a POST: so let it use them up first.
	conns.unused(deadline, 2*time.Second)
	// Nor would Shutdown wait for those that are not accepted yet: the kernel would reset them.
	if err := dropNew(listener); err != nil {
		log.Warn("connections that come in while the port is closed may be lost", "cause", err.Error())
	}
	_ = listener.SetDeadline(time.Now())
	select {
	case <-served:
	case <-time.After(time.Second): // new ones still come in
	}
	err := server.Shutdown(deadline)
	endRequests()
	_ = server.Close()
	inFlight.Wait()
	if err := g.issuer.Shutdown(deadline); err != nil {
		log.Warn("clients were not told of sign-outs", "cause", err.Error())
	}
	g.close()
	if err != nil {
		log.Warn("requests were cut off", "cause", err.Error())
	}
	return nil
}

// A closing listener closes after its deadline, as soon as no connection waits to be accepted.
type closing struct{ *net.TCPListener }

func (l closing) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return conn, err
	}
	_ = l.SetDeadline(time.Now().Add(20 * time.Millisecond)) // for a handshake that began
	if conn, err = l.TCPListener.Accept(); err != nil {
		_ = l.Close()
		return nil, net.ErrClosed
	}
	return conn, l.SetDeadline(time.Now())
}

// connections counts those to a server.
type connections struct {
	open atomic.Int64
	none chan struct{} // gets a value when the last one is closed
}

func (c *connections) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		if c.open.Add(-1) == 0 {
			select {
			case c.none <- struct{}{}:
			default:
			}
		}
	}
}

// unused waits until no connection is open, for a while at most.
func (c *connections) unused(ctx context.Context, while time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	for c.open.Load() > 0 {
		select {
		case <-c.none:
		case <-ctx.Done():
			return
		}
	}
}

// version is the module's version, the commit that was built and Go's version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := "wecom-gateway " + cmp.Or(info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v += " commit " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			v += " with changes"
		}
	}
	return v + " " + info.GoVersion
}
