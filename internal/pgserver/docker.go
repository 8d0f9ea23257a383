package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
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
	watchdog *watchdog
	url      string
}

func openContainer(ctx context.Context, r request) (backend, error) {
	pool, err := dockertest.NewPool(r.places.dockerEndpoint)
	if err != nil {
		return nil, fmt.Errorf("make a Docker client: %w", err)
	}
	if err := ping(ctx, pool.Client); err != nil {
		return nil, fmt.Errorf("no Docker daemon answers at %s: %w", pool.Client.Endpoint(), err)
	}
	name := "strunk-pg-" + randomHex(6)
	dog, err := watchContainer(r, name)
	if err != nil {
		return nil, err
	}
	c := &container{watchdog: dog}
	if err := c.run(ctx, r.cfg, pool, name); err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

func ping(ctx context.Context, client *docker.Client) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return client.PingWithContext(ctx)
}

func (c *container) run(ctx context.Context, cfg Config, pool *dockertest.Pool, name string) error {
	password := randomHex(16)
	resource, err := pool.RunWithOptions(&dockertest.RunOptions{
		Name:       name,
		Repository: imageRepository,
		Tag:        imageTag,
		Env:        []string{"POSTGRES_PASSWORD=" + password, "TZ=UTC"},
		Cmd:        append([]string{"postgres"}, settingArgs(cfg, nil)...),
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
	return waitReady(ctx, c.url, nil)
}

func (c *container) dsn() string { return c.url }

func (c *container) source() string {
	return "a Docker container of " + imageRepository + ":" + imageTag
}

func (c *container) stop(context.Context) error  { return errNotOurs }
func (c *container) start(context.Context) error { return errNotOurs }

func (c *container) close() error {
	if c.resource == nil {
		return c.watchdog.end()
	}
	if err := c.resource.Close(); err != nil && !goes(err) {
		_ = c.watchdog.end()
		return failed("remove the container: %w", err)
	}
	return c.watchdog.dismiss()
}

// goes reports whether a refusal to remove a container means that it is gone or going, of its own or by AutoRemove.
func goes(err error) bool {
	var (
		none    *docker.NoSuchContainer
		refused *docker.Error
	)
	return errors.As(err, &none) || errors.As(err, &refused) && refused.Status == http.StatusConflict
}
