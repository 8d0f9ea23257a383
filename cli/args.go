package cli

import (
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// reorder puts the global flags first and each command's flags before its arguments: urfave/cli
// reads a flag that follows an argument as an argument, so that `replay NAME --from 0` would ignore
// --from. What follows `--` are arguments. --help anywhere asks for the help of the command, whatever else is given.
func reorder(app *ucli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{app.Name}, nil
	}
	var global, path, flags, rest, end []string
	commands, known, help := app.Commands, []ucli.Flag(nil), false
	for i := 1; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			end, rest = args[i:i+1], append(rest, args[i+1:]...)
			i = len(args)
		case arg == "--help" || arg == "-h":
			help = true
		case !isFlag(arg):
			if c := commandNamed(commands, arg); c != nil && len(rest) == 0 {
				path, commands, known = append(path, arg), c.Subcommands, append(known, c.Flags...)
			} else {
				commands, rest = nil, append(rest, arg)
			}
		default:
			words, err := flagWords(args[i:], known, app.Flags)
			if err != nil {
				return nil, err
			}
			if flagNamed(known, arg) == nil && flagNamed(app.Flags, arg) != nil {
				global = append(global, words...)
			} else {
				flags = append(flags, words...)
			}
			i += len(words) - 1
		}
	}
	if help && (len(path) > 0 || len(rest) == 0) {
		return append(slices.Concat(args[:1], path), "--help"), nil
	}
	return slices.Concat(args[:1], global, path, flags, end, rest), nil
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

func commandNamed(commands []*ucli.Command, name string) *ucli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// flagNamed finds the flag that arg (--name, --name=value, -n) sets.
func flagNamed(flags []ucli.Flag, arg string) ucli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// flagWords returns the words that belong to the flag at args[0]: itself, and its value where it takes one.
func flagWords(args []string, known, global []ucli.Flag) ([]string, error) {
	f := flagNamed(known, args[0])
	if f == nil {
		f = flagNamed(global, args[0])
	}
	doc, ok := f.(ucli.DocGenerationFlag)
	if !ok || !doc.TakesValue() || strings.Contains(args[0], "=") {
		return args[:1], nil // an unknown one is urfave's to refuse
	}
	if len(args) < 2 {
		return nil, usagef("the flag %s needs a value", args[0])
	}
	return args[:2], nil
}
