package cli

import (
	"fmt"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// completeMark ends the words of a line that a shell wants completed: `strunk --schema jobs re
// --generate-bash-completion`. The last word before it is the one to complete, and may be empty.
const completeMark = "--generate-bash-completion"

const bashCompletion = `# bash completion for strunk: put this line into ~/.bashrc
#   source <(strunk completion bash)
_strunk_complete() {
	local line="${COMP_LINE:0:COMP_POINT}" words cur=""
	read -ra words <<<"$line" # no eval: what stands on the line is not run
	if [[ $line != *[[:space:]] ]]; then
		cur="${words[-1]}"
		unset 'words[-1]'
	fi
	COMPREPLY=()
	while IFS= read -r line; do COMPREPLY+=("$line"); done < <("${words[0]}" "${words[@]:1}" "$cur" ` +
	completeMark + ` 2>/dev/null)
}
complete -o bashdefault -o default -F _strunk_complete strunk
`

const zshCompletion = `#compdef strunk
# zsh completion for strunk: put this line into ~/.zshrc, after compinit
#   source <(strunk completion zsh)
_strunk() {
	local -a found
	found=("${(@f)$("${words[1]}" "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" ` + completeMark + ` 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		compadd -a found
	else
		_files
	fi
}
compdef _strunk strunk
`

// completion prints what a shell needs to complete commands and flags.
func (p *program) completion() *ucli.Command {
	return &ucli.Command{
		Name: "completion", Usage: "print a script that makes a shell complete commands and flags",
		ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(strunk completion bash)\nzsh:  source <(strunk completion zsh)\nfish: strunk " +
			"completion fish | source",
		Action: func(c *ucli.Context) error {
			shell, err := oneArg(c, "shell")
			if err != nil {
				return err
			}
			script, err := completionScript(c.App, shell)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(p.Out, script)
			return err
		},
	}
}

func completionScript(app *ucli.App, shell string) (string, error) {
	switch shell {
	case "bash":
		return bashCompletion, nil
	case "zsh":
		return zshCompletion, nil
	case "fish":
		return app.ToFishCompletion()
	}
	return "", usagef("completion: there is no script for %q: use bash, zsh or fish", shell)
}

// toComplete returns the words that a shell wants completed, the program's name left out.
func toComplete(args []string) ([]string, bool) {
	n := len(args) - 1
	if n < 1 || args[n] != completeMark {
		return nil, false
	}
	if n == 1 {
		return []string{""}, true
	}
	return args[1:n], true
}

// complete prints what the last word may become, one a line. Nothing is looked up in the database.
func (p *program) complete(app *ucli.App, words []string) error {
	commands, flags := app.Commands, slices.Clone(app.Flags)
	last := len(words) - 1
	for i := 0; i < last; i++ {
		if words[i] == "--" {
			return nil
		}
		if isFlag(words[i]) {
			taken, err := flagWords(words[i:], flags, nil)
			if i += len(taken) - 1; i >= last || err != nil {
				return nil // the word is a flag's value
			}
		} else if c := commandNamed(commands, words[i]); c != nil {
			commands, flags = c.Subcommands, append(flags, c.Flags...)
		} else {
			commands = nil
		}
	}
	for _, name := range candidates(commands, flags, words[last]) {
		if _, err := fmt.Fprintln(p.Out, name); err != nil {
			return err
		}
	}
	return nil
}

// candidates are the flags that begin with word, where it begins a flag, and the commands otherwise.
func candidates(commands []*ucli.Command, flags []ucli.Flag, word string) (found []string) {
	if strings.HasPrefix(word, "-") {
		for _, f := range flags {
			found = append(found, "--"+f.Names()[0])
		}
		found = append(found, "--help")
	} else {
		for _, c := range commands {
			found = append(found, c.Name)
		}
	}
	return slices.DeleteFunc(found, func(name string) bool { return !strings.HasPrefix(name, word) })
}
