package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
)

// process is an agent, as this program sees it.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	errs   *tail
	cpu    int64 // microseconds, of the last answer
	broken bool
}

// startProcess starts an agent; the server's address is in env.
func startProcess(ctx context.Context, argv, env []string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), errs: &tail{}}
	p.cmd.Env = env
	p.cmd.Stderr = p.errs
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, json.NewDecoder(bufio.NewReaderSize(out, 1<<16))
	return p, p.cmd.Start()
}

// ask sends a request and waits for its answer.
func (p *process) ask(r request) (said answer, err error) {
	if err := json.NewEncoder(p.in).Encode(r); err != nil {
		return said, p.ended(r, err)
	}
	if err := p.out.Decode(&said); err != nil {
		return said, p.ended(r, err)
	}
	p.cpu = said.CPU
	if said.Error != "" {
		return said, errors.New(said.Error)
	}
	return said, nil
}

func (p *process) ended(r request, err error) error {
	p.broken = true
	return fmt.Errorf("the agent ended at %q: %w: %s", r.Do, err, p.errs)
}

// close ends the agent, which stops at the end of its input.
func (p *process) close() error {
	p.in.Close()
	err := p.cmd.Wait()
	if p.broken {
		return nil // said before
	}
	if err != nil {
		return fmt.Errorf("the agent's end: %w: %s", err, p.errs)
	}
	return nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-2_000):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}
