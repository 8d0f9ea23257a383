package cli

import (
	"fmt"
	"slices"
	"strconv"

	ucli "github.com/urfave/cli/v2"
)

// idArgs returns the command's arguments as ids, each once.
func idArgs(c *ucli.Context) ([]int64, error) {
	if !c.Args().Present() {
		return nil, usagef("%s: which? give one id or more", c.Command.Name)
	}
	ids := make([]int64, 0, c.NArg())
	for _, arg := range c.Args().Slice() {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, usagef("%s: %q is not an id", c.Command.Name, arg)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// idArg returns the command's one argument as an id.
func idArg(c *ucli.Context) (int64, error) {
	ids, err := idArgs(c)
	if err == nil && len(ids) > 1 {
		err = usagef("%s: give one id, not %d", c.Command.Name, len(ids))
	}
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// needs refuses all but one argument, before the database is asked.
func needs(what string) ucli.BeforeFunc {
	return func(c *ucli.Context) error {
		_, err := oneArg(c, what)
		return err
	}
}

func needIDs(c *ucli.Context) error {
	_, err := idArgs(c)
	return err
}

func needID(c *ucli.Context) error {
	_, err := idArg(c)
	return err
}

// oneArg returns the command's one argument.
func oneArg(c *ucli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s: give one %s%s, not %d arguments", c.Command.Name, what, orInstead(c), c.NArg())
	}
	if c.Args().First() == "" {
		return "", usagef("%s: the %s is empty", c.Command.Name, what)
	}
	return c.Args().First(), nil
}

// orInstead names the flags of the command that stand for its argument.
func orInstead(c *ucli.Context) (flags string) {
	for _, f := range c.Command.Flags {
		if name := f.Names()[0]; name == "all" || name == "subscriber" {
			flags += ", or --" + name
		}
	}
	return flags
}

func payloadFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "payload", Usage: "show payloads (and metadata), which are hidden otherwise"}
}

func yesFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "yes", Usage: "do it; without this flag the command says what it would do"}
}

// valueOf writes the value that a flag was given.
func valueOf(c *ucli.Context, name string) string {
	switch v := c.Value(name).(type) {
	case ucli.Timestamp:
		return stamp(*v.Value())
	case *ucli.Timestamp:
		return stamp(*v.Value())
	default:
		return fmt.Sprint(v)
	}
}
