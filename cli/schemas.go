package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/schema"
)

// maxSchema bounds the file that a schema is read from, in bytes.
const maxSchema = 16 << 20

func (p *program) schemas() *ucli.Command {
	return &ucli.Command{
		Name: "schema", Usage: "look at contracts, check them and register them",
		Subcommands: []*ucli.Command{p.listSchemas(), p.showSchema(), p.diffSchemas(), p.registerSchema(),
			p.checkSchemas(), p.exportSchemas()},
	}
}

func (p *program) listSchemas() *ucli.Command {
	return &ucli.Command{
		Name: "list", Usage: "list the subjects that have contracts",
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			subjects, err := schema.NewRegistry(box).List(ctx)
			if err != nil {
				return err
			}
			docs := make([]ops.SchemaSubject, 0, len(subjects))
			t := &table{header: []string{"SUBJECT~", "MODE", "STRICT?", "VERSIONS~"}}
			for _, s := range subjects {
				docs = append(docs, ops.SchemaSubject{Subject: s.Name, Mode: string(s.Mode), Strict: s.Strict,
					Versions: s.Versions})
				t.add(s.Name, s.Mode, yesNo(s.Strict), strings.Join(s.Versions, " "))
			}
			return p.showList(c, docs, t, "no schemas")
		}),
	}
}

func (p *program) showSchema() *ucli.Command {
	return &ucli.Command{
		Name: "show", Usage: "print a subject's contract, the newest where no version is given",
		ArgsUsage: "SUBJECT [VERSION]",
		Before: func(c *ucli.Context) error {
			switch c.NArg() {
			case 1:
				return nil
			case 2:
				return checkSchemaVersion(c)
			}
			return usagef("show: give a subject and, if not the newest is meant, a version")
		},
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			found, err := registered(ctx, schema.NewRegistry(box), c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return err
			}
			doc := ops.SchemaVersion{Subject: found.Subject, Version: found.Version,
				RegisteredAt: found.RegisteredAt.UTC(), Document: json.RawMessage(found.Document)}
			return p.say(c, doc, "%s", strings.TrimRight(found.Document.String(), "\n"))
		}),
	}
}

func registered(ctx context.Context, r *schema.Registry, subject, version string) (schema.Registered, error) {
	if version == "" {
		return r.Latest(ctx, subject)
	}
	return r.Get(ctx, subject, version)
}

// compareFlags say how versions are compared.
func compareFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "mode", Usage: "how versions are compared: " + modes()},
		&ucli.BoolFlag{Name: "strict", Usage: "refuse what breaks documents with undeclared properties, too"},
		&ucli.BoolFlag{Name: "lenient", Usage: "the opposite of --strict, and what holds where nothing was said"},
	}
}

func modes() string {
	names := make([]string, 0, len(schema.Modes))
	for _, m := range schema.Modes {
		names = append(names, string(m))
	}
	return strings.Join(names, ", ")
}

// comparison reads compareFlags. What was not given stays as it is kept with the subject.
func comparison(c *ucli.Context) (mode schema.Mode, strict []schema.Strictness, err error) {
	mode = schema.Mode(c.String("mode"))
	switch {
	case mode != "" && !slices.Contains(schema.Modes, mode):
		return "", nil, usagef("%s: --mode: there is no %q: use one of %s", c.Command.Name, mode, modes())
	case c.Bool("strict") && c.Bool("lenient"):
		return "", nil, usagef("%s: give --strict or --lenient, not both", c.Command.Name)
	case c.Bool("strict"):
		strict = []schema.Strictness{schema.Strict()}
	case c.Bool("lenient"):
		strict = []schema.Strictness{schema.Lenient()}
	}
	return mode, strict, nil
}

func registerOptions(c *ucli.Context) (options []schema.RegisterOption, err error) {
	mode, strict, err := comparison(c)
	if mode != "" {
		options = append(options, mode)
	}
	for _, s := range strict {
		options = append(options, s)
	}
	return options, err
}

func (p *program) registerSchema() *ucli.Command {
	return &ucli.Command{
		Name: "register", Usage: "add a version of a subject", ArgsUsage: "SUBJECT VERSION FILE (- is standard input)",
		Description: "It must compile, come after all versions that are there and be compatible with them. The " +
			"same document again\n" +
			"changes nothing. --mode, --strict and --lenient are kept with the subject.",
		Flags:  compareFlags(),
		Before: needsVersion,
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			return p.withVersion(c, "registered", func(subject, version string, document []byte,
				options []schema.RegisterOption) error {
				p.changed++
				return schema.NewRegistry(box).Register(ctx, subject, version, document, options...)
			})
		}),
	}
}

func (p *program) checkSchemas() *ucli.Command {
	return &ucli.Command{
		Name: "check", Usage: "say whether versions are compatible, or stored payloads fit; change nothing",
		ArgsUsage: "[DIR | SUBJECT VERSION FILE]",
		Description: "Without arguments, stored payloads are checked against the registry, each against the version " +
			"that it carries or\n" +
			"else the newest: tasks that wait, are scheduled, run or are dead, deliveries, and the newest events.\n" +
			"A directory (SUBJECT/VERSION.json, as `strunk schema export` writes it) is checked by itself, without a " +
			"database;\n" +
			"--mode is " + string(schema.BackwardTransitive) +
			" there where it is not given. One version is checked against the registry.",
		Flags: append(compareFlags(), payloadFlags()...),
		Action: func(c *ucli.Context) error {
			switch c.NArg() {
			case 0:
				if err := needsPayloadFlags(c); err != nil {
					return err
				}
				return p.withBox(p.checkPayloads)(c)
			case 1:
				if err := refusesPayloadFlags(c); err != nil {
					return err
				}
				return p.checkDir(c, c.Args().First())
			case 3:
				if err := errors.Join(needsVersion(c), refusesPayloadFlags(c)); err != nil {
					return err
				}
				return p.withBox(p.checkVersion)(c)
			}
			return usagef("check: give nothing, or a directory, or a subject, a version and a file")
		},
	}
}

func (p *program) checkVersion(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	return p.withVersion(c, "compatible", func(subject, version string, document []byte,
		options []schema.RegisterOption) error {
		return schema.NewRegistry(box).Check(ctx, subject, version, document, options...)
	})
}

// needsVersion refuses all but SUBJECT VERSION FILE, before the database is asked.
func needsVersion(c *ucli.Context) error {
	if c.NArg() != 3 {
		return usagef("%s: give a subject, a version and a file, not %d arguments", c.Command.Name, c.NArg())
	}
	if _, err := registerOptions(c); err != nil {
		return err
	}
	return checkSchemaVersion(c)
}

func checkSchemaVersion(c *ucli.Context) error {
	if _, err := schema.ParseVersion(c.Args().Get(1)); err != nil || c.Args().First() == "" {
		return usagef("%s: give a subject and a version such as 1.0, not %q and %q", c.Command.Name,
			c.Args().First(), c.Args().Get(1))
	}
	return nil
}

// withVersion hands SUBJECT VERSION FILE to fn and says what it did.
func (p *program) withVersion(c *ucli.Context, did string,
	fn func(string, string, []byte, []schema.RegisterOption) error) error {
	options, err := registerOptions(c)
	if err != nil {
		return err
	}
	subject, version := c.Args().Get(0), c.Args().Get(1)
	document, err := p.readFile(c.Args().Get(2), maxSchema)
	if err != nil {
		return err
	}
	if err := fn(subject, version, document, options); err != nil {
		return err
	}
	return p.say(c, map[string]any{"subject": subject, "version": version, did: true}, "%s: %s version %s", did,
		subject, version)
}

func (p *program) checkDir(c *ucli.Context, dir string) error {
	mode, strict, err := comparison(c)
	if err != nil {
		return err
	}
	if mode == "" {
		mode = schema.BackwardTransitive
	}
	options := make([]schema.CheckOption, 0, len(strict))
	for _, s := range strict {
		options = append(options, s)
	}
	if _, err := os.ReadDir(dir); err != nil {
		return err // os.DirFS would not name the directory
	}
	files := os.DirFS(dir)
	if err := schema.CheckDir(files, mode, options...); err != nil {
		return err
	}
	subjects, err := schema.ReadDir(files)
	if err != nil {
		return err
	}
	versions := 0
	for _, revisions := range subjects {
		versions += len(revisions)
	}
	if versions == 0 {
		return fmt.Errorf("%s holds no schemas: they are called SUBJECT/VERSION.json, such as order/1.0.json", dir)
	}
	return p.say(c, map[string]any{"mode": mode, "subjects": len(subjects), "versions": versions},
		"%s of %s are compatible (%s)", plural(versions, "version"), plural(len(subjects), "subject"), mode)
}

func (p *program) exportSchemas() *ucli.Command {
	return &ucli.Command{
		Name: "export", Usage: "write all versions into a directory, to be committed and checked", ArgsUsage: "DIR",
		Before: needs("DIR"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			dir, err := oneArg(c, "DIR")
			if err != nil {
				return err
			}
			n, err := schema.NewRegistry(box).Export(ctx, dir)
			if err != nil {
				return err
			}
			return p.say(c, map[string]any{"directory": dir, "files": n}, "wrote %s into %s", plural(n, "file"), dir)
		}),
	}
}

// readFile reads a file, or standard input where its name is "-", of at most so many bytes.
func (p *program) readFile(name string, most int64) (_ []byte, err error) {
	in := p.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("reading %s: it has more than %d bytes", name, most)
	}
	return text, nil
}
