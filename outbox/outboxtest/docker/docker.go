// Package docker lets outboxtest start a server in a Docker container. Import it for that effect,
// in a test or a program that may run on a machine without PostgreSQL's server programs:
//
//	import _ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
//
// It is a package of its own so that other users of outboxtest link no Docker client. The container
// is used where neither DATABASE_URL is set nor server programs are installed.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"

	"github.com/strunk-go/strunk/internal/pgserver"
)

const (
	// pingTimeout bounds the question whether a Docker daemon is there.
	pingTimeout = 2 * time.Second

	// containerLifetime is after how much time Docker itself ends a container whose owner could not remove it.
	containerLifetime = 2 * time.Hour

	imageRepository, imageTag = "postgres", "18"
)

// container is a server in a Docker container, reached by a published port, with a random password.
type container struct {
	resource *dockertest.Resource
	watchdog *pgserver.Watchdog
	url      string
}

func init() {
	pgserver.Register(pgserver.Way{Name: "docker", Open: open, Remedy: "start Docker"})
}

// open starts a container with the daemon of the environment, or that of the system's usual place.
func open(ctx context.Context, cfg pgserver.Config) (pgserver.Backend, error) {
	return openAt(ctx, "", cfg)
}

func openAt(ctx context.Context, endpoint string, cfg pgserver.Config) (pgserver.Backend, error) {
	pool, err := dockertest.NewPool(endpoint)
	if err != nil {
		return nil, fmt.Errorf("make a Docker client: %w", err)
	}
	if err := ping(ctx, pool.Client); err != nil {
		return nil, fmt.Errorf("no Docker daemon answers at %s: %w", pool.Client.Endpoint(), err)
	}
	name := "strunk-pg-" + pgserver.RandomHex(6)
	dog, err := pgserver.WatchContainer(name)
	if err != nil {
		return nil, err
	}
	c := &container{watchdog: dog}
	if err := c.run(ctx, cfg, pool, name); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func ping(ctx context.Context, client *docker.Client) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return client.PingWithContext(ctx)
}

func (c *container) run(ctx context.Context, cfg pgserver.Config, pool *dockertest.Pool, name string) error {
	password := pgserver.RandomHex(16)
	resource, err := pool.RunWithOptions(&dockertest.RunOptions{
		Name:       name,
		Repository: imageRepository,
		Tag:        imageTag,
		Env:        []string{"POSTGRES_PASSWORD=" + password, "TZ=UTC"},
		Cmd:        append([]string{"postgres"}, pgserver.SettingArgs(cfg, nil)...),
	}, func(host *docker.HostConfig) { host.AutoRemove = true })
	if err != nil {
		return fmt.Errorf("run a container of %s:%s: %w", imageRepository, imageTag, err)
	}
	c.resource = resource
	if err := resource.Expire(uint(containerLifetime / time.Second)); err != nil {
		return fmt.Errorf("limit the container's life: %w", err)
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password), Host: resource.GetHostPort("5432/tcp"),
		Path: "/postgres", RawQuery: "sslmode=disable",
	}
	c.url = u.String()
	return pgserver.WaitReady(ctx, c.url)
}

// DSN names the container's published port.
func (c *container) DSN() string { return c.url }

// Source names the image.
func (c *container) Source() string {
	return "a Docker container of " + imageRepository + ":" + imageTag
}

// Close removes the container.
func (c *container) Close() error {
	if c.resource == nil {
		return c.watchdog.End()
	}
	if err := c.resource.Close(); err != nil && !goes(err) {
		_ = c.watchdog.End()
		return fmt.Errorf("strunk/outboxtest: remove the container: %w", err)
	}
	return c.watchdog.Dismiss()
}

// goes reports whether a refusal to remove a container means that it is gone or going, of its own or by AutoRemove.
func goes(err error) bool {
	var (
		none    *docker.NoSuchContainer
		refused *docker.Error
	)
	return errors.As(err, &none) || errors.As(err, &refused) && refused.Status == http.StatusConflict
}
