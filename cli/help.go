package cli

import (
	"flag"

	ucli "github.com/urfave/cli/v2"
)

// urfave/cli keeps one command help and one flag --help for all programs of a process, and writes to them while it
// parses. With these, runs in one process share nothing.
func init() {
	ucli.HelpFlag = sharedFlag{&ucli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help",
		DisableDefaultText: true}}
	ucli.VersionFlag = sharedFlag{&ucli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version",
		DisableDefaultText: true}}
}

// sharedFlag is a flag that several runs may parse at once.
type sharedFlag struct{ *ucli.BoolFlag }

// Apply adds the flag to a set and leaves the flag itself as it is.
func (f sharedFlag) Apply(set *flag.FlagSet) error {
	for _, name := range f.Names() {
		set.Bool(name, false, f.Usage)
	}
	return nil
}

// withHelp gives the program, and the command that args name, a command help of their own.
func withHelp(app *ucli.App, args []string) {
	app.Commands, app.Flags = append(app.Commands, helpCommand()), append(app.Flags, ucli.HelpFlag)
	for _, c := range pathOf(app, args) {
		c.Subcommands = append(c.Subcommands, helpCommand())
	}
}

func helpCommand() *ucli.Command {
	return &ucli.Command{Name: "help", Aliases: []string{"h"}, ArgsUsage: "[command]", HideHelp: true,
		Usage: "Shows a list of commands or help for one command", Action: ucli.NewApp().Action}
}

// pathOf returns the command that reordered args name, after its parents.
func pathOf(app *ucli.App, args []string) (path []*ucli.Command) {
	commands := app.Commands
	for i := 1; i < len(args); i++ {
		if isFlag(args[i]) {
			words, err := flagWords(args[i:], nil, app.Flags)
			if err != nil {
				return path
			}
			i += len(words) - 1
			continue
		}
		c := commandNamed(commands, args[i])
		if c == nil {
			return path
		}
		path, commands = append(path, c), c.Subcommands
	}
	return path
}
